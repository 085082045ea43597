//! Tests a policy against a file of expected decisions.
//!
//! ```toml
//! [[case]]
//! name = "a stranger gets no mail"      # optional
//! agent = "main"                        # "main" when absent
//! operation = "execute"
//! target = "send_email"
//! args = { recipients = ["eve@evil.com"] }
//! expect = "forbid"                     # permit | ask | forbid | default_deny
//! rule = "only-our-people"              # optional: the rule that decides
//! at = "/recipients/0"                  # optional: where in the arguments the reason lies
//! owned = true                          # optional: the target belongs to the agent
//! label = ["untrusted", "pii"]          # optional: what the request carries
//! now_us = 0                            # optional: the time
//! origins = [{ pointer = "/body", label = ["untrusted"], sources = ["tool:web"] }]
//! ```

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ak_json::{Integrity, Labels, Pointer, Text};

use crate::condition::Origin;
use crate::decide::PolicyDecision;
use crate::language::{Document, Node, PolicyError, ReadResult, Table};
use crate::policy::Policy;
use crate::query::Query;
use crate::target::Target;

/// The result of testing a policy against a file of expected decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestReport {
    /// The number of cases that were decided as expected.
    pub passed: usize,
    /// The cases that were decided differently.
    pub failed: Vec<CaseFailure>,
}

/// An expected decision that the policy does not give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseFailure {
    /// The case's name, or its number counted from 1.
    pub name: String,
    /// The expected decision, rule and place.
    pub expected: String,
    /// The actual decision and its reason.
    pub found: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Permit,
    Ask,
    Forbid,
    DefaultDeny,
}

impl Expected {
    const ALL: [Expected; 4] = [Self::Permit, Self::Ask, Self::Forbid, Self::DefaultDeny];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Ask => "ask",
            Self::Forbid => "forbid",
            Self::DefaultDeny => "default_deny",
        }
    }

    /// Reads the name of a decision; also `deny`, the name of `default_deny` in earlier versions.
    fn read(node: &Node<'_>) -> ReadResult<Self> {
        match node.text()? {
            "deny" => Ok(Self::DefaultDeny),
            _ => node.choice(&Self::ALL, Self::as_str),
        }
    }

    fn of(decision: PolicyDecision) -> Self {
        match decision {
            PolicyDecision::Permit => Self::Permit,
            PolicyDecision::Ask => Self::Ask,
            PolicyDecision::Forbid => Self::Forbid,
            PolicyDecision::DefaultDeny | PolicyDecision::Expired | PolicyDecision::RateLimited { .. } => {
                Self::DefaultDeny
            }
        }
    }
}

const KEYS: [&str; 12] = [
    "name",
    "agent",
    "operation",
    "target",
    "args",
    "expect",
    "rule",
    "at",
    "owned",
    "label",
    "now_us",
    "origins",
];

impl Policy {
    /// Decides every case of a file of expected decisions, in TOML or JSON, and compares the results.
    ///
    /// A target without canonical form counts as denied by default.
    ///
    /// # Errors
    /// [`PolicyError`] when the text is not such a file.
    pub fn test(&self, text: &str) -> Result<TestReport, PolicyError> {
        let document = Document::parse(text)?;
        self.cases(&Node::root(&document.value)).map_err(|fault| document.locate(fault))
    }

    fn cases(&self, root: &Node<'_>) -> ReadResult<TestReport> {
        let mut report = TestReport::default();
        for (number, node) in (1usize..).zip(root.table(&["case"])?.need("case")?.items()?) {
            match self.case(&node.table(&KEYS)?)? {
                None => report.passed += 1,
                Some((expected, found)) => {
                    let table = node.table(&KEYS)?;
                    let name = table.find("name").map(|node| node.text().map(String::from)).transpose()?;
                    let name = name.unwrap_or_else(|| number.to_string());
                    report.failed.push(CaseFailure { name, expected, found });
                }
            }
        }
        Ok(report)
    }

    /// The expected and the actual result, when they differ.
    fn case(&self, table: &Table<'_>) -> ReadResult<Option<(String, String)>> {
        let text = |key: &str| table.find(key).map(|node| node.text()).transpose();
        let expected = Expected::read(&table.need("expect")?)?;
        let (operation, target) = (table.need("operation")?, table.need("target")?);
        let resolved = Target::resolve(operation.text()?, target.text()?);
        let Ok((action, target)) = resolved else {
            let found = alloc::format!(
                "default_deny: {}",
                resolved.map_or_else(|error| error.to_string(), |_| String::new())
            );
            return Ok((expected != Expected::DefaultDeny).then(|| (expected.as_str().into(), found)));
        };
        let args = table.find("args");
        let labels = table.find("label").map(|node| labels(&node)).transpose()?.unwrap_or_default();
        let origins = match table.find("origins") {
            Some(node) => node.items()?.iter().map(origin).collect::<ReadResult<Vec<_>>>()?,
            None => Vec::new(),
        };
        let query = Query {
            args: args.as_ref().map(|node| node.value),
            labels: &labels,
            origins: &origins,
            owned: table.find("owned").map(|node| node.boolean()).transpose()?.unwrap_or(false),
            now_us: table.find("now_us").map(|node| node.unsigned()).transpose()?.unwrap_or(0),
            ..Query::new(text("agent")?.unwrap_or("main"), action, &target)
        };
        let told = self.explain(&query);
        let place = told.args_path.as_ref().map(Pointer::to_string);
        let as_expected = Expected::of(told.decision) == expected
            && text("rule")?.is_none_or(|rule| told.rule_id.as_deref() == Some(rule))
            && text("at")?.is_none_or(|at| place.as_deref() == Some(at));
        if as_expected {
            return Ok(None);
        }
        let wanted = [Some(expected.as_str()), text("rule")?, text("at")?];
        let wanted: Vec<_> = wanted.into_iter().flatten().collect();
        let found = alloc::format!("{}: {}", Expected::of(told.decision).as_str(), told.reason);
        Ok(Some((wanted.join(" by "), found)))
    }
}

fn labels(node: &Node<'_>) -> ReadResult<Labels> {
    let mut labels = Labels::default();
    for item in node.one_or_many()? {
        match item.text()? {
            "trusted" => labels.integrity = Integrity::Trusted,
            "untrusted" => labels.integrity = Integrity::Untrusted,
            name => {
                labels.secrecy.insert(name.into());
            }
        }
    }
    Ok(labels)
}

fn origin(node: &Node<'_>) -> ReadResult<Origin> {
    let table = node.table(&["pointer", "label", "sources"])?;
    let pointer = match table.find("pointer") {
        Some(node) => Pointer::parse(node.any_text()?).map_err(|error| node.fault(error.to_string()))?,
        None => Pointer::root(),
    };
    let labels = table.find("label").map(|node| labels(&node)).transpose()?.unwrap_or_default();
    let sources: Box<[Text]> = match table.find("sources") {
        Some(node) => {
            node.items()?.iter().map(|item| item.text().map(Text::from)).collect::<ReadResult<_>>()?
        }
        None => Box::default(),
    };
    Ok(Origin { pointer, labels, sources })
}
