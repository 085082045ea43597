//! Re-execution: feeds a journal to a new kernel and checks that every entry follows from its input.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use ak_json::{Digest, Value};

use crate::{
    api::{config::Config, reply::Outcome},
    codec::input::Input,
    record::entry::{Record, SEMANTICS_VERSION},
    replay::{rerun::Rerun, snapshot::RestoreError, upgrade::is_earlier},
    state::{CallId, Kernel, Output},
};

/// Whether replay takes the results of tools from the journal, or runs them again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolReplay {
    /// Take the results from the journal.
    #[default]
    Recorded,
    /// Run the tools again, and compare.
    Rerun,
}

impl ToolReplay {
    fn rerun(self) -> Option<Rerun> {
        match self {
            Self::Recorded => None,
            Self::Rerun => Some(Rerun::default()),
        }
    }
}

/// Why a journal does not replay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq} is wrong: {reason}")]
pub struct ReplayError {
    /// The `seq` of the first entry that does not follow.
    pub seq: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// One recorded input that was re-executed, with its record and replies.
#[derive(Clone, Debug)]
pub struct ReplayedEntry {
    /// The record that it makes, which equals the recorded one byte for byte.
    pub record: Record,
    /// The replies that it releases.
    pub replies: Vec<(CallId, Outcome)>,
    /// Whether the decision was made again and compared. Decisions of an earlier version are repeated as recorded.
    pub compared: bool,
}

/// A kernel that is rebuilt from recorded inputs, one after another.
///
/// ```
/// use ak_kernel::{Config, Kernel, Now, Replay, ToolsRequest, Request, SessionId, Time, ToolReplay};
///
/// let now = Now::steady(Time::from_micros(1), [7; 32]);
/// let mut kernel = Kernel::new(now, Config::default());
/// kernel.dispatch(now, SessionId::OWNER, Request::Tools(ToolsRequest::List)).unwrap();
///
/// let mut replay = Replay::new(ToolReplay::Recorded);
/// while let Some(record) = kernel.poll_record() {
///     replay.feed(&record.leaf, &record.body)?;
/// }
/// let mut again = replay.finish()?;
/// assert_eq!(again.head(), kernel.head());
/// assert_eq!(again.state_digest(), kernel.state_digest());
/// # Ok::<(), ak_kernel::ReplayError>(())
/// ```
#[derive(Debug)]
pub struct Replay {
    kernel: Option<Kernel>,
    /// The tools that are run again, if they are.
    rerun: Option<Rerun>,
    seq: u64,
    /// The entry of the newest snapshot whose digest was recorded.
    vouched_for: Option<u64>,
}

impl Replay {
    /// Starts a replay. The first input must be a genesis.
    pub fn new(tools: ToolReplay) -> Replay {
        Replay { kernel: None, rerun: tools.rerun(), seq: 0, vouched_for: None }
    }

    /// Continues from a snapshot. The first record to feed is the one with which the snapshot began. The snapshot
    /// is authenticated only when the record of its end follows too: see [`vouched_for`](Self::vouched_for).
    ///
    /// # Errors
    /// [`RestoreError`] if the bytes are not a snapshot.
    pub fn resume(snapshot: &[u8], tools: ToolReplay) -> Result<Replay, RestoreError> {
        let kernel = Kernel::restore(snapshot)?;
        let seq = kernel.entries();
        Ok(Replay { kernel: Some(kernel), rerun: tools.rerun(), seq, vouched_for: None })
    }

