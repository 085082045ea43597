//! The layout of the structures that `wasi_snapshot_preview1` gives to a guest; numbers are little-endian.

use crate::files::{Kind, Stat};

/// All rights of preview 1. They grant nothing: the driver of the run decides on each host call.
pub(super) const RIGHTS_ALL: u64 = (1 << 30) - 1;
/// Rights on a directory itself: create and open files (bits 10, 13), list (14), describe and resize entries (18,
/// 19), describe the directory (21), remove directories and files (25, 26). Files opened in it may have every right.
pub(super) const RIGHTS_DIRECTORY: u64 =
    1 << 10 | 1 << 13 | 1 << 14 | 1 << 18 | 1 << 19 | 1 << 21 | 1 << 25 | 1 << 26;
pub(super) const RIGHT_READ: u64 = 1 << 1;
pub(super) const RIGHT_WRITE: u64 = 1 << 6;

pub(super) const FDSTAT_BYTES: usize = 24;
pub(super) const FILESTAT_BYTES: usize = 64;
pub(super) const DIRENT_BYTES: usize = 24;
pub(super) const PRESTAT_BYTES: usize = 8;

fn put<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = out.get_mut(at..).and_then(|rest| rest.get_mut(..N)) {
        place.copy_from_slice(&bytes);
    }
}

/// `fdstat`: type at 0, flags at 2, rights at 8, inherited rights at 16.
pub(super) fn fdstat(kind: Kind, flags: u16, rights: u64, inherited: u64) -> [u8; FDSTAT_BYTES] {
    let mut out = [0; FDSTAT_BYTES];
    put(&mut out, 0, [kind.number()]);
    put(&mut out, 2, flags.to_le_bytes());
    put(&mut out, 8, rights.to_le_bytes());
    put(&mut out, 16, inherited.to_le_bytes());
    out
}

/// `filestat`: serial number at 8, type at 16, links at 24, size at 32, times of access, modification and status
/// change in ns at 40, 48 and 56. The device is 0.
pub(super) fn filestat(stat: &Stat) -> [u8; FILESTAT_BYTES] {
    let mut out = [0; FILESTAT_BYTES];
    put(&mut out, 8, stat.serial.to_le_bytes());
    put(&mut out, 16, [stat.kind.number()]);
    put(&mut out, 24, 1u64.to_le_bytes());
    put(&mut out, 32, stat.bytes.to_le_bytes());
    let time = stat.modified_us.saturating_mul(1_000).to_le_bytes();
    for at in [40, 48, 56] {
        put(&mut out, at, time);
    }
    out
}

/// `dirent`: the next cookie at 0, serial number at 8, length of the name at 16, type at 20; the name follows.
pub(super) fn dirent(next: u64, serial: u64, name_bytes: u32, kind: Kind) -> [u8; DIRENT_BYTES] {
    let mut out = [0; DIRENT_BYTES];
    put(&mut out, 0, next.to_le_bytes());
    put(&mut out, 8, serial.to_le_bytes());
    put(&mut out, 16, name_bytes.to_le_bytes());
    put(&mut out, 20, [kind.number()]);
    out
}

/// `prestat`: a directory (0) at 0, length of its name at 4.
pub(super) fn prestat(name_bytes: u32) -> [u8; PRESTAT_BYTES] {
    let mut out = [0; PRESTAT_BYTES];
    put(&mut out, 4, name_bytes.to_le_bytes());
    out
}
