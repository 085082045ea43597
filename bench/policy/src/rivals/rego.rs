//! Rego in regorus: a Rego rule for each rule, or a few Rego rules over indexed data.

use std::{fmt::Write, sync::Arc};

use ak_json::{Object, Value};
use regorus::{Engine, Value as RegoValue, languages::rego::compiler::Compiler, rvm::vm::RegoVM};

use crate::scenario::{Answer, Decides, Request, Rule};

const ENTRY: &str = "data.bench.decision";

/// The form of the rules.
pub enum Form {
    /// A Rego rule for each rule.
    Rules,
    /// Data that a few Rego rules look up.
    Indexed,
}

pub enum Rego {
    Interpreter { engine: Box<Engine>, requests: Vec<RegoValue> },
    Machine { machine: Box<RegoVM>, requests: Vec<RegoValue> },
}

impl Rego {
    pub fn new(form: &Form, rules: &[Rule], requests: &[Request]) -> Self {
        let input = |request: &Request| {
            let (host, path) = request.url.unwrap_or(("", ""));
            json(&format!(
                r#"{{ "agent": "{}", "operation": "{}", "target": "{}", "host": "{host}", "path": "{path}", "cost": {} }}"#,
                request.agent, request.operation, request.target, request.cost
            ))
        };
        let inputs = requests.iter().map(input).collect();
        match form {
            Form::Rules => Self::of(&one_rule_each(rules), None, inputs),
            Form::Indexed => Self::of(INDEXED, Some(json(&data(rules))), inputs),
        }
    }

    /// One rule with ten conditions.
    pub fn ten(calls: &[(Value, Answer)]) -> Self {
        let text = r#"
            package bench
            default decision := "deny"
            decision := "permit" if {
                input.amount <= 500
                input.currency in {"EUR", "USD"}
                startswith(input.iban, "DE")
                input.urgent == false
                input.category in {"travel", "books", "food"}
                startswith(input.report, "/srv/reports/")
                endswith(input.server, ".example.com")
                input.retries <= 3
                input.mode == "draft"
                input.purpose == "invoice"
            }
        "#;
        Self::of(text, None, calls.iter().map(|(args, _)| json(&args.to_json())).collect())
    }

    fn of(text: &str, data: Option<RegoValue>, requests: Vec<RegoValue>) -> Self {
        let mut engine = Engine::new();
        engine.add_policy("bench.rego".into(), text.into()).expect("a Rego policy");
        if let Some(data) = data {
            engine.add_data(data).expect("Rego data");
        }
        Self::Interpreter { engine: Box::new(engine), requests }
    }

    /// The same policy on regorus's register machine instead of its interpreter.
    pub fn compiled(self) -> Self {
        let Self::Interpreter { mut engine, requests } = self else { return self };
        let data = engine.get_data();
        let policy = engine.compile_with_entrypoint(&ENTRY.into()).expect("a compiled policy");
        let program = Compiler::compile_from_policy(&policy, &[ENTRY]).expect("a program");
        let mut machine = RegoVM::new();
        machine.load_program(Arc::clone(&program));
        machine.set_data(data).expect("Rego data");
        Self::Machine { machine: Box::new(machine), requests }
    }
}

fn json(text: &str) -> RegoValue {
    RegoValue::from_json_str(text).expect("JSON")
}

fn one_rule_each(rules: &[Rule]) -> String {
    let mut text = String::from(
        "package bench\ndefault decision := \"deny\"\ndecision := \"forbid\" if forbid\nelse := \"permit\" if permit\n",
    );
    for rule in rules {
        let _ = match rule {
            Rule::Call { role, tool, cost_max } => writeln!(
                text,
                r#"permit if {{ input.operation == "execute"; input.agent == "{role}"; input.target == "{tool}"; input.cost <= {cost_max} }}"#
            ),
            Rule::Read { directory } => writeln!(
                text,
                r#"permit if {{ input.operation == "fs.read"; startswith(input.target, "{directory}/") }}"#
            ),
            Rule::Get { host } => writeln!(
                text,
                r#"permit if {{ input.operation == "http.get"; input.host == "{host}"; startswith(input.path, "/api/") }}"#
            ),
            Rule::Forbid { directory } => writeln!(
                text,
                r#"forbid if {{ input.operation == "fs.read"; startswith(input.target, "{directory}/") }}"#
            ),
        };
    }
    text
}

/// The policy over indexed data. The depth of the directories is known, so one look-up finds them.
const INDEXED: &str = r#"
package bench
default decision := "deny"
decision := "forbid" if {
    input.operation == "fs.read"
    parts := split(input.target, "/")
    data.deep[parts[3]][parts[4]][parts[5]]
} else := "permit" if {
    input.operation == "fs.read"
    parts := split(input.target, "/")
    data.reads[parts[3]][parts[4]]
} else := "permit" if {
    input.operation == "execute"
    input.cost <= data.calls[input.agent][input.target]
} else := "permit" if {
    input.operation == "http.get"
    startswith(input.path, data.hosts[input.host])
}
"#;

/// The data: `calls`, `reads`, `deep` and `hosts`, each indexed by the parts that the policy looks up.
fn data(rules: &[Rule]) -> String {
    let mut data = Value::from(Object::new());
    for rule in rules {
        let (tokens, value) = match rule {
            Rule::Call { role, tool, cost_max } => (vec!["calls", role, tool], Value::from(*cost_max)),
            Rule::Read { directory } => (below("reads", directory), true.into()),
            Rule::Forbid { directory } => (below("deep", directory), true.into()),
            Rule::Get { host } => (vec!["hosts", host], "/api/".into()),
        };
        data = put(data, &tokens, value);
    }
    data.to_json()
}

fn below<'r>(name: &'r str, directory: &'r str) -> Vec<&'r str> {
    [name].into_iter().chain(directory.split('/').skip(3)).collect()
}

/// The value `at` with another value put at the path of names.
fn put(at: Value, names: &[&str], value: Value) -> Value {
    let Some((name, rest)) = names.split_first() else { return value };
    let mut object = at.as_object().cloned().unwrap_or_default();
    let member = object.get(name).cloned().unwrap_or(Value::Null);
    object.insert(*name, put(member, rest, value));
    object.into()
}

impl Decides for Rego {
    fn decide(&mut self, request: usize) -> Answer {
        let value = match self {
            Self::Interpreter { engine, requests } => {
                engine.set_input(requests[request].clone());
                engine.eval_rule(ENTRY.into()).expect("a decision")
            }
            Self::Machine { machine, requests } => {
                machine.set_input(requests[request].clone());
                machine.execute_entry_point_by_name(ENTRY).expect("a decision")
            }
        };
        match value.as_string().expect("a word").as_ref() {
            "permit" => Answer::Permit,
            "forbid" => Answer::Forbid,
            _ => Answer::Deny,
        }
    }
}
