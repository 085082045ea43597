//! Code written by hand for these rules: hash maps, and a trie over path segments.

use std::collections::HashMap;

use ak_json::Value;

use crate::scenario::{Answer, Decides, Request, Rule};

/// The lower bound: it does only what this one set of rules requires.
#[derive(Default)]
pub struct Hand {
    calls: HashMap<String, HashMap<String, i64>>,
    reads: Node,
    hosts: HashMap<String, &'static str>,
    requests: Vec<Request>,
}

#[derive(Default)]
struct Node {
    answer: Option<Answer>,
    below: HashMap<String, Node>,
}

impl Hand {
    pub fn new(rules: &[Rule], requests: &[Request]) -> Self {
        let mut hand = Self { requests: requests.to_vec(), ..Self::default() };
        for rule in rules {
            match rule {
                Rule::Call { role, tool, cost_max } => {
                    hand.calls.entry(role.clone()).or_default().insert(tool.clone(), *cost_max);
                }
                Rule::Read { directory } => hand.reads.insert(directory, Answer::Permit),
                Rule::Get { host } => drop(hand.hosts.insert(host.clone(), "/api/")),
                Rule::Forbid { directory } => hand.reads.insert(directory, Answer::Forbid),
            }
        }
        hand
    }
}

impl Node {
    fn insert(&mut self, directory: &str, answer: Answer) {
        let segments = directory.split('/').skip(1);
        let node = segments.fold(self, |node, name| node.below.entry(name.to_owned()).or_default());
        node.answer = Some(answer);
    }

    fn find(&self, path: &str) -> Answer {
        let (mut node, mut answer) = (self, Answer::Deny);
        for segment in path.split('/').skip(1) {
            let Some(below) = node.below.get(segment) else { break };
            node = below;
            match node.answer {
                Some(Answer::Forbid) => return Answer::Forbid,
                Some(found) => answer = found,
                None => {}
            }
        }
        answer
    }
}

impl Decides for Hand {
    fn decide(&mut self, request: usize) -> Answer {
        let request = &self.requests[request];
        let permitted = match (request.operation, request.url) {
            ("execute", _) => {
                let tools = self.calls.get(request.agent);
                tools.and_then(|tools| tools.get(request.target)).is_some_and(|max| request.cost <= *max)
            }
            ("fs.read", _) => return self.reads.find(request.target),
            ("http.get", Some((host, path))) => {
                self.hosts.get(host).is_some_and(|beginning| path.starts_with(*beginning))
            }
            _ => false,
        };
        if permitted { Answer::Permit } else { Answer::Deny }
    }
}

/// The ten conditions on arguments.
pub struct HandTen(Vec<Value>);

impl HandTen {
    pub fn new(calls: &[(Value, Answer)]) -> Self {
        Self(calls.iter().map(|(args, _)| args.clone()).collect())
    }
}

impl Decides for HandTen {
    fn decide(&mut self, request: usize) -> Answer {
        let args = &self.0[request];
        let text = |name: &str| args.get(name).and_then(Value::as_str);
        let number = |name: &str| args.get(name).and_then(Value::as_i64);
        let permitted = number("amount").is_some_and(|amount| amount <= 500)
            && text("currency").is_some_and(|currency| ["EUR", "USD"].contains(&currency))
            && text("iban").is_some_and(|iban| iban.starts_with("DE"))
            && args.get("urgent").and_then(Value::as_bool) == Some(false)
            && text("category").is_some_and(|category| ["travel", "books", "food"].contains(&category))
            && text("report").is_some_and(|report| report.starts_with("/srv/reports/"))
            && text("server").is_some_and(|server| server.ends_with(".example.com"))
            && number("retries").is_some_and(|retries| retries <= 3)
            && text("mode") == Some("draft")
            && text("purpose") == Some("invoice");
        if permitted { Answer::Permit } else { Answer::Deny }
    }
}
