//! The kernel's limits. The journal's genesis entry contains them, so replay uses the same ones.

use ak_json::{Object, Value};

use crate::api::fields::{FieldError, Fields};

/// The limits of one kernel. A request over a limit fails with an error; nothing is truncated silently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Longest request that is admitted, in bytes of the text and data that its caller chose; also the longest file
    /// that a read accepts.
    pub input_bytes_max: u64,
    /// Deepest nesting of a JSON value.
    pub json_depth_max: u64,
    /// Most live heap objects.
    pub heap_objects_max: u64,
    /// Most bytes of live heap objects.
    pub heap_bytes_max: u64,
    /// Most agents, including `main` and excluding `guest`.
    pub agents_max: u64,
    /// Most capabilities that one agent holds, granted and derived together.
    pub capabilities_per_agent_max: u64,
    /// Most subjects, agents included. Each has its own salt.
    pub subjects_max: u64,
    /// Most subjects that one agent may name first. The owner has no such limit.
    pub subjects_per_agent_max: u64,
    /// Most open sessions.
    pub sessions_max: u64,
    /// Most registered tools.
    pub tools_max: u64,
    /// Most pending effects. The last tenth is reserved for the owner.
    pub effects_max: u64,
    /// Most pending effects of an agent directly below `main`, together with all its descendants.
    pub effects_per_agent_max: u64,
    /// Highest timeout of an HTTP request, in milliseconds. A caller's own timeout is lowered to it.
    pub http_timeout_ms_max: u64,
    /// Most bytes of recent entries that are kept in memory for queries. Older entries are in the log only.
    pub history_bytes_max: u64,
    /// Longest body of an HTTP response and longest answer of a model, in bytes.
    pub response_bytes_max: u64,
    /// Requests per second that are admitted from one agent, its descendants included. Further requests fail with
    /// RATE_LIMIT, as with the other rates here. The owner has no rates.
    pub requests_per_second: u64,
    /// Requests that may come at once before the rate applies.
    pub requests_burst: u64,
    /// Refused requests per second of one agent. An agent with more is throttled, so that refusals do not fill the
    /// log.
    pub refusals_per_second: u64,
    /// Refused requests that may come at once before the rate applies.
    pub refusals_burst: u64,
    /// Bytes per second that one agent's requests may add to the journal.
    pub journal_bytes_per_second: u64,
    /// Bytes that may be added at once before the rate applies.
    pub journal_bytes_burst: u64,
    /// Units of work per second that one agent's requests may take under the kernel's lock; a unit is about 10 ns.
    /// One request takes at most [`ak_heap::REQUEST_WORK`] on the heap.
    pub work_per_second: u64,
    /// Units of work that may be taken at once before the rate applies.
    pub work_burst: u64,
    /// Requests per second that are admitted from all guests together; see `requests_per_second`.
    pub guest_requests_per_second: u64,
    /// Requests of guests that may come at once.
    pub guest_requests_burst: u64,
    /// Refused requests per second of all guests together.
    pub guest_refusals_per_second: u64,
    /// Refused requests of guests that may come at once.
    pub guest_refusals_burst: u64,
    /// Bytes per second that the requests of all guests together may add to the journal.
    pub guest_journal_bytes_per_second: u64,
    /// Bytes that guests may add at once.
    pub guest_journal_bytes_burst: u64,
    /// Units of work per second that the requests of all guests together may take.
    pub guest_work_per_second: u64,
    /// Units of work that guests may take at once.
    pub guest_work_burst: u64,
    /// Most fuel of one tool call by an agent, including the tools that it calls.
    pub tool_fuel_max: u64,
    /// Most linear memory of one run of a tool, in bytes.
    pub tool_memory_bytes_max: u64,
    /// Longest output of one run of a tool, in bytes.
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
                // A journal of an earlier version lacks the limits that were added since; their defaults apply.
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
    /// The limits for parsing journalled inputs. They are wider than the request limits: the wire form of an input
    /// nests deeper than its values, and the journal also contains inputs that were refused as too long.
    pub(crate) fn journal_limits(&self) -> ak_json::Limits {
        let limits = self.json_limits();
        // Arguments and outputs of tools are within the sandbox's own depth limit.
        let deepest = limits.depth_max.max(ak_json::Limits::default().depth_max);
        ak_json::Limits {
            depth_max: deepest.saturating_add(8),
            bytes_max: usize::MAX,
            members_max: usize::MAX,
            values_max: usize::MAX,
        }
    }

    /// The limits for parsing the JSON of requests.
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
