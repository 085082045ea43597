//! The keys of capability tokens. Only the host has them; the kernel and its journal do not.

use std::{io, path::Path};

use ak_kernel::{Code, Failure, PresentedCapability};
use ak_policy::capability::{Authority, CapId, KeyId, TOKEN_BYTES_MAX, TokenKeys};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{random::random_bytes, secrets::key_file};

/// Name of the key file in the state directory. It has a line `id key` for each key, the newest last: the newest key
/// signs tokens, and all keys verify them. To change keys, add a line, and remove the old one once its tokens are out
/// of use.
pub const KEYS_FILE: &str = "token-keys";

/// Signs and verifies the capability tokens of one kernel.
pub(crate) struct CapabilityTokens(TokenKeys);

impl CapabilityTokens {
    /// Reads the keys from the state directory, where they are created at first use. Without a directory it makes a key
    /// that lasts as long as the process.
    ///
    /// `run` is the id of the kernel's log: a token of another log is invalid here, even under the same key.
    ///
    /// # Errors
    /// When the file cannot be read or created, other users may read it, or it does not contain keys.
    pub(crate) fn open(directory: Option<&Path>, run: [u8; 16]) -> io::Result<CapabilityTokens> {
        let fresh = || Ok(format!("1 {}\n", hex::encode(random_bytes()?)));
        let text = match directory {
            None => fresh()?,
            Some(directory) => key_file::read_or_create(&directory.join(KEYS_FILE), fresh)?,
        };
        let key = |line: &str| -> Option<(KeyId, [u8; 32])> {
            let (id, key) = line.split_once(' ')?;
            Some((id.parse().ok()?, key_file::parse_hex_key(key.trim())?))
        };
        let keys: Option<Vec<_>> = text.lines().filter(|line| !line.trim().is_empty()).map(key).collect();
        let mut context = [0; 32];
        for (to, from) in context.iter_mut().zip(run) {
            *to = from;
        }
        let keys = keys.and_then(|keys| TokenKeys::new(context, &keys));
        keys.map(CapabilityTokens).ok_or_else(|| {
            let message = format!("{KEYS_FILE}: expected lines of a number and 64 hexadecimal digits");
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }

    /// Verifies a token in base64url, and returns its capability.
    ///
    /// # Errors
    /// CAP_INVALID for any text that is not an unchanged token of this kernel.
    pub(crate) fn verify(&self, token: &str) -> Result<PresentedCapability, Failure> {
        let invalid = |reason: String| Failure::new(Code::CapInvalid, format!("cap: {reason}")).presented();
        if token.len() > TOKEN_BYTES_MAX.div_ceil(3) * 4 {
            return Err(invalid("token is longer than allowed".into()));
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid("token is not base64url".into()))?;
        PresentedCapability::new(self.0.verify(&bytes).map_err(|error| invalid(error.to_string()))?)
    }

    /// Returns the capability as a token, in base64url.
    ///
    /// # Errors
    /// None in practice: a token without caveats of its own always fits.
    pub(crate) fn sign(&self, capability: CapId) -> Result<String, Failure> {
        let token = self.0.issue(capability, &Authority::everything());
        token
            .map(|token| URL_SAFE_NO_PAD.encode(token))
            .map_err(|error| Failure::new(Code::Io, format!("no token: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_under_its_key_and_log_only() {
        let tokens = CapabilityTokens::open(None, [1; 16]).unwrap();
        let token = tokens.sign(CapId::from_u64(7)).unwrap();
        assert!(tokens.verify(&token).is_ok());
        let others = [CapabilityTokens::open(None, [1; 16]).unwrap(), CapabilityTokens(tokens.0.clone())];
        assert_eq!(others[0].verify(&token).unwrap_err().code, Code::CapInvalid);
        assert!(others[1].verify(&token).is_ok());
        for bent in
            ["", "AKH1", &format!("{token}A"), &token.to_uppercase(), &"A".repeat(6000), "not base64!"]
        {
            assert_eq!(tokens.verify(bent).unwrap_err().code, Code::CapInvalid, "{bent}");
        }
    }

    #[test]
    fn keys_change_with_overlap() {
        let directory = std::env::temp_dir().join(format!("ak-tokens-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let old = CapabilityTokens::open(Some(&directory), [1; 16]).unwrap();
        let token = old.sign(CapId::from_u64(7)).unwrap();
        let file = directory.join(KEYS_FILE);
        let keys = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{keys}2 {}\n", "ab".repeat(32))).unwrap();
        let both = CapabilityTokens::open(Some(&directory), [1; 16]).unwrap();
        assert!(both.verify(&token).is_ok() && old.verify(&both.sign(CapId::from_u64(7)).unwrap()).is_err());
        assert!(
            CapabilityTokens::open(Some(&directory), [2; 16]).unwrap().verify(&token).is_err(),
            "another log"
        );
        for bad in ["", "1", "1 xyz", &format!("{keys}{keys}")] {
            std::fs::write(&file, bad).unwrap();
            assert!(CapabilityTokens::open(Some(&directory), [1; 16]).is_err(), "{bad:?}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
