//! Counts of throttled requests.

use alloc::vec::Vec;

use ak_json::{Array, Value, array};

use crate::api::{fields::FieldError, session::AgentId};

/// The number of throttled requests of each agent; `None` counts those without a known agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Throttled(pub(crate) Vec<(Option<AgentId>, u64)>);

impl Throttled {
    pub(crate) fn to_value(&self) -> Value {
        let rows = self
            .0
            .iter()
            .map(|(account, count)| array![account.map(|account| u64::from(account.number())), *count]);
        rows.collect::<Array>().into()
    }

    pub(crate) fn from_value(value: &Value) -> Result<Throttled, FieldError> {
        let wrong = || FieldError::new("input.counts", "expected pairs of an agent and a number");
        let pair = |pair: &Value| {
            let mut items = pair.as_array()?.iter();
            let account = match items.next()? {
                Value::Null => None,
                number => Some(AgentId::from_number(u32::try_from(number.as_u64()?).ok()?)),
            };
            Some((account, items.next()?.as_u64()?))
        };
        let rows = value.as_array().ok_or_else(wrong)?;
        rows.iter().map(pair).collect::<Option<_>>().map(Throttled).ok_or_else(wrong)
    }
}
