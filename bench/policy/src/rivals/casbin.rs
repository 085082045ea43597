//! casbin: a line of policy for each rule, `keyMatch` on targets.

use casbin::{
    CoreApi, DefaultModel, Enforcer, MemoryAdapter, MgmtApi, function_map::OperatorFunction, rhai::Dynamic,
};

use crate::scenario::{Answer, Decides, Request, Rule};

const MODEL: &str = r#"
[request_definition]
r = sub, act, obj, cost
[policy_definition]
p = sub, act, obj, max, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = r.act == p.act && (p.sub == "*" || r.sub == p.sub) && keyMatch(r.obj, p.obj) && within(r.cost, p.max)
"#;

pub struct Casbin {
    enforcer: Enforcer,
    requests: Vec<Request>,
}

impl Casbin {
    pub fn new(rules: &[Rule], requests: &[Request]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let enforcer = runtime.block_on(async {
            let model = DefaultModel::from_str(MODEL).await?;
            let mut enforcer = Enforcer::new(model, MemoryAdapter::default()).await?;
            enforcer.add_function("within", OperatorFunction::Arg2(within));
            enforcer.add_policies(rules.iter().map(line).collect()).await?;
            casbin::Result::Ok(enforcer)
        });
        Self { enforcer: enforcer.expect("a casbin policy"), requests: requests.to_vec() }
    }
}

/// Whether a cost is at most the limit of a line; an empty limit allows any cost.
fn within(cost: Dynamic, max: Dynamic) -> Dynamic {
    let max = max.into_immutable_string().unwrap_or_default();
    let within =
        max.is_empty() || max.parse::<i32>().is_ok_and(|max| cost.as_int().is_ok_and(|cost| cost <= max));
    within.into()
}

fn line(rule: &Rule) -> Vec<String> {
    let line = |sub: &str, act: &str, obj: String, max: String, eft: &str| {
        vec![sub.to_owned(), act.to_owned(), obj, max, eft.to_owned()]
    };
    match rule {
        Rule::Call { role, tool, cost_max } => {
            line(role, "execute", tool.clone(), cost_max.to_string(), "allow")
        }
        Rule::Read { directory } => line("*", "fs.read", format!("{directory}/*"), String::new(), "allow"),
        Rule::Get { host } => line("*", "http.get", format!("https://{host}/api/*"), String::new(), "allow"),
        Rule::Forbid { directory } => line("*", "fs.read", format!("{directory}/*"), String::new(), "deny"),
    }
}

impl Decides for Casbin {
    fn decide(&mut self, request: usize) -> Answer {
        let Request { agent, operation, target, cost, .. } = self.requests[request];
        let permitted = self.enforcer.enforce((agent, operation, target, cost as i32)).expect("a decision");
        if permitted { Answer::Permit } else { Answer::Deny }
    }

    fn tells_forbids(&self) -> bool {
        false
    }
}
