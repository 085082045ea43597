//! The obvious evaluator: every rule is looked at, every pattern by trying all ways to match.

use ak_json::{Value, array_index};
use ak_policy::{Effect, Verdict};

#[derive(Clone, Debug)]
pub struct Rule {
    pub effect: Effect,
    pub operations: Vec<&'static str>,
    pub targets: Vec<String>,
    pub agents: Vec<&'static str>,
    pub when: Vec<(&'static str, Test)>,
    pub unless: Vec<(&'static str, Test)>,
    pub only: Option<Vec<&'static str>>,
}

#[derive(Clone, Debug)]
pub enum Test {
    Equals(Value),
    Min(i64),
    Matches(&'static str),
    Type(&'static str),
}

#[derive(Clone, Debug)]
pub struct Request {
    pub agent: &'static str,
    pub operation: &'static str,
    pub target: String,
    pub args: Value,
}

/// Forbid before ask before permit, for the agent and each of its ancestors; the worst of their verdicts.
pub fn decide(rules: &[Rule], request: &Request) -> Verdict {
    let ends = request.agent.match_indices('/').map(|(at, _)| at).chain([request.agent.len()]);
    let verdicts = ends.map(|end| {
        let applies = |effect| {
            rules.iter().any(|rule| rule.effect == effect && applies(rule, &request.agent[..end], request))
        };
        match Effect::ALL.into_iter().find(|effect| applies(*effect)) {
            Some(Effect::Forbid) => Verdict::Forbid,
            Some(Effect::Ask) => Verdict::Ask,
            Some(Effect::Permit) => Verdict::Permit,
            None => Verdict::DefaultDeny,
        }
    });
    let order = [Verdict::Permit, Verdict::Ask, Verdict::DefaultDeny, Verdict::Forbid];
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

fn target(pattern: &str, request: &Request, effect: Effect) -> bool {
    let (own, text) = (pattern, request.target.as_str());
    if own == "*" {
        return true;
    }
    if !text.starts_with("https://") {
        return if text.starts_with('/') {
            own.starts_with('/') && segments(&own[1..], &text[1..])
        } else {
            host_or_name(own, text, request)
        };
    }
    let split = |url: &str| {
        url["https://".len()..]
            .split_once('/')
            .map(|(host, rest)| (host.to_string(), rest.to_string()))
            .unwrap()
    };
    let ((own_host, own_path), (host, rest)) = (split(own), split(text));
    let (path, query) =
        rest.split_once('?').map_or((rest.as_str(), None), |(path, query)| (path, Some(query)));
    let query_fits = query.is_none() || own_path.ends_with("**") || effect != Effect::Permit;
    host_fits(&own_host, &host)
        && segments_of(&own_path.split('/').collect::<Vec<_>>(), &path.split('/').collect::<Vec<_>>())
        && query_fits
}

fn host_or_name(own: &str, text: &str, request: &Request) -> bool {
    if request.operation == "dns" { host_fits(own, text) } else { glob(own.as_bytes(), text.as_bytes()) }
}

fn host_fits(own: &str, host: &str) -> bool {
    own == "*" || own == host || own.strip_prefix('*').is_some_and(|end| end.len() > 1 && host.ends_with(end))
}

fn segments(pattern: &str, text: &str) -> bool {
    let parts = |text: &'_ str| {
        if text.is_empty() { vec![] } else { text.split('/').map(String::from).collect::<Vec<_>>() }
    };
    let (pattern, text) = (parts(pattern), parts(text));
    segments_of(
        &pattern.iter().map(String::as_str).collect::<Vec<_>>(),
        &text.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

fn segments_of(pattern: &[&str], text: &[&str]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ["**", rest @ ..] => (0..=text.len()).any(|at| segments_of(rest, &text[at..])),
        [own, rest @ ..] => {
            text.first().is_some_and(|s| glob(own.as_bytes(), s.as_bytes())) && segments_of(rest, &text[1..])
        }
    }
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|at| glob(rest, &text[at..])),
        [own, rest @ ..] => text.first() == Some(own) && glob(rest, &text[1..]),
    }
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
