//! For any files in a journal's directory, recovery ends without panic, and the entries that it accepts form a chain
//! that leads to the reported root. An entry that is appended then is there when the journal is opened again.
#![no_main]

#[path = "../../crates/ak-audit/tests/common/records.rs"]
mod records;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use ak_audit::{
    Chain, Disk, DiskError, Entry, Journal, Query, Tree,
    journal::{Genesis, Options},
};
use libfuzzer_sys::fuzz_target;
use records::{AGENTS, record};

/// A disk without faults.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<BTreeMap<String, Vec<u8>>>>);

impl Memory {
    fn file<T>(&self, name: &str, work: impl FnOnce(&mut Vec<u8>) -> T) -> Result<T, DiskError> {
        self.0.borrow_mut().get_mut(name).map(work).ok_or(DiskError::Absent)
    }
}

impl Disk for Memory {
    fn lock(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
    fn list(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.0.borrow().keys().cloned().collect())
    }
    fn length(&self, name: &str) -> Result<u64, DiskError> {
        self.file(name, |bytes| bytes.len() as u64)
    }
    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.file(name, |bytes| {
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            count
        })
    }
    fn allocate(&mut self, name: &str, length: u64) -> Result<(), DiskError> {
        let mut files = self.0.borrow_mut();
        let file = files.entry(name.to_owned()).or_default();
        file.resize(file.len().max(length as usize), 0);
        Ok(())
    }
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file(name, |file| file[offset as usize..][..bytes.len()].copy_from_slice(bytes))
    }
    fn sync(&mut self, _: &str) -> Result<(), DiskError> {
        Ok(())
    }
    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.0.borrow_mut().remove(name).map(|_| ()).ok_or(DiskError::Absent)
    }
    fn sync_dir(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

const OPTIONS: Options = Options { segment_bytes_max: 18 << 10, allocation_bytes: 512, reserve_bytes: 64 };

fn open(disk: &Memory) -> (Journal<Memory>, ak_audit::journal::RecoveryReport) {
    Journal::open(disk.clone(), &Genesis::default(), OPTIONS, &[]).expect("the disk works")
}

/// An undamaged journal of three segments.
fn whole() -> Memory {
    let disk = Memory::default();
    let (mut journal, _) = open(&disk);
    for _ in 0..18 {
        let record = record(journal.chain().next, journal.chain().head);
        journal.append(&[record]).expect("there is space");
        journal.sync().expect("the disk works");
    }
    disk
}

// The input: the bytes to write, by file and offset; whether to write them to empty files instead of an undamaged
// journal; and where to cut files.
fuzz_target!(|input: (Vec<(u8, u16, Vec<u8>)>, bool, u16)| {
    let (changes, raw, cut) = input;
    let disk = if raw { Memory::default() } else { whole() };
    for (file, at, bytes) in changes {
        let mut files = disk.0.borrow_mut();
        if raw {
            files.entry(format!("{:020}.akj", file % 4)).or_default().extend_from_slice(&bytes);
            continue;
        }
        let Some((_, content)) = files.iter_mut().nth(usize::from(file) % 3) else { continue };
        let at = if at & 1 == 0 { usize::from(at >> 1) % 512 } else { (16 << 10) + usize::from(at >> 1) };
        for (to, from) in content.iter_mut().skip(at).zip(&bytes) {
            *to = *from;
        }
        if cut > 0 && file & 128 != 0 {
            content.truncate((16 << 10) + usize::from(cut));
        }
    }
    let (mut journal, report) = open(&disk);
    assert_eq!(report.read_only, report.first_bad.is_some());
    let mut tree = Tree::new();
    let mut chain = Chain::EMPTY;
    for item in journal.records(0..u64::MAX) {
        let (seq, record) = item.expect("what was accepted can be read");
        let entry = Entry::decode(&record.entry).expect("what was accepted is an entry");
        if seq == report.pruned_below {
            chain = Chain { next: seq, head: entry.previous, time_us: 0 };
        }
        let leaf = chain.push(&record.entry).expect("what was accepted follows");
        tree.push(leaf);
        if report.pruned_below == 0 {
            let path = journal.inclusion_proof(seq, report.size).expect("it is there");
            ak_audit::verifier::verify_inclusion(&leaf, seq, report.size, &path, &report.root)
                .expect("it holds");
        }
    }
    if report.pruned_below == 0 {
        assert_eq!((tree.size(), tree.root()), (report.size, report.root));
    }
    journal
        .query(&Query { agent: Some(AGENTS[0]), ..Query::default() }, 3, |_, _| true)
        .expect("it can be read");
    journal.tiles(report.size).for_each(|tile| drop(tile));
    if report.read_only || report.size > u64::MAX - 2 {
        return;
    }
    let next = record(journal.chain().next, journal.chain().head);
    journal.append(&[next.clone()]).expect("there is space");
    assert_eq!(journal.sync(), Ok(report.size + 1));
    drop(journal);
    let (journal, again) = open(&disk);
    assert_eq!((again.size, again.first_bad, again.torn_tail_bytes), (report.size + 1, None, 0));
    assert_eq!(journal.record(report.size), Ok(next));
});
