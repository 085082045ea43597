//! Durable append: the entries of several waiters are written with one sync.

use std::path::{Path, PathBuf};

use measure::{Clock, Race, Report};

use crate::{
    OURS,
    records::Source,
    stores::{Batch, Fjall, Ours, Raw, Redb, Sqlite, Store},
};

pub const DURABLE: &str = "Durable append: one batch of so many waiting entries (wall time)";
pub const RAW: &str = "write and fdatasync of the same bytes, over blocks written before";
pub const RAW_HASHED: &str = "the same, and SHA-256 of each entry and one inner node";
pub const FJALL: &str = "fjall, synced";
pub const SQLITE: &str = "SQLite: WAL, synchronous=FULL";
const SUSTAINED: &str = "ak-audit, 70 MB without a rest: segments end and are prepared meanwhile";
const REDB: &str = "redb: durability immediate";

/// For each column: its name, the number of waiters, and the batches of a turn, enough to include events that are rare.
pub const CASES: [(&str, usize, usize); 3] = [("1", 1, 100), ("64", 64, 60), ("1,024", 1024, 30)];

pub fn race(report: &mut Report) {
    for (case, waiters, batches) in CASES {
        let scratch = Scratch::new();
        let stores: [(&str, Box<dyn Store>); 7] = [
            (OURS, Box::new(Ours::new(&scratch.path("ours")))),
            (RAW, Box::new(Raw::new(&scratch.path("raw"), false))),
            (RAW_HASHED, Box::new(Raw::new(&scratch.path("hashed"), true))),
            (FJALL, Box::new(Fjall::new(&scratch.path("fjall")))),
            (REDB, Box::new(Redb::new(&scratch.path("redb")))),
            (SQLITE, Box::new(Sqlite::new(&scratch.path("sqlite")))),
            (SUSTAINED, Box::new(Ours::new(&scratch.path("sustained")))),
        ];
        let mut race = Race::new();
        for (name, mut store) in stores {
            // Enough batches for a segment to end and the next to begin. Only many waiters fill a segment in so
            // short a time.
            let batches = if name == SUSTAINED { 7 * batches } else { batches };
            if name == SUSTAINED && waiters < 1024 {
                continue;
            }
            let mut source = Source::new();
            let first = batch(&mut source, waiters);
            store.append(std::slice::from_ref(&first));
            let kept = store.entries();
            assert_eq!(kept, first.bytes, "{name} keeps what it was given");
            race = race.turns(name, move |iterations| {
                let count = batches * iterations as usize;
                let made: Vec<_> = (0..count).map(|_| batch(&mut source, waiters)).collect();
                settle();
                let took = Clock::Wall.time(|| store.append(&made));
                store.rest();
                took / batches as u32
            });
        }
        report.add(DURABLE, case, race.run());
    }
}

/// Lets the disk finish the work that other contenders caused: writing caches back, discarding the blocks of
/// deleted files.
fn settle() {
    rustix::fs::sync();
    std::thread::sleep(std::time::Duration::from_millis(100));
}

fn batch(source: &mut Source, count: usize) -> Batch {
    let entries = source.entries(count);
    let bytes = entries.iter().map(|entry| entry.encode().expect("it fits")).collect();
    Batch { entries, bytes }
}

/// A directory on the disk of the build directory. Dropping this removes it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        let program = std::env::current_exe().expect("it runs");
        let directory =
            program.parent().unwrap_or(Path::new(".")).join(format!("audit-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the directory can be made");
        Scratch(directory)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Files that cannot be removed are no reason to fail.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
