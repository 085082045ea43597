//! `ak serve`: serves a kernel on a Unix socket.

use std::{path::PathBuf, sync::mpsc::channel, time::Duration};

use ak_host::{
    Connection, Options, Server,
    ak_kernel::{Code, Failure},
    owner_token, raise_descriptor_limit,
};
use clap::Args;

use crate::{error::CommandError, progress::show_progress};

/// Serve a kernel on a Unix socket. Exits with 6 when the kernel stopped because its journal could not be written. When
/// started again, it continues from the journal on disk; effects that were pending end with an unknown outcome.
#[derive(Debug, Args)]
pub(crate) struct ServeCommand {
    /// The path of the socket to listen on.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// The file with the owner's token. If it does not exist, it is created, readable by its owner only.
    #[arg(long, value_name = "PATH")]
    token_file: PathBuf,
    /// A policy to load at the start.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The state directory, which holds the journal. Without it the log is kept in memory only.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The host configuration: models, secrets and network. By default the file that AK_HOST_CONFIG names.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many connections without a credential may be open at a time. Each is an agent `guest/N` of its own and may
    /// do only what the policy permits `guest/**`.
    #[arg(long, value_name = "N", default_value_t = 0)]
    guests: u64,
}

impl ServeCommand {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        raise_descriptor_limit();
        let token = owner_token(&self.token_file).map_err(CommandError::failed)?;
        let mut options = Options::default();
        for (name, path) in [
            ("state_dir", self.state_dir),
            ("policy", self.policy),
            ("token_file", Some(self.token_file)),
            ("host_config", self.config.or_else(config_from_env)),
        ] {
            path.map_or(Ok(()), |path| options.set(name, path)).map_err(CommandError::failed)?;
        }
        let kernel =
            Connection::open_with_progress(&options, &mut show_progress()).map_err(CommandError::failed)?;
        let server = Server::bind(&kernel, &self.socket, &token).map_err(CommandError::failed)?;
        let server = server.with_guests(self.guests);
        for lint in kernel.lint_policy() {
            eprintln!("warning: rule {lint}");
        }
        eprintln!("listening on unix:{}", self.socket.display());
        let (sender, ended) = channel();
        if let Some(driver) = kernel.driver() {
            let sender = sender.clone();
            std::thread::spawn(move || sender.send(End::KernelStopped(driver.wait_until_stopped())));
        }
        std::thread::spawn(move || sender.send(End::SocketClosed(server.run())));
        loop {
            match ended.recv() {
                // The kernel was closed on purpose, which is no failure: the result of the socket decides.
                Ok(End::KernelStopped(failure)) if failure.code == Code::NotConfigured => {}
                Ok(End::KernelStopped(failure)) => {
                    // Leaves time to send pending requests their failures before the process ends.
                    std::thread::sleep(SHUTDOWN_GRACE);
                    return Err(CommandError::kernel_stopped(failure.message));
                }
                Ok(End::SocketClosed(result)) => return result.map_err(CommandError::failed),
                Err(error) => return Err(CommandError::failed(error)),
            }
        }
    }
}

/// How long the daemon still sends replies after its kernel has stopped.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);

/// Why a daemon ends.
enum End {
    /// The kernel stopped. A new process recovers it from the journal.
    KernelStopped(Failure),
    /// The server no longer listens on the socket.
    SocketClosed(std::io::Result<()>),
}

fn config_from_env() -> Option<PathBuf> {
    std::env::var_os("AK_HOST_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}
