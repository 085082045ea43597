//! Checkpoints: the size and root of a log, signed (<https://c2sp.org/tlog-checkpoint>).

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec::Vec,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    hash::Hash,
    note::{KeyKind, Note, NoteError, SigningKey, VerifierKey},
};

/// The statement that the log `origin` had `size` entries with this root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log, one line; by convention a URL without scheme.
    pub origin: String,
    /// Number of entries in the log.
    pub size: u64,
    /// Merkle root over these entries.
    pub root: Hash,
}

impl Checkpoint {
    /// A checkpoint with these values.
    #[must_use]
    pub fn new(origin: &str, size: u64, root: Hash) -> Checkpoint {
        Checkpoint { origin: origin.to_owned(), size, root }
    }

    /// The text that is signed: origin, size and base64 of the root, a line each.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Parses the text of a checkpoint. Lines after the third are allowed by the format and ignored; they must not be
    /// empty.
    ///
    /// # Errors
    /// [`NoteError::Checkpoint`] when the text has another form.
    pub fn parse(text: &str) -> Result<Checkpoint, NoteError> {
        let body = text.strip_suffix('\n').ok_or(NoteError::Checkpoint("it does not end in a newline"))?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoteError::Checkpoint("expected at least three lines"));
        };
        if origin.is_empty() || lines.any(str::is_empty) {
            return Err(NoteError::Checkpoint("a line is empty"));
        }
        let number = size.parse::<u64>().ok().filter(|number| number.to_string() == size);
        let root = STANDARD.decode(root).ok().and_then(|root| Hash::try_from(root).ok());
        Ok(Checkpoint {
            origin: origin.to_owned(),
            size: number.ok_or(NoteError::Checkpoint("line 2 is not a decimal number"))?,
            root: root.ok_or(NoteError::Checkpoint("line 3 is not the base64 of 32 bytes"))?,
        })
    }

    /// The checkpoint as a note signed by the log's own key.
    ///
    /// # Errors
    /// When the origin is empty or not one line, or the key is a witness's.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>, NoteError> {
        let text = self.text();
        if Checkpoint::parse(&text).as_ref() != Ok(self) {
            return Err(NoteError::Checkpoint("its origin is not one line"));
        }
        if key.verifier().kind() != KeyKind::Log {
            return Err(NoteError::Key("it is a witness's"));
        }
        let mut note = Note::new(text)?;
        let signature = key.sign(note.text().as_bytes());
        note.push(key.verifier(), signature.to_vec());
        Ok(note.to_string().into_bytes())
    }

    /// Parses a signed checkpoint and verifies that `key` has signed it.
    ///
    /// # Errors
    /// When the note is malformed, is not signed by `key`, or has an invalid signature with the name and id of `key`.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Checkpoint, NoteError> {
        let note = Note::parse(note)?;
        verify(&note, key)?;
        Checkpoint::parse(note.text())
    }
}

/// Adds the cosignature of a witness that saw this checkpoint at `time_s`, in seconds since the Unix epoch. Before
/// cosigning, the witness must check that the checkpoint is consistent with the last one it cosigned.
///
/// # Errors
/// When the note is not a checkpoint, the key is not a witness's, or the time does not fit 63 bits.
pub fn cosign(note: &[u8], key: &SigningKey, time_s: u64) -> Result<Vec<u8>, NoteError> {
    let mut note = Note::parse(note)?;
    Checkpoint::parse(note.text())?;
    if key.verifier().kind() != KeyKind::Witness || time_s > i64::MAX.unsigned_abs() {
        return Err(NoteError::Key("it is not a witness's, or the time is too large"));
    }
    let mut bytes = time_s.to_be_bytes().to_vec();
    bytes.extend_from_slice(&key.sign(cosigned(note.text(), time_s).as_bytes()));
    note.push(key.verifier(), bytes);
    Ok(note.to_string().into_bytes())
}

/// Verifies that a note is signed by `key`. For a witness's key, returns the latest time that its signatures state,
/// in seconds since the Unix epoch; for a log's key, `None`.
///
/// # Errors
/// When there is no signature by `key`, or an invalid one with its name and id.
pub fn verify(note: &Note, key: &VerifierKey) -> Result<Option<u64>, NoteError> {
    let mut latest: Result<Option<u64>, _> = Err(NoteError::Unsigned);
    for bytes in note.by(key) {
        let time_s = match key.kind() {
            KeyKind::Log => {
                let signature = bytes.try_into().map_err(|_| NoteError::Forged)?;
                key.accepts(note.text().as_bytes(), signature).then_some(None)
            }
            KeyKind::Witness => {
                let (time, signature) = bytes.split_first_chunk().ok_or(NoteError::Forged)?;
                let time_s = u64::from_be_bytes(*time);
                let signature = signature.try_into().map_err(|_| NoteError::Forged)?;
                key.accepts(cosigned(note.text(), time_s).as_bytes(), signature).then_some(Some(time_s))
            }
        };
        let time_s = time_s.ok_or(NoteError::Forged)?;
        latest = Ok(latest.unwrap_or_default().max(time_s));
    }
    latest
}

/// The text that a witness signs.
fn cosigned(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}
