//! Removes temporary files that killed processes abandoned beneath a granted root.

use std::{os::fd::AsFd, path::Path};

use rustix::fs::fstat;

use crate::{
    fs::resolve::Resolver,
    temp_file::{SWEPT_ENTRIES_MAX, sweep_entries},
};

/// Maximum depth beneath the root at which such files are looked for.
const SWEPT_DEPTH_MAX: usize = 64;

/// Removes the temporary files that killed processes of this user abandoned in a directory and beneath it, on the same
/// file system. Unreadable directories are skipped; the sweep stops after [`SWEPT_ENTRIES_MAX`] names.
pub(crate) fn sweep(root: &Path) {
    let Some(opened) = root.to_str().and_then(|root| Resolver::detect().open_root(root).ok()) else { return };
    let Ok(device) = fstat(&opened).map(|stat| stat.st_dev) else { return };
    let mut seen = 0;
    let mut directories = vec![(opened, 0)];
    while let Some((directory, depth)) = directories.pop() {
        // A failure skips the directory: a process that cannot read it wrote no temporary file there.
        let _ = sweep_entries(directory.as_fd(), &mut seen, &mut |subdirectory| {
            if depth < SWEPT_DEPTH_MAX && fstat(&subdirectory).is_ok_and(|stat| stat.st_dev == device) {
                directories.push((subdirectory, depth + 1));
            }
        });
        if seen > SWEPT_ENTRIES_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use rustix::fs::Mode;

    use super::*;
    use crate::temp_file::TempFile;

    /// Files of dead processes are removed. Files that a process is writing, files with several links, and files with
    /// similar names stay.
    #[test]
    fn only_abandoned_files_are_swept() {
        let root = std::env::temp_dir().join(format!("ak-sweep-{}", std::process::id()));
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        let root = root.canonicalize().unwrap();
        let there = |name: &str| root.join(name).symlink_metadata().is_ok();
        let left = ["a/b/.ak-0000000000000001.tmp", ".ak-0000000000000002.tmp"];
        let kept = ["a/.ak-0000000000000003.tmp", "a/.ak-03.tmp", "a/other"];
        left.iter().chain(&kept).for_each(|name| std::fs::write(root.join(name), "x").unwrap());
        std::fs::hard_link(root.join("a/.ak-0000000000000003.tmp"), root.join("a/name")).unwrap();
        std::os::unix::fs::symlink("other", root.join("a/.ak-0000000000000004.tmp")).unwrap();
        std::fs::create_dir(root.join("a/.ak-0000000000000005.tmp")).unwrap();
        let opened = File::open(root.join("a")).unwrap();
        let temp_file = TempFile::create(opened.as_fd(), Mode::RUSR | Mode::WUSR).unwrap();
        let under_way = format!("a/{}", temp_file.name());
        sweep(&root);
        assert!(!left.iter().any(|name| there(name)));
        assert!(kept.iter().all(|name| there(name)));
        assert!(there("a/.ak-0000000000000004.tmp") && there("a/.ak-0000000000000005.tmp"));
        assert!(there(&under_way), "a living process writes it");
        drop(temp_file);
        assert!(!there(&under_way));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