    /// Re-executes one recorded input, and compares entry and body with the recorded ones, byte for byte.
    ///
    /// # Errors
    /// [`ReplayError`] if the body is not an input, or if another entry follows from it than the recorded one.
    pub fn feed(&mut self, leaf: &[u8], body: &[u8]) -> Result<ReplayedEntry, ReplayError> {
        let seq = self.seq;
        let wrong = |reason: String| ReplayError { seq, reason };
        // The journal's own limits are unknown before its genesis is read; its inputs were within the limits when
        // written.
        let limits = match &self.kernel {
            None => Config::default().journal_limits(),
            Some(kernel) => kernel.config().journal_limits(),
        };
        let value =
            Value::parse(body, &limits).map_err(|error| wrong(format!("the body is not JSON: {error}")))?;
        let boot = self.kernel.as_ref().map_or([0; 16], |kernel| *kernel.clock.boot());
        let (now, input) = Input::from_value(&value, &boot)
            .map_err(|error| wrong(format!("the body is no input: {error}")))?;
        if let Some(rerun) = &mut self.rerun {
            rerun.compare(CallId(seq), &input).map_err(wrong)?;
        }
        match (&mut self.kernel, input) {
            (None, Input::Genesis { config, semantics }) if is_earlier(semantics) => {
                self.kernel = Some(Kernel::earlier(&now, config, semantics, leaf));
                self.seq += 1;
                return self.as_recorded(leaf, body).map_err(wrong);
            }
            (None, Input::Genesis { config, semantics: SEMANTICS_VERSION }) => {
                self.kernel = Some(Kernel::new(now, config));
            }
            (None, Input::Genesis { semantics, .. }) => {
                return Err(wrong(format!(
                    "the journal is of semantics version {semantics}, which this kernel does not know"
                )));
            }
            (None, _) => return Err(wrong(String::from("the journal does not begin with a genesis"))),
            (Some(_), Input::Genesis { .. }) => return Err(wrong(String::from("a second genesis"))),
            (Some(kernel), Input::Upgrade { from, to, .. }) => {
                if to != SEMANTICS_VERSION {
                    return Err(wrong(format!(
                        "the journal goes on under semantics version {to}, which this kernel does not know"
                    )));
                }
                match kernel.earlier {
                    Some(version) if version == from => kernel.prepare_upgrade(),
                    // The snapshot that belongs to the record was taken after the state was prepared.
                    None if kernel.is_upgraded_from(from) => {}
                    Some(_) | None => {
                        return Err(wrong(format!("the journal is not of semantics version {from}")));
                    }
                }
                kernel.note_upgrade(&now, from);
                self.vouched_for = Some(seq);
            }
            (Some(kernel), input) if kernel.earlier.is_some() => {
                if matches!(input, Input::Snapshot { .. }) {
                    self.vouched_for = Some(seq);
                }
                kernel.execute_earlier(now, input, leaf).map_err(wrong)?;
                self.seq += 1;
                return self.as_recorded(leaf, body).map_err(wrong);
            }
            (Some(kernel), Input::Dispatch { session, asked }) => {
                kernel.dispatch_admitted(now, session, asked);
            }
            (Some(kernel), Input::Progress { ticket, step }) => kernel.handle_step(now, ticket, step),
            (Some(kernel), Input::HostCall { ticket, request }) => {
                kernel.dispatch_admitted_host_call(&now, ticket, request);
            }
            (Some(kernel), Input::Complete { ticket, ended }) => {
                kernel.handle_completion(now, ticket, ended);
            }
            (Some(kernel), Input::Tick) => kernel.tick(&now),
            (Some(kernel), Input::Throttled(turned)) => kernel.throttled(&now, turned),
            (Some(kernel), Input::ClockStep) => kernel.clock_stepped(&now),
            (Some(kernel), Input::SnapshotBegun) => kernel.begin_snapshot_again(&now),
            (Some(kernel), Input::SnapshotKept { of, state }) => {
                kernel.end_snapshot_again(&now, of, state).map_err(wrong)?;
                self.vouched_for = Some(of);
            }
            (Some(_), Input::Snapshot { .. }) => {
                return Err(wrong(String::from("no kernel of this version writes such an entry")));
            }
        }
        let record = self.kernel.as_mut().and_then(Kernel::poll_record);
        let record = record.ok_or_else(|| wrong(String::from("nothing follows from this input")))?;
        if *record.leaf != *leaf {
            return Err(wrong(String::from("the recorded entry differs from the one that this input gives")));
        }
        // The body contains values that are computed again, such as the digest of a snapshot.
        if *record.body != *body {
            return Err(wrong(String::from("the body is not the one that the entry is about")));
        }
        self.seq += 1;
        let replies = self.release(record.seq);
        Ok(ReplayedEntry { record, replies, compared: true })
    }

    /// The record of an earlier version's entry, which is kept as it is.
    fn as_recorded(&self, leaf: &[u8], body: &[u8]) -> Result<ReplayedEntry, String> {
        let leaf: Arc<[u8]> = Arc::from(leaf);
        let leaf = ak_audit::Leaf::check(leaf).map_err(|error| format!("it cannot be read: {error}"))?;
        let record = Record {
            seq: self.seq.saturating_sub(1),
            hash: leaf.hash().into(),
            leaf,
            body: Arc::from(body),
            subjects: Vec::new(),
        };
        Ok(ReplayedEntry { record, replies: Vec::new(), compared: false })
    }

    /// The version of the journal so far; `None` once it is this kernel's.
    pub fn earlier_version(&self) -> Option<u64> {
        self.kernel.as_ref().and_then(Kernel::earlier_version)
    }

    /// The entry of the newest snapshot whose digest was recorded and matches. For the snapshot with which a
    /// journal of an earlier version continues, this is the UPGRADE record itself.
    pub const fn vouched_for(&self) -> Option<u64> {
        self.vouched_for
    }

    /// The snapshot of the current state.
    pub(crate) fn snapshot_now(&self) -> Option<Vec<u8>> {
        self.kernel.as_ref().map(|kernel| kernel.image().encode().0)
    }

    /// The kernel after the newest input.
    pub(crate) const fn kernel(&self) -> Option<&Kernel> {
        self.kernel.as_ref()
    }

    /// Takes the outputs, and passes effects and replies to the tools that are run again.
    fn release(&mut self, seq: u64) -> Vec<(CallId, Outcome)> {
        let mut replies = Vec::new();
        let Some(kernel) = &mut self.kernel else { return replies };
        kernel.committed(seq);
        while let Some(output) = kernel.poll_output() {
            match output {
                Output::Perform(ticket, effect) => {
                    if let Some(rerun) = &mut self.rerun {
                        rerun.perform(ticket, effect);
                    }
                }
                Output::Reply(call, outcome) => {
                    if let Some(rerun) = &mut self.rerun {
                        rerun.reply(call, &outcome);
                    }
                    replies.push((call, outcome));
                }
                Output::Resume(..) => {}
            }
        }
        replies
    }

    /// The number of entries that followed so far, including those before a snapshot.
    pub fn entries(&self) -> u64 {
        self.seq
    }

    /// The leaf hash of the last entry that followed.
    pub fn head(&self) -> Option<Digest> {
        self.kernel.as_ref().map(Kernel::head)
    }

    /// The kernel after the last input.
    ///
    /// # Errors
    /// [`ReplayError`] if there was no input.
    pub fn finish(self) -> Result<Kernel, ReplayError> {
        self.kernel.ok_or_else(|| ReplayError { seq: 0, reason: String::from("the journal is empty") })
    }
}
