//! How to reach or make a kernel.

use std::{ffi::OsString, path::PathBuf};

use ak_kernel::{Code, Failure};

/// How to reach or make a kernel.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `unix:///path` of a daemon; an embedded kernel where absent.
    pub url: Option<String>,
    /// Where an embedded kernel keeps its journal; in memory where absent.
    pub state_dir: Option<PathBuf>,
    /// A policy file that an embedded kernel loads at once.
    pub policy: Option<PathBuf>,
    /// The owner's token for a daemon. An embedded kernel keeps every agent away from the file.
    pub token_file: Option<PathBuf>,
    /// Certificates for TLS.
    pub ca: Option<PathBuf>,
    /// The host configuration of an embedded kernel: its models, secrets and network. No agent reaches the file.
    pub host_config: Option<PathBuf>,
}

impl Options {
    /// Sets an option by the name of its field. This table serves every shim: C, the command line and Python.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when there is no option of this name, or the URL is not UTF-8.
    ///
    /// # Example
    ///
    /// ```
    /// use ak_host::Options;
    ///
    /// let mut options = Options::default();
    /// options.set("state_dir", "/var/lib/ak")?;
    /// assert!(options.set("no_such_option", "").is_err());
    /// # Ok::<(), ak_host::ak_kernel::Failure>(())
    /// ```
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) -> Result<(), Failure> {
        let wrong = |what: &str| Failure::new(Code::InvalidArgument, format!("options.{name}: {what}"));
        let value = value.into();
        let path = match name {
            "url" => {
                self.url = Some(value.into_string().map_err(|_| wrong("expected a string"))?);
                return Ok(());
            }
            "state_dir" => &mut self.state_dir,
            "policy" => &mut self.policy,
            "token_file" => &mut self.token_file,
            "ca" => &mut self.ca,
            "host_config" => &mut self.host_config,
            _ => return Err(wrong("is not known here")),
        };
        *path = Some(PathBuf::from(value));
        Ok(())
    }

    /// Takes what is absent from `AK_URL`, `AK_STATE_DIR`, `AK_POLICY`, `AK_TOKEN_FILE` and `AK_HOST_CONFIG`.
    ///
    /// A mode named by the caller, be it a URL or a directory, is not mixed with one from the environment.
    #[must_use]
    pub fn or_from_env(mut self) -> Options {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if self.url.is_none() && self.state_dir.is_none() {
            self.url = std::env::var("AK_URL").ok().filter(|url| !url.is_empty());
            self.state_dir = path("AK_STATE_DIR").filter(|_| self.url.is_none());
        }
        self.policy = self.policy.or_else(|| path("AK_POLICY"));
        self.token_file = self.token_file.or_else(|| path("AK_TOKEN_FILE"));
        self.host_config = self.host_config.or_else(|| path("AK_HOST_CONFIG"));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_set_by_its_name() {
        let mut options = Options::default();
        for name in ["url", "state_dir", "policy", "token_file", "ca", "host_config"] {
            options.set(name, name).unwrap();
        }
        let Options { url, state_dir, policy, token_file, ca, host_config } = options;
        assert_eq!(url.as_deref(), Some("url"));
        let paths = [state_dir, policy, token_file, ca, host_config].map(|path| path.unwrap());
        assert_eq!(paths, ["state_dir", "policy", "token_file", "ca", "host_config"].map(PathBuf::from));
    }

    #[test]
    fn an_unknown_name_is_rejected() {
        let failure = Options::default().set("config", "x").unwrap_err();
        assert_eq!(
            (failure.code, &*failure.message),
            (Code::InvalidArgument, "options.config: is not known here")
        );
    }
}
