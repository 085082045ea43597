//! C2SP signed notes: a text with signatures (<https://c2sp.org/signed-note>).

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _};
use sha2::{Digest as _, Sha256};

/// The longest note that [`Note::parse`] accepts, in bytes.
pub const NOTE_BYTES_MAX: usize = 1 << 20;

/// The most signatures a note may carry.
pub const SIGNATURES_MAX: usize = 100;

/// What a key signs: a log's notes, or a witness's cosignatures. Its number is part of the key's text and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum KeyKind {
    /// The key of a log, which signs the text of a note.
    Log = 0x01,
    /// The key of a witness, which signs the text of a checkpoint with a time (<https://c2sp.org/tlog-cosignature>).
    Witness = 0x04,
}

/// What is wrong with a note, a key or a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The bytes are not a signed note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// The text is not a verifier key, or the key is of the wrong kind.
    #[error("not a verifier key: {0}")]
    Key(&'static str),
    /// The name is not allowed for a key.
    #[error("key name is empty or has a space, a plus sign or a control character")]
    Name,
    /// The note has no signature by the given key.
    #[error("no signature by the key")]
    Unsigned,
    /// A signature with the key's name and id is invalid.
    #[error("signature does not verify")]
    Forged,
    /// The text of the note is not a checkpoint.
    #[error("not a checkpoint: {0}")]
    Checkpoint(&'static str),
}

/// A named Ed25519 key that signs. Its secret is wiped on drop and never printed.
pub struct SigningKey {
    secret: ed25519_dalek::SigningKey,
    public: VerifierKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The key with this name, kind and RFC 8032 seed: 32 bytes of secret entropy.
    ///
    /// # Errors
    /// [`NoteError::Name`] when the name is not allowed for a key.
    pub fn from_seed(name: &str, kind: KeyKind, seed: &[u8; 32]) -> Result<SigningKey, NoteError> {
        let secret = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = VerifierKey::new(name, kind, secret.verifying_key())?;
        Ok(SigningKey { secret, public })
    }

    /// The key that verifies this key's signatures.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.public
    }

    /// Signs `message` without further framing.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.secret.sign(message).to_bytes()
    }
}

/// A named Ed25519 key that verifies; as text, `name+id+base64(kind ‖ key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    id: [u8; 4],
    key: ed25519_dalek::VerifyingKey,
}

impl VerifierKey {
    fn new(name: &str, kind: KeyKind, key: ed25519_dalek::VerifyingKey) -> Result<VerifierKey, NoteError> {
        check_name(name)?;
        let digest: [u8; 32] = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', kind as u8])
            .chain_update(key.as_bytes())
            .finalize()
            .into();
        let [a, b, c, d, ..] = digest;
        Ok(VerifierKey { name: name.to_owned(), kind, id: [a, b, c, d], key })
    }

    /// Parses a verifier key from its text.
    ///
    /// # Errors
    /// When the text is malformed, the algorithm is unknown, or the id does not match the key.
    pub fn parse(text: &str) -> Result<VerifierKey, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("expected name+id+key"));
        };
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::Key("it is not base64"))?;
        let (kind, public) = match bytes.split_first() {
            Some((0x01, public)) => (KeyKind::Log, public),
            Some((0x04, public)) => (KeyKind::Witness, public),
            _ => return Err(NoteError::Key("its algorithm is unknown")),
        };
        let public = public.try_into().map_err(|_| NoteError::Key("the public key is not 32 bytes long"))?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(public)
            .map_err(|_| NoteError::Key("it is not on the curve"))?;
        let verifier = VerifierKey::new(name, kind, key)?;
        if hex::encode(verifier.id) != id {
            return Err(NoteError::Key("its id is not that of the key"));
        }
        Ok(verifier)
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind of key.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// RFC 8032 verification in its strict form: no weak keys, one encoding for each signature.
    pub(crate) fn accepts(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = Vec::from([self.kind as u8]);
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(key))
    }
}

