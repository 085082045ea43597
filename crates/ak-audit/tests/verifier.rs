//! The independent verifier, `examples/verify_log.py`: what it accepts and refuses is what this crate does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use ak_audit::{
    Checkpoint, Journal, SigningKey,
    checkpoint::cosign,
    journal::{Genesis, Options},
    note::KeyKind,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

mod common;
use common::{
    forge::{self, Piece},
    record,
    sim::{Random, SimDisk},
};

/// A directory for one test, gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("ak-audit-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn available() -> bool {
    let found = Command::new("python3").args(["-c", "import cryptography"]).output();
    let available = found.is_ok_and(|output| output.status.success());
    if !available {
        println!("skipped: no python3 with cryptography");
    }
    available
}

fn verify(scratch: &Scratch, files: &BTreeMap<String, Vec<u8>>, checkpoint: &Checkpoint) -> Output {
    let key = log_key();
    verify_note(scratch, files, &checkpoint.sign(&key).unwrap(), &key)
}

fn log_key() -> SigningKey {
    SigningKey::from_seed("log.example", KeyKind::Log, &[5; 32]).unwrap()
}

fn verify_note(
    scratch: &Scratch,
    files: &BTreeMap<String, Vec<u8>>,
    signed: &[u8],
    key: &SigningKey,
) -> Output {
    let directory = scratch.0.join("journal");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    for (name, bytes) in files {
        fs::write(directory.join(name), bytes).unwrap();
    }
    let note = scratch.0.join("checkpoint");
    fs::write(&note, signed).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/verify_log.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(&directory).arg(&note).arg(key.verifier().to_string()).output().unwrap()
}

fn journal(count: u64, segment_bytes_max: u64) -> Journal<SimDisk> {
    let options = Options { segment_bytes_max, allocation_bytes: 2048, reserve_bytes: 512 };
    let genesis = Genesis { id: [9; 16], meta: b"meta".to_vec() };
    let (mut journal, _) = Journal::open(SimDisk::default(), &genesis, options, &[]).unwrap();
    for seq in 0..count {
        journal.append(&[record(seq, journal.chain().head)]).unwrap();
        if seq % 7 == 6 || seq + 1 == count {
            journal.sync().unwrap();
        }
    }
    journal
}

#[test]
fn a_stranger_verifies_with_the_page_alone() {
    if !available() {
        return;
    }
    let scratch = Scratch::new("whole");
    let mut journal = journal(150, 30 << 10);
    let check = |journal: &Journal<SimDisk>, size: u64, expected: &str| {
        let checkpoint = Checkpoint::new("log.example", size, journal.root_at(size).unwrap());
        let output = verify(&scratch, &journal.disk().files(), &checkpoint);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains(expected) && text.contains(&hex::encode(journal.root())), "{text}");
    };
    check(&journal, 150, "150 entries, kept from 0 on, 0 bytes torn");
    check(&journal, 93, "rests on the checkpoint at 93");
    assert!(journal.prune(80).unwrap() > 0);
    check(&journal, 93, &format!("kept from {} on", journal.pruned_below()));
}

#[test]
fn a_stranger_verifies_what_a_witness_signed() {
    if !available() {
        return;
    }
    let scratch = Scratch::new("witness");
    let journal = journal(20, 1 << 20);
    let files = journal.disk().files();
    let signed = journal.checkpoint("log.example").sign(&log_key()).unwrap();
    let witness = SigningKey::from_seed("witness.example", KeyKind::Witness, &[6; 32]).unwrap();
    let mut note = cosign(&signed, &witness, 1_700_000_000).unwrap();
    let output = verify_note(&scratch, &files, &note, &witness);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("rests on the checkpoint at 20"));
    assert!(!verify_note(&scratch, &files, &signed, &witness).status.success(), "no witness signed it");
    // The time is signed, too.
    let text = String::from_utf8(note.clone()).unwrap();
    let later = cosign(&signed, &witness, 1_700_000_001).unwrap();
    let later = String::from_utf8(later).unwrap();
    let line = |text: &str| text.lines().last().unwrap().rsplit_once(' ').unwrap().1.to_owned();
    let blobs = [line(&text), line(&later)].map(|blob| STANDARD.decode(blob).unwrap());
    let forged = [&blobs[1][..12], &blobs[0][12..]].concat();
    note = text.replace(&line(&text), &STANDARD.encode(forged)).into_bytes();
    assert!(!verify_note(&scratch, &files, &note, &witness).status.success(), "at another time");
}

#[test]
fn a_stranger_refuses_what_we_refuse() {
    if !available() {
        return;
    }
    let scratch = Scratch::new("forged");
    let journal = journal(40, 1 << 20);
    let (files, checkpoint) = (journal.disk().files(), journal.checkpoint("log.example"));
    let (name, bytes) = files.first_key_value().unwrap();
    let refused = |bytes: Vec<u8>, what: &str| {
        let forged = BTreeMap::from([(name.clone(), bytes)]);
        let ours = Journal::open_read_only(SimDisk::with(forged.clone()), std::slice::from_ref(&checkpoint));
        assert!(ours.unwrap().unwrap().1.first_bad.is_some(), "{what}");
        assert!(!verify(&scratch, &forged, &checkpoint).status.success(), "{what}");
    };
    let pieces = forge::read(bytes);
    let random = &mut Random(7);
    for round in 0..12 {
        let mut forged = pieces.clone();
        let at = random.below(forged.len());
        let kind = round % 4;
        match (&mut forged[at], kind) {
            (Piece::Record { entry, .. }, 0) => entry[random.below(217)] ^= 1,
            (Piece::Commit { root, .. }, 0) => root[0] ^= 1,
            (Piece::Mark { size }, 0) => *size += 1,
            (_, 1) => drop(forged.drain(at..)),
            (_, 2) => forged.swap(at, 0),
            (_, _) => {
                let Piece::Record { entry, .. } = &mut forged[0] else { panic!("no record") };
                entry[60] ^= 1;
                forge::chain_anew(&mut forged);
            }
        }
        if forged != pieces {
            refused(forge::write(bytes, &forged), &format!("round {round}, piece {at}"));
        }
    }
    let mut flipped = bytes.clone();
    flipped[forge::DATA + 500] ^= 4;
    refused(flipped, "a flipped bit");
}
