//! Cedar: policies are parsed and requests are made before the time is taken. No schema, no slicing.

use ak_json::Value;
use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request as CedarRequest};

use crate::scenario::{Answer, Decides, Request, Rule};

pub struct Cedar {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
    requests: Vec<CedarRequest>,
}

impl Cedar {
    pub fn new(rules: &[Rule], requests: &[Request]) -> Self {
        let text: String = rules.iter().map(policy).collect();
        let context = |request: &Request| {
            let (host, path) = request.url.unwrap_or(("", request.target));
            format!(r#"{{ "cost": {}, "host": "{host}", "path": "{path}" }}"#, request.cost)
        };
        let requests =
            requests.iter().map(|r| cedar_request(r.agent, r.operation, r.target, &context(r))).collect();
        Self::of(&text, requests)
    }

    /// One policy with ten conditions.
    pub fn ten(calls: &[(Value, Answer)]) -> Self {
        let text = r#"
            permit(principal, action == Action::"execute", resource == Target::"pay") when {
                context.amount <= 500 && ["EUR", "USD"].contains(context.currency) && context.iban like "DE*" &&
                context.urgent == false && ["travel", "books", "food"].contains(context.category) &&
                context.report like "/srv/reports/*" && context.server like "*.example.com" &&
                context.retries <= 3 && context.mode == "draft" && context.purpose == "invoice"
            };
        "#;
        let request = |(args, _): &(Value, Answer)| cedar_request("role4", "execute", "pay", &args.to_json());
        Self::of(text, calls.iter().map(request).collect())
    }

    fn of(text: &str, requests: Vec<CedarRequest>) -> Self {
        let policies = text.parse().expect("Cedar policies");
        Self { authorizer: Authorizer::new(), policies, entities: Entities::empty(), requests }
    }
}

fn policy(rule: &Rule) -> String {
    match rule {
        Rule::Call { role, tool, cost_max } => format!(
            r#"permit(principal == Agent::"{role}", action == Action::"execute", resource == Target::"{tool}")
               when {{ context.cost <= {cost_max} }};"#
        ),
        Rule::Read { directory } => format!(
            r#"permit(principal, action == Action::"fs.read", resource)
               when {{ context.path == "{directory}" || context.path like "{directory}/*" }};"#
        ),
        Rule::Get { host } => format!(
            r#"permit(principal, action == Action::"http.get", resource)
               when {{ context.host == "{host}" && context.path like "/api/*" }};"#
        ),
        Rule::Forbid { directory } => format!(
            r#"forbid(principal, action == Action::"fs.read", resource)
               when {{ context.path == "{directory}" || context.path like "{directory}/*" }};"#
        ),
    }
}

fn cedar_request(agent: &str, operation: &str, target: &str, context: &str) -> CedarRequest {
    let uid = |kind: &str, name: &str| -> EntityUid {
        format!("{kind}::{name:?}").parse().expect("a Cedar entity")
    };
    let context = Context::from_json_str(context, None).expect("a Cedar context");
    CedarRequest::new(uid("Agent", agent), uid("Action", operation), uid("Target", target), context, None)
        .expect("a Cedar request")
}

impl Decides for Cedar {
    fn decide(&mut self, request: usize) -> Answer {
        let response = self.authorizer.is_authorized(&self.requests[request], &self.policies, &self.entities);
        match (response.decision(), response.diagnostics().reason().next()) {
            (Decision::Allow, _) => Answer::Permit,
            (Decision::Deny, Some(_)) => Answer::Forbid,
            (Decision::Deny, None) => Answer::Deny,
        }
    }
}
