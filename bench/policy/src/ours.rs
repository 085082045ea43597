//! The scenario in `ak-policy`.

use ak_json::Value;
use ak_policy::{Action, Policy, PolicyDecision, Query, Target};

use crate::scenario::{Answer, Decides, Request, Rule};

/// A compiled policy and canonical requests.
pub struct Ours {
    policy: Policy,
    requests: Vec<(&'static str, Action, Target, Value)>,
}

impl Ours {
    pub fn new(rules: &[Rule], requests: &[Request]) -> Self {
        let mut text = String::from("profiles = []\n");
        for rule in rules {
            text += &match rule {
                Rule::Call { role, tool, cost_max } => format!(
                    "[[rule]]\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"{tool}\"\n\
                     agent = \"{role}\"\nwhen.args.\"/cost\" = {{ max = {cost_max} }}\n"
                ),
                Rule::Read { directory } => {
                    format!(
                        "[[rule]]\neffect = \"permit\"\noperation = \"fs.read\"\ntarget = \"{directory}/**\"\n"
                    )
                }
                Rule::Get { host } => format!(
                    "[[rule]]\neffect = \"permit\"\noperation = \"http.get\"\ntarget = \"https://{host}/api/**\"\n"
                ),
                Rule::Forbid { directory } => {
                    format!(
                        "[[rule]]\neffect = \"forbid\"\noperation = \"fs.*\"\ntarget = \"{directory}/**\"\n"
                    )
                }
            };
        }
        Self { policy: policy(&text), requests: requests.iter().map(request).collect() }
    }

    /// One rule with ten constraints.
    pub fn ten(calls: &[(Value, Answer)]) -> Self {
        let text = r#"
            profiles = []
            [[rule]]
            effect = "permit"
            operation = "execute"
            target = "pay"
            [rule.when.args]
            "/amount" = { max = 500 }
            "/currency" = { in = ["EUR", "USD"] }
            "/iban" = { starts = "DE" }
            "/urgent" = { equals = false }
            "/category" = { in = ["travel", "books", "food"] }
            "/report" = { matches = "/srv/reports/*" }
            "/server" = { matches = "*.example.com" }
            "/retries" = { max = 3 }
            "/mode" = { equals = "draft" }
            "/purpose" = { equals = "invoice" }
        "#;
        let (action, target) = Target::resolve("execute", "pay").expect("a tool");
        let requests =
            calls.iter().map(|(args, _)| ("role4", action, target.clone(), args.clone())).collect();
        Self { policy: policy(text), requests }
    }
}

fn policy(text: &str) -> Policy {
    Policy::parse(text, None).expect("the scenario is a policy")
}

fn request(request: &Request) -> (&'static str, Action, Target, Value) {
    let (action, target) = Target::resolve(request.operation, request.target).expect("a target");
    (request.agent, action, target, ak_json::object! { "cost": request.cost })
}

impl Decides for Ours {
    fn decide(&mut self, request: usize) -> Answer {
        let (agent, action, target, args) = &self.requests[request];
        let query = Query { args: Some(args), ..Query::new(agent, *action, target) };
        match self.policy.decide(&query).decision {
            PolicyDecision::Permit => Answer::Permit,
            PolicyDecision::Forbid => Answer::Forbid,
            PolicyDecision::DefaultDeny => Answer::Deny,
            PolicyDecision::Ask | PolicyDecision::Expired | PolicyDecision::RateLimited { .. } => {
                unreachable!("nobody asks")
            }
        }
    }
}
