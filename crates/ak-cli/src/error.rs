//! Why a command fails, and the exit code of each kind of failure.

/// The failure of a command: its exit code, and a line for stderr.
#[derive(Debug)]
pub(crate) struct CommandError {
    pub(crate) exit_code: u8,
    pub(crate) message: String,
}

impl CommandError {
    const FAILED: u8 = 1;
    /// An entry of the journal is invalid.
    const INVALID_JOURNAL: u8 = 4;
    /// Some entries of the journal could not be verified; none is invalid.
    const PARTLY_VERIFIED: u8 = 5;
    /// The kernel of a daemon stopped.
    const KERNEL_STOPPED: u8 = 6;

    /// A failure that has no exit code of its own.
    pub(crate) fn failed(message: impl ToString) -> CommandError {
        CommandError { exit_code: CommandError::FAILED, message: message.to_string() }
    }

    pub(crate) fn invalid_journal(message: String) -> CommandError {
        CommandError { exit_code: CommandError::INVALID_JOURNAL, message }
    }

    pub(crate) fn partly_verified(message: String) -> CommandError {
        CommandError { exit_code: CommandError::PARTLY_VERIFIED, message }
    }

    pub(crate) fn kernel_stopped(message: String) -> CommandError {
        CommandError { exit_code: CommandError::KERNEL_STOPPED, message }
    }
}
