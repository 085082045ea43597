//! Signed checkpoints: known answers of other implementations, and what must not pass.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use ak_audit::{
    Checkpoint, SigningKey, VerifierKey,
    checkpoint::{cosign, verify},
    note::{KeyKind, Note, NoteError, SIGNATURES_MAX},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

fn log_key() -> SigningKey {
    SigningKey::from_seed("example.com/log42", KeyKind::Log, &[1; 32]).unwrap()
}

fn witness_key() -> SigningKey {
    SigningKey::from_seed("witness.example.com/w1", KeyKind::Witness, &[2; 32]).unwrap()
}

fn signed() -> Vec<u8> {
    Checkpoint::new("example.com/log42", 5, [7; 32]).sign(&log_key()).unwrap()
}

/// The example of golang.org/x/mod/sumdb/note.
#[test]
fn a_key_and_a_note_of_another_implementation() {
    let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let note = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n\n\
                — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let key = VerifierKey::parse(text).unwrap();
    assert_eq!((key.name(), key.kind(), key.to_string()), ("PeterNeumann", KeyKind::Log, text.to_owned()));
    let parsed = Note::parse(note.as_bytes()).unwrap();
    assert_eq!(verify(&parsed, &key), Ok(None));
    assert_eq!(parsed.to_string(), note);
    let secret = STANDARD.decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz").unwrap();
    let signer =
        SigningKey::from_seed("PeterNeumann", KeyKind::Log, secret[1..].try_into().unwrap()).unwrap();
    assert_eq!(signer.verifier(), &key);
    assert_eq!(
        Checkpoint::open(note.as_bytes(), &key),
        Err(NoteError::Checkpoint("expected at least three lines"))
    );
}

#[test]
fn what_is_signed_opens() {
    let checkpoint = Checkpoint::new("example.com/log42", 5, [7; 32]);
    let note = checkpoint.sign(&log_key()).unwrap();
    assert!(note.starts_with(b"example.com/log42\n5\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n\n\xe2\x80\x94 example.com/log42 "));
    assert_eq!(Checkpoint::open(&note, log_key().verifier()), Ok(checkpoint));
    assert!(!format!("{:?}", log_key()).contains("secret"));
}

#[test]
fn a_witness_is_kept_and_verified() {
    let once = cosign(&signed(), &witness_key(), 1_679_315_147).unwrap();
    let twice = cosign(&once, &witness_key(), 1_679_315_000).unwrap();
    let note = Note::parse(&twice).unwrap();
    assert_eq!(note.signatures().len(), 3);
    assert_eq!(note.to_string().as_bytes(), twice);
    assert_eq!(verify(&note, witness_key().verifier()), Ok(Some(1_679_315_147)));
    assert_eq!(verify(&note, log_key().verifier()), Ok(None));
    assert!(Checkpoint::open(&twice, log_key().verifier()).is_ok());
    let text = witness_key().verifier().to_string();
    assert_eq!(VerifierKey::parse(&text).as_ref(), Ok(witness_key().verifier()));
}

#[test]
fn one_false_signature_in_a_keys_name_is_too_many() {
    let note = String::from_utf8(signed()).unwrap();
    let other = String::from_utf8(Checkpoint::new("example.com/log42", 6, [7; 32]).sign(&log_key()).unwrap())
        .unwrap();
    let (_, false_line) = other.rsplit_once("\n\n").unwrap();
    for both in [format!("{note}{false_line}"), note.replace("\n\n", &format!("\n\n{false_line}"))] {
        assert_eq!(Checkpoint::open(both.as_bytes(), log_key().verifier()), Err(NoteError::Forged));
    }
}

#[test]
fn each_kind_of_key_signs_its_own() {
    let checkpoint = Checkpoint::new("example.com/log42", 5, [7; 32]);
    assert!(matches!(checkpoint.sign(&witness_key()), Err(NoteError::Key(_))));
    assert!(matches!(cosign(&signed(), &log_key(), 0), Err(NoteError::Key(_))));
    assert!(matches!(cosign(&signed(), &witness_key(), 1 << 63), Err(NoteError::Key(_))));
    let as_witness = SigningKey::from_seed("example.com/log42", KeyKind::Witness, &[1; 32]).unwrap();
    assert_eq!(Checkpoint::open(&signed(), as_witness.verifier()), Err(NoteError::Unsigned));
}