/// One signature line of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// Name of the key.
    pub name: String,
    /// Id of the key.
    pub id: [u8; 4],
    /// The signature, in the format of the key's kind.
    pub bytes: Vec<u8>,
}

/// A text with signatures (C2SP signed-note). Do not trust the text before [`verify`](crate::checkpoint::verify) has
/// accepted a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// A note with this text and no signatures.
    ///
    /// # Errors
    /// When the text does not end in a newline, or holds a control character other than newlines.
    pub fn new(text: String) -> Result<Note, NoteError> {
        if !text.ends_with('\n') {
            return Err(NoteError::Malformed("the text does not end in a newline"));
        }
        check_controls(&text)?;
        Ok(Note { text, signatures: Vec::new() })
    }

    /// Parses a note: a text, an empty line, signature lines. Does not verify the signatures.
    ///
    /// # Errors
    /// When the bytes have another form, or exceed [`NOTE_BYTES_MAX`] or [`SIGNATURES_MAX`].
    pub fn parse(bytes: &[u8]) -> Result<Note, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Malformed("it is too long"));
        }
        let whole = core::str::from_utf8(bytes).map_err(|_| NoteError::Malformed("it is not UTF-8"))?;
        let end =
            whole.rfind("\n\n").ok_or(NoteError::Malformed("it has no empty line before its signatures"))?;
        let (text, lines) = whole.split_at_checked(end + 1).unwrap_or_default();
        let lines = lines.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
        let lines = lines.ok_or(NoteError::Malformed("its last line is cut short"))?;
        let mut note = Note::new(text.to_owned())?;
        for line in lines.split('\n') {
            if note.signatures.len() == SIGNATURES_MAX {
                return Err(NoteError::Malformed("it has too many signatures"));
            }
            note.signatures.push(parse_signature(line)?);
        }
        Ok(note)
    }

    /// The text, its final newline included.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signature lines in their order, whether their keys are known or not.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature line.
    pub(crate) fn push(&mut self, key: &VerifierKey, bytes: Vec<u8>) {
        self.signatures.push(NoteSignature { name: key.name.clone(), id: key.id, bytes });
    }

    /// The signatures under this key's name and id.
    pub(crate) fn by(&self, key: &VerifierKey) -> impl Iterator<Item = &[u8]> {
        self.signatures
            .iter()
            .filter(move |line| line.name == key.name && line.id == key.id)
            .map(|line| line.bytes.as_slice())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for line in &self.signatures {
            let mut bytes = line.id.to_vec();
            bytes.extend_from_slice(&line.bytes);
            writeln!(f, "— {} {}", line.name, STANDARD.encode(bytes))?;
        }
        Ok(())
    }
}

fn parse_signature(line: &str) -> Result<NoteSignature, NoteError> {
    let parts = line.strip_prefix("— ").and_then(|rest| rest.split_once(' '));
    let (name, signature) = parts.ok_or(NoteError::Malformed("a signature line is not `— name base64`"))?;
    check_name(name)?;
    let bytes = STANDARD.decode(signature).map_err(|_| NoteError::Malformed("a signature is not base64"))?;
    match bytes.split_first_chunk() {
        Some((id, rest)) if !rest.is_empty() => {
            Ok(NoteSignature { name: name.to_owned(), id: *id, bytes: rest.to_vec() })
        }
        _ => Err(NoteError::Malformed("a signature is too short")),
    }
}

fn check_name(name: &str) -> Result<(), NoteError> {
    let bad = |character: char| character.is_whitespace() || character.is_control() || character == '+';
    if name.is_empty() || name.contains(bad) { Err(NoteError::Name) } else { Ok(()) }
}

fn check_controls(text: &str) -> Result<(), NoteError> {
    match text.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        true => Err(NoteError::Malformed("it holds a control character")),
        false => Ok(()),
    }
}
