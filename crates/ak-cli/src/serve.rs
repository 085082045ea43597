//! `ak serve`: offers a kernel on a Unix socket.

use std::{path::PathBuf, sync::mpsc::channel, time::Duration};

use ak_host::{
    Connection, Options, Server,
    ak_kernel::{Code, Failure},
    owner_token, raise_descriptor_limit,
};
use clap::Args;

use crate::{Failed, progress::progress};

/// Offer a kernel on a Unix socket. Exits with 6 when the kernel had to stop because its journal could not be written: started
/// again, it goes on from what is on the disk, and what was under way ended with nobody knowing whether it happened.
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
        raise_descriptor_limit();
        let token = owner_token(&self.token_file).map_err(Failed::error)?;
        let mut options = Options::default();
        for (name, path) in [
            ("state_dir", self.state_dir),
            ("policy", self.policy),
            ("token_file", Some(self.token_file)),
            ("host_config", self.config.or_else(config_from_env)),
        ] {
            path.map_or(Ok(()), |path| options.set(name, path)).map_err(Failed::error)?;
        }
        let kernel = Connection::open_with_progress(&options, &mut progress()).map_err(Failed::error)?;
        let server = Server::bind(&kernel, &self.socket, &token).map_err(Failed::error)?;
        let server = server.with_guests(self.guests);
        eprintln!("listening on unix:{}", self.socket.display());
        let (sender, ended) = channel();
        if let Some(driver) = kernel.driver() {
            let sender = sender.clone();
            std::thread::spawn(move || sender.send(End::Stopped(driver.wait_until_stopped())));
        }
        std::thread::spawn(move || sender.send(End::Socket(server.run())));
        loop {
            match ended.recv() {
                // Whoever closed the kernel ends the daemon in its own way.
                Ok(End::Stopped(failure)) if failure.code == Code::NotConfigured => {}
                Ok(End::Stopped(failure)) => {
                    // Those who wait are told so first.
                    std::thread::sleep(LAST_WORDS);
                    return Err(Failed { code: Failed::STOPPED, message: failure.message });
                }
                Ok(End::Socket(broken)) => return broken.map_err(Failed::error),
                Err(error) => return Err(Failed::error(error)),
            }
        }
    }
}

/// How long the daemon still writes answers once its kernel has stopped.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a daemon ends.
enum End {
    /// Its kernel stopped: to begin anew recovers it.
    Stopped(Failure),
    /// Nobody is heard any more.
    Socket(std::io::Result<()>),
}

fn config_from_env() -> Option<PathBuf> {
    std::env::var_os("AK_HOST_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}
