//! Notes, checkpoints and keys: what can be read has one encoding, and a checkpoint without a signature does not open.
#![no_main]

use ak_audit::{
    Checkpoint, SigningKey, VerifierKey,
    checkpoint::cosign,
    note::{KeyKind, Note},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let key = SigningKey::from_seed("log.example", KeyKind::Log, &[1; 32]).expect("a name");
    let witness = SigningKey::from_seed("witness.example", KeyKind::Witness, &[2; 32]).expect("a name");
    assert!(Checkpoint::open(bytes, key.verifier()).is_err());
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(Note::parse(note.to_string().as_bytes()), Ok(note));
    }
    if let Ok(cosigned) = cosign(bytes, &witness, 1_700_000_000) {
        assert!(Checkpoint::open(&cosigned, witness.verifier()).is_ok());
        assert!(Checkpoint::open(&cosigned, key.verifier()).is_err());
    }
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(Checkpoint::parse(&checkpoint.text()).as_ref(), Ok(&checkpoint));
        if let Ok(note) = checkpoint.sign(&key) {
            assert_eq!(Checkpoint::open(&note, key.verifier()), Ok(checkpoint));
        }
    }
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(key.to_string(), text);
    }
});
