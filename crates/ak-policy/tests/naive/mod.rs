//! The obvious policy, in rules as they are written down.

mod evaluate;
mod patterns;

use ak_json::Value;
use ak_policy::Effect;

pub(crate) use evaluate::decide;

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) effect: Effect,
    pub(crate) operations: Vec<&'static str>,
    pub(crate) targets: Vec<String>,
    pub(crate) agents: Vec<&'static str>,
    pub(crate) when: Vec<(&'static str, Test)>,
    pub(crate) unless: Vec<(&'static str, Test)>,
    pub(crate) only: Option<Vec<&'static str>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    Equals(Value),
    Min(i64),
    Matches(&'static str),
    Type(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) agent: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) target: String,
    pub(crate) args: Value,
}
