//! Options that say how to reach or create a kernel.

use std::{ffi::OsString, path::PathBuf};

use ak_kernel::{Code, Failure};

/// How to open a connection: the address of a daemon, or state directory, policy and configuration of an embedded
/// kernel.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Address of a daemon, `unix:///path`; `None` for an embedded kernel.
    pub url: Option<String>,
    /// State directory of an embedded kernel, with its journal and keys; `None` to keep everything in memory.
    pub state_dir: Option<PathBuf>,
    /// A policy file that is loaded when the connection opens; `None` to keep the policy in force.
    pub policy: Option<PathBuf>,
    /// File of the owner's token for a daemon. An embedded kernel protects the file from every agent.
    pub token_file: Option<PathBuf>,
    /// File of certificates for a daemon's TLS address. It is not used: only `unix://` addresses are supported.
    pub ca: Option<PathBuf>,
    /// The host configuration file of an embedded kernel: its models, secrets and network. No agent can access the
    /// file.
    pub host_config: Option<PathBuf>,
}

impl Options {
    /// Sets an option by the name of its field. Every shim uses this: C, the command line and Python.
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

    /// Fills absent options from `AK_URL`, `AK_STATE_DIR`, `AK_POLICY`, `AK_TOKEN_FILE` and `AK_HOST_CONFIG`.
    ///
    /// If the caller has set a URL or a state directory, neither is taken from the environment.
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
