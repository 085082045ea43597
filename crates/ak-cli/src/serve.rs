//! `ak serve`: offers a kernel on a Unix socket.

use std::path::PathBuf;

use ak_host::{Connection, Options, Server, owner_token};
use clap::Args;

use crate::{Failed, progress::progress};

/// Offer a kernel on a Unix socket.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// The owner's token; made there, readable by its owner alone, if it is not there.
    #[arg(long, value_name = "PATH")]
    token_file: PathBuf,
    /// A policy to load at once.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where to keep the journal; in memory where absent.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The host configuration: models, secrets and network; from AK_HOST_CONFIG where absent.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many connections at a time may come without a credential. Each is an agent `guest/N` of its own, with nothing but
    /// what the policy permits `guest/**`.
    #[arg(long, value_name = "N", default_value_t = 0)]
    guests: u64,
}

impl Serve {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let token = owner_token(&self.token_file).map_err(Failed::error)?;
        let token_file = Some(self.token_file);
        let options = Options {
            state_dir: self.state_dir,
            policy: self.policy,
            token_file,
            host_config: self.config.or_else(config_from_env),
            ..Options::default()
        };
        let kernel = Connection::open_telling(&options, &mut progress()).map_err(Failed::error)?;
        let server = Server::bind(&kernel, &self.socket, &token).map_err(Failed::error)?;
        let server = server.with_guests(self.guests);
        eprintln!("listening on unix:{}", self.socket.display());
        server.run().map_err(Failed::error)
    }
}

fn config_from_env() -> Option<PathBuf> {
    std::env::var_os("AK_HOST_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}
