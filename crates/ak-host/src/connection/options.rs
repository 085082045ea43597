//! How to reach or make a kernel.

use std::path::PathBuf;

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
    /// Takes what is absent from `AK_URL`, `AK_STATE_DIR`, `AK_POLICY`, `AK_TOKEN_FILE` and `AK_HOST_CONFIG`.
    ///
    /// A place named by the caller, be it a URL or a directory, is not mixed with one from the environment.
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
