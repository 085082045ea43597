//! The kernel's limits. They stand in the journal's genesis entry, so replay runs under the same ones.

use ak_json::{Object, Value};

use crate::api::fields::{FieldError, Fields};

/// The limits of one kernel. A limit that is reached gives an error; nothing is cut silently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Longest request or completion that is taken, in bytes of text and data.
    pub input_bytes_max: u64,
    /// Deepest nesting of a JSON value.
    pub json_depth_max: u64,
    /// Most live heap objects.
    pub heap_objects_max: u64,
    /// Most bytes of live heap objects.
    pub heap_bytes_max: u64,
    /// Most agents.
    pub agents_max: u64,
    /// Most capabilities of one agent, grants and what it derived from them.
    pub capabilities_per_agent_max: u64,
    /// Most subjects, agents included: each has a salt of its own.
    pub subjects_max: u64,
    /// Most subjects that one agent names first. The owner may name as many as there is room for.
    pub subjects_per_agent_max: u64,
    /// Most sessions that are open at a time.
    pub sessions_max: u64,
    /// Most registered tools.
    pub tools_max: u64,
    /// Most effects under way at once. The last tenth of them is the owner's.
    pub effects_max: u64,
    /// Most effects of one agent under way at once, its descendants' included.
    pub effects_per_agent_max: u64,
    /// Longest time that an HTTP request may take, whatever its caller says, in milliseconds.
    pub http_timeout_ms_max: u64,
    /// Most bytes of recent entries kept at hand for queries; older ones stay in the log alone.
    pub history_bytes_max: u64,
    /// Longest answer of an HTTP server or a model, in bytes.
    pub response_bytes_max: u64,
    /// How many requests of one agent are heard a second. What is above is turned away with RATE_LIMIT, as with the other
    /// rates here; the owner is always heard.
    pub requests_per_second: u64,
    /// How many may come at once.
    pub requests_burst: u64,
    /// How many refused requests of one agent are recorded a second.
    pub refusals_per_second: u64,
    /// How many may come at once.
    pub refusals_burst: u64,
    /// How many bytes of journal one agent's requests may take a second.
    pub journal_bytes_per_second: u64,
    /// How many they may take at once.
    pub journal_bytes_burst: u64,
    /// How many units of work on the heap one agent's requests may take a second, each about 10 ns of time in which nobody else
    /// is heard. One request takes at most [`ak_heap::REQUEST_WORK`].
    pub work_per_second: u64,
    /// How many they may take at once.
    pub work_burst: u64,
    /// How many requests of all guests together are heard a second; see `requests_per_second`.
    pub guest_requests_per_second: u64,
    /// How many may come at once.
    pub guest_requests_burst: u64,
    /// How many refused requests of all guests together are recorded a second.
    pub guest_refusals_per_second: u64,
    /// How many may come at once.
    pub guest_refusals_burst: u64,
    /// How many bytes of journal the requests of all guests together may take a second.
    pub guest_journal_bytes_per_second: u64,
    /// How many they may take at once.
    pub guest_journal_bytes_burst: u64,
    /// How many units of work on the heap the requests of all guests together may take a second.
    pub guest_work_per_second: u64,
    /// How many they may take at once.
    pub guest_work_burst: u64,
    /// Most fuel for one tool call.
    pub tool_fuel_max: u64,
    /// Most linear memory for one tool call, in bytes.
    pub tool_memory_bytes_max: u64,
    /// Longest output of one tool call, in bytes.
    pub tool_output_bytes_max: u64,
}

macro_rules! config {
    ($($field:ident = $default:expr;)*) => {
        impl Default for Config {
            fn default() -> Self {
                Config { $($field: $default,)* }
            }
        }

        impl Config {
            pub(crate) fn to_value(&self) -> Value {
                let mut members = Object::new();
                $(members.insert(stringify!($field), self.$field);)*
                members.into()
            }

            pub(crate) fn from_value(value: &Value) -> Result<Config, FieldError> {
                let mut fields = Fields::new("config", value)?;
                // A limit that came later is at its default in an earlier journal.
                let ours = Config::default();
                let config = Config { $($field: fields.optional_u64(stringify!($field))?.unwrap_or(ours.$field),)* };
                fields.finish()?;
                Ok(config)
            }
        }
    };
}

config! {
    input_bytes_max = 16 << 20;
    json_depth_max = 128;
    heap_objects_max = 1 << 20;
    heap_bytes_max = 1 << 30;
    agents_max = 4096;
    capabilities_per_agent_max = 1024;
    subjects_max = 1 << 20;
    subjects_per_agent_max = 1 << 16;
    sessions_max = 1 << 16;
    tools_max = 1024;
    effects_max = 4096;
    effects_per_agent_max = 1024;
    http_timeout_ms_max = 600_000;
    history_bytes_max = 64 << 20;
    response_bytes_max = 10 << 20;
    requests_per_second = 20_000;
    requests_burst = 100_000;
    refusals_per_second = 100;
    refusals_burst = 10_000;
    journal_bytes_per_second = 16 << 20;
    journal_bytes_burst = 512 << 20;
    work_per_second = 25_000_000;
    work_burst = 100_000_000;
    guest_requests_per_second = 100;
    guest_requests_burst = 1_000;
    guest_refusals_per_second = 10;
    guest_refusals_burst = 100;
    guest_journal_bytes_per_second = 64 << 10;
    guest_journal_bytes_burst = 4 << 20;
    guest_work_per_second = 1_000_000;
    guest_work_burst = 5_000_000;
    tool_fuel_max = 500_000_000;
    tool_memory_bytes_max = 64 << 20;
    tool_output_bytes_max = 4 << 20;
}

impl Config {
    /// The limits for reading journalled inputs: an input in wire form is deeper than what it holds, and one that was
    /// refused for its length is in the journal all the same.
    pub(crate) fn journal_limits(&self) -> ak_json::Limits {
        let limits = self.json_limits();
        // What tools ask for and give is within the sandbox's own limit.
        let deepest = limits.depth_max.max(ak_json::Limits::default().depth_max);
        ak_json::Limits {
            depth_max: deepest.saturating_add(8),
            bytes_max: usize::MAX,
            members_max: usize::MAX,
            values_max: usize::MAX,
        }
    }

    /// The limits for parsing JSON.
    pub fn json_limits(&self) -> ak_json::Limits {
        ak_json::Limits {
            depth_max: usize::try_from(self.json_depth_max).unwrap_or(usize::MAX),
            bytes_max: usize::try_from(self.input_bytes_max).unwrap_or(usize::MAX),
            ..ak_json::Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives_its_wire_form() {
        let config = Config { agents_max: 7, ..Config::default() };
        assert_eq!(Config::from_value(&config.to_value()).unwrap(), config);
    }
}