#[test]
fn every_flipped_bit_is_refused() {
    let note = cosign(&signed(), &witness_key(), 77).unwrap();
    let (log, witness) = (log_key(), witness_key());
    let both = |note: &[u8]| {
        let opened = Checkpoint::open(note, log.verifier())?;
        verify(&Note::parse(note)?, witness.verifier())?;
        Ok::<_, NoteError>(opened)
    };
    assert!(both(&note).is_ok());
    for bit in 0..note.len() * 8 {
        let mut flipped = note.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(both(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn malformed_notes_are_refused() {
    let check = |note: &str| {
        assert!(
            matches!(Note::parse(note.as_bytes()), Err(NoteError::Malformed(_) | NoteError::Name)),
            "{note:?}"
        )
    };
    check("");
    check("\n\n");
    check("text\n");
    check("text\n\n");
    check("text\n\n— name AAAAAAAA");
    check("text\n\n- name AAAAAAAA\n");
    check("text\n\n— name\n");
    check("text\n\n— na+me AAAAAAAA\n");
    check("text\n\n— na\u{2003}me AAAAAAAA\n");
    check("text\n\n—  AAAAAAAA\n");
    check("text\n\n— name AAAA\n");
    check("text\n\n— name AAAAAA==\n");
    check("text\n\n— name AAAA AAAA\n");
    check("te\rxt\n\n— name AAAAAAAA\n");
    check("text\n\n— name AAAAAAAA\n\n");
    check(&format!("text\n\n{}", "— name AAAAAAAA\n".repeat(SIGNATURES_MAX + 1)));
    assert!(Note::parse(b"text\n\n\xe2\x80\x94 name AAAAAAAA\n\xff").is_err());
    assert!(Note::parse(&vec![b'\n'; 2 << 20]).is_err());
    let most = format!("text\n\n{}", "— name AAAAAAAA\n".repeat(SIGNATURES_MAX));
    assert_eq!(Note::parse(most.as_bytes()).unwrap().signatures().len(), SIGNATURES_MAX);
}

#[test]
fn malformed_checkpoints_are_refused() {
    let root = STANDARD.encode([7; 32]);
    let check = |text: &str, fits: bool| assert_eq!(Checkpoint::parse(text).is_ok(), fits, "{text:?}");
    check(&format!("log\n0\n{root}\n"), true);
    check(&format!("log\n18446744073709551615\n{root}\nextension\n"), true);
    check(&format!("log\n18446744073709551616\n{root}\n"), false);
    check(&format!("log\n+1\n{root}\n"), false);
    check(&format!("log\n01\n{root}\n"), false);
    check(&format!("log\n-1\n{root}\n"), false);
    check(&format!("\n1\n{root}\n"), false);
    check(&format!("log\n1\n{root}\n\n"), false);
    check(&format!("log\n1\n{root}"), false);
    check("log\n1\nBwc=\n", false);
    check("log\n1\n", false);
    for origin in ["", "two\nlines"] {
        assert!(Checkpoint::new(origin, 1, [0; 32]).sign(&log_key()).is_err());
    }
}

#[test]
fn malformed_keys_are_refused() {
    let good = log_key().verifier().to_string();
    let id = &good[18..26];
    let check = |text: &str| assert!(VerifierKey::parse(text).is_err(), "{text:?}");
    check("");
    check("name+00000000");
    check(&good.replace(id, "00000000"));
    check(&good.replace("log42", "log43"));
    check(&good.to_uppercase());
    check(&format!("{good}AAAA"));
    for name in ["", "a b", "a+b", "a\nb"] {
        assert_eq!(SigningKey::from_seed(name, KeyKind::Log, &[0; 32]).unwrap_err(), NoteError::Name);
    }
}
