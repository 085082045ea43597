//! The obvious evaluator: every rule is looked at, in no order, and all that a pointer selects is collected.

use ak_json::{Value, array_index};
use ak_policy::{Effect, PolicyDecision};

use super::patterns::{glob, segments, target};
use super::{Request, Rule, Test};

/// Forbid before ask before permit, for the agent and each of its ancestors; the worst of their verdicts.
pub(crate) fn decide(rules: &[Rule], request: &Request) -> PolicyDecision {
    let ends = request.agent.match_indices('/').map(|(at, _)| at).chain([request.agent.len()]);
    let verdicts = ends.map(|end| {
        let applies = |effect| {
            rules.iter().any(|rule| rule.effect == effect && applies(rule, &request.agent[..end], request))
        };
        match Effect::ALL.into_iter().find(|effect| applies(*effect)) {
            Some(Effect::Forbid) => PolicyDecision::Forbid,
            Some(Effect::Ask) => PolicyDecision::Ask,
            Some(Effect::Permit) => PolicyDecision::Permit,
            None => PolicyDecision::DefaultDeny,
        }
    });
    let order =
        [PolicyDecision::Permit, PolicyDecision::Ask, PolicyDecision::DefaultDeny, PolicyDecision::Forbid];
    verdicts.max_by_key(|verdict| order.iter().position(|known| known == verdict)).unwrap()
}

fn applies(rule: &Rule, agent: &str, request: &Request) -> bool {
    let operation = rule.operations.iter().any(|own| match *own {
        "fs.read" => ["fs.read", "fs.list", "fs.stat"].contains(&request.operation),
        "fs.write" => ["fs.write", "fs.delete"].contains(&request.operation),
        own => own == request.operation,
    });
    let named = rule.agents.is_empty() || rule.agents.iter().any(|own| *own == "*" || segments(own, agent));
    if !operation || !named || !rule.targets.iter().any(|own| target(own, request, rule.effect)) {
        return false;
    }
    let permit = rule.effect == Effect::Permit;
    let extra = rule.only.as_ref().is_some_and(|only| outside(only, &request.args));
    let all = |tests: &[(&str, Test)], every| {
        tests.iter().all(|(pointer, test)| holds(pointer, test, &request.args, every))
    };
    let when = all(&rule.when, permit);
    let unless = !rule.unless.is_empty() && all(&rule.unless, !permit);
    let bare = rule.only.is_some() && rule.when.is_empty() && rule.unless.is_empty();
    if permit { !extra && when && !unless } else { extra || when && !unless && !bare }
}

/// `None`: nothing there; `Err`: something of the wrong sort in the way.
fn select(tokens: &[&str], value: &Value) -> Vec<Result<Option<Value>, ()>> {
    let Some((token, rest)) = tokens.split_first() else { return vec![Ok(Some(value.clone()))] };
    let down = |member: Option<&Value>| member.map_or(vec![Ok(None)], |member| select(rest, member));
    match (value, *token) {
        (Value::Object(object), "*") => object.values().flat_map(|member| select(rest, member)).collect(),
        (Value::Array(array), "*") => array.iter().flat_map(|item| select(rest, item)).collect(),
        (Value::Object(object), name) => down(object.get(name)),
        (Value::Array(array), index) => {
            array_index(index).map_or(vec![Err(())], |index| down(array.get(index)))
        }
        _ => vec![Err(())],
    }
}

fn holds(pointer: &str, test: &Test, args: &Value, every: bool) -> bool {
    let tokens: Vec<_> = pointer.split('/').skip(1).collect();
    let found = select(&tokens, args);
    let satisfied = |found: &Result<Option<Value>, ()>| match found {
        Ok(Some(value)) => judge(test, value).unwrap_or(!every),
        Ok(None) => false,
        Err(()) => !every,
    };
    if every { !found.is_empty() && found.iter().all(satisfied) } else { found.iter().any(satisfied) }
}

/// `None`: cannot be told.
fn judge(test: &Test, value: &Value) -> Option<bool> {
    match test {
        Test::Equals(own) => {
            (std::mem::discriminant(own) == std::mem::discriminant(value)).then(|| own == value)
        }
        Test::Min(min) => value.as_f64().map(|number| number >= *min as f64),
        Test::Matches(own) => value.as_str().map(|text| glob(own.as_bytes(), text.as_bytes())),
        Test::Type(own) => Some(match value {
            Value::String(_) => *own == "string",
            Value::Array(_) => *own == "array",
            Value::Number(_) => *own == "number",
            _ => false,
        }),
    }
}

fn outside(only: &[&str], args: &Value) -> bool {
    let allowed = |path: &str| only.iter().any(|own| path == *own || path.starts_with(&format!("{own}/")));
    let Value::Object(object) = args else { return true };
    object.keys().any(|name| !allowed(&format!("/{name}")))
}
