//! Generators expand the short values of a seed to large ones.
//!
//! An object whose only member is named like a generator is replaced by the value that the generator makes. In every
//! text, `{i}`, `{j}` and `{k}` stand for the counters, `{dir}` for the run's directory and `{server}` for the server's
//! address. `fuzz/seeds/README.md` describes all generators.

use std::{collections::BTreeMap, sync::Arc};

use ak_host::ak_json::{Array, ObjectBuilder, Value};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::module;

/// The counters by level: `i` counts repetitions of a step, `j` and `k` count within generators.
const COUNTERS: [&str; 3] = ["i", "j", "k"];

/// The values that texts and generators of a seed can refer to.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    /// The values of `i`, `j` and `k`; as many of them as are bound.
    pub(crate) counters: Vec<u64>,
    /// The directory with the files of the run.
    pub(crate) directory: String,
    /// `host:port` of the server that answers HTTP requests.
    pub(crate) server: String,
    /// The results that earlier steps saved, by name.
    pub(crate) saved: BTreeMap<String, Arc<[Value]>>,
    /// Whether the seed is only checked, without a kernel: a stand-in replaces every saved result.
    pub(crate) is_check: bool,
}

type Made = Result<Value, String>;

impl Scope {
    /// Expands a template to the value that it stands for.
    pub(crate) fn expand(&self, template: &Value) -> Made {
        match template {
            Value::String(text) => Ok(self.fill(text).into()),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.expand(item));
                Ok(items.collect::<Result<Array, String>>()?.into())
            }
            Value::Object(members) => {
                if let (1, Some((name, argument))) = (members.len(), members.iter().next())
                    && let Some(made) = self.generate(name, argument)
                {
                    return made.map_err(|reason| format!("{}: {reason}", &**name));
                }
                let mut object = ObjectBuilder::with_capacity(members.len());
                for (name, value) in members {
                    object.insert(self.fill(name), self.expand(value)?);
                }
                Ok(object.finish().into())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(template.clone()),
        }
    }

    /// The value that the generator `name` makes; `None` if there is no such generator.
    fn generate(&self, name: &str, argument: &Value) -> Option<Made> {
        Some(match name {
            "$repeat" => self.repeat(argument),
            "$concat" => self.concat(argument),
            "$join" => self.join(argument),
            "$array" => self.array(argument),
            "$object" => self.object(argument),
            "$nest" => self.nest(argument),
            "$number" => self.counter(argument).map(Value::from),
            "$mix" => self.counter(argument).map(|number| Value::from(mix(number))),
            "$json" => self.expand(argument).map(|value| value.to_json().into()),
            "$base64" => self.text(argument).map(|text| URL_SAFE_NO_PAD.encode(text).into()),
            "$bytes" => count(argument).map(|bytes| URL_SAFE_NO_PAD.encode(vec![b'x'; bytes]).into()),
            "$module" => self.module(argument).map(|module| URL_SAFE_NO_PAD.encode(module).into()),
            "$module_sha256" => self.module(argument).map(|module| module::sha256(&module).into()),
            "$saved" => self.saved(argument),
            _ => return None,
        })
    }

    /// Replaces the counters, `{dir}` and `{server}` in a text by their values.
    fn fill(&self, text: &str) -> String {
        if !text.contains('{') {
            return text.to_owned();
        }
        let mut filled = text.replace("{dir}", &self.directory).replace("{server}", &self.server);
        for (name, number) in COUNTERS.iter().zip(&self.counters) {
            filled = filled.replace(&format!("{{{name}}}"), &number.to_string());
        }
        filled
    }

    /// A copy of the scope with one more counter, which is 0.
    fn within(&self) -> Scope {
        let mut scope = self.clone();
        scope.counters.push(0);
        scope
    }

    fn text(&self, template: &Value) -> Result<String, String> {
        match self.expand(template)? {
            Value::String(text) => Ok(text.as_str().to_owned()),
            other => Err(format!("expected a text, found {}", kind(&other))),
        }
    }

    /// `[text, times]`
    fn repeat(&self, argument: &Value) -> Made {
        let [text, times] = arguments(argument)?;
        Ok(self.text(text)?.repeat(count(times)?).into())
    }

    /// `[text, …]`
    fn concat(&self, argument: &Value) -> Made {
        let texts = argument.as_array().ok_or("expected an array of texts")?;
        let texts = texts.iter().map(|text| self.text(text));
        Ok(texts.collect::<Result<Vec<_>, _>>()?.concat().into())
    }

    /// `[separator, text, times]`
    fn join(&self, argument: &Value) -> Made {
        let [separator, text, times] = arguments(argument)?;
        let texts = self.each(count(times)?, |scope| scope.text(text))?;
        Ok(texts.join(&self.text(separator)?).into())
    }

    /// `[item, times]`
    fn array(&self, argument: &Value) -> Made {
        let [item, times] = arguments(argument)?;
        let items = self.each(count(times)?, |scope| scope.expand(item))?;
        Ok(items.into_iter().collect::<Array>().into())
    }

    /// `[name, value, times]`
    fn object(&self, argument: &Value) -> Made {
        let [name, value, times] = arguments(argument)?;
        let members = self.each(count(times)?, |scope| Ok((scope.text(name)?, scope.expand(value)?)))?;
        let mut object = ObjectBuilder::with_capacity(members.len());
        members.into_iter().for_each(|(name, value)| object.insert(name, value));
        Ok(object.finish().into())
    }

    /// `[times, wrapper, innermost]`: the wrapper holds the text `$hole` where the next level goes.
    fn nest(&self, argument: &Value) -> Made {
        let [times, wrapper, innermost] = arguments(argument)?;
        let (times, wrapper) = (count(times)?, self.expand(wrapper)?);
        let mut value = self.expand(innermost)?;
        for _ in 0..times {
            value = plug(&wrapper, &value);
        }
        Ok(value)
    }

    fn module(&self, argument: &Value) -> Result<Vec<u8>, String> {
        let [functions, instructions] = arguments(argument)?;
        Ok(module::module(count(functions)?, count(instructions)?))
    }

    /// `name`, with the counter `i`; or `[name, counter]`. The counter selects one of the saved values.
    fn saved(&self, argument: &Value) -> Made {
        let (name, counter) = match argument {
            Value::String(name) => (name.as_str(), "i"),
            other => {
                let [name, counter] = arguments(other)?;
                let names = name.as_str().zip(counter.as_str());
                names.ok_or("expected a name and a counter")?
            }
        };
        if self.is_check {
            return Ok("0x100000000".into());
        }
        let saved = self.saved.get(name).filter(|saved| !saved.is_empty());
        let saved = saved.ok_or_else(|| format!("nothing was saved as {name:?}"))?;
        let index = self.counter(&counter.into())? % saved.len() as u64;
        saved.get(index as usize).cloned().ok_or_else(|| "out of range".into())
    }

    fn counter(&self, name: &Value) -> Result<u64, String> {
        let known = COUNTERS.iter().position(|counter| name.as_str() == Some(*counter));
        let number = known.and_then(|level| self.counters.get(level));
        number.copied().ok_or_else(|| format!("there is no counter {name} here"))
    }

    /// Makes a value for each number below `times`, which is the value of the next counter.
    fn each<T>(&self, times: usize, make: impl Fn(&Scope) -> Result<T, String>) -> Result<Vec<T>, String> {
        let mut scope = self.within();
        let level = self.counters.len();
        (0..times as u64)
            .map(|number| {
                if let Some(counter) = scope.counters.get_mut(level) {
                    *counter = number;
                }
                make(&scope)
            })
            .collect()
    }
}

/// The arguments of a generator, which must be `N`.
fn arguments<const N: usize>(argument: &Value) -> Result<[&Value; N], String> {
    let items: Vec<&Value> = argument.as_array().map(|items| items.iter().collect()).unwrap_or_default();
    items.try_into().map_err(|_| format!("expected an array of {N}"))
}

fn count(value: &Value) -> Result<usize, String> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| format!("expected a count, found {}", kind(value)))
}

/// Maps a number to one of 32 bits, the same in every run. Neighbours are mapped far from each other.
fn mix(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// A copy of `wrapper` with `value` in place of `$hole`.
fn plug(wrapper: &Value, value: &Value) -> Value {
    match wrapper {
        Value::String(text) if text.as_str() == "$hole" => value.clone(),
        Value::Array(items) => items.iter().map(|item| plug(item, value)).collect::<Array>().into(),
        Value::Object(members) => {
            let mut object = ObjectBuilder::with_capacity(members.len());
            members.iter().for_each(|(name, member)| object.insert(name.clone(), plug(member, value)));
            object.finish().into()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => wrapper.clone(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use ak_host::ak_json::Limits;

    use super::*;

    fn made(template: &str) -> String {
        let template = Value::parse(template.as_bytes(), &Limits::default()).unwrap();
        let scope = Scope { counters: vec![7], directory: "/d".into(), ..Scope::default() };
        match scope.expand(&template) {
            Ok(value) => value.to_json(),
            Err(reason) => format!("error: {reason}"),
        }
    }

    #[test]
    fn generators_make_what_they_say() {
        for (template, expected) in [
            (r#"{"$repeat": ["ab", 3]}"#, r#""ababab""#),
            (r#"{"$concat": ["a", {"$repeat": ["b", 2]}]}"#, r#""abb""#),
            (r#"{"$join": ["-", "{i}{j}", 3]}"#, r#""70-71-72""#),
            (r#"{"$array": [{"n": {"$number": "j"}}, 2]}"#, r#"[{"n":0},{"n":1}]"#),
            (r#"{"$array": [{"$array": ["{j}{k}", 2]}, 2]}"#, r#"[["00","01"],["10","11"]]"#),
            (r#"{"$object": ["m{j}", true, 2]}"#, r#"{"m0":true,"m1":true}"#),
            (r#"{"$nest": [2, {"not": "$hole"}, 1]}"#, r#"{"not":{"not":1}}"#),
            (r#"{"$json": {"a": "{dir}"}}"#, r#""{\"a\":\"/d\"}""#),
            (r#"{"$bytes": 3}"#, r#""eHh4""#),
            (r##"{"$ref": "#"}"##, r##"{"$ref":"#"}"##),
            (r#"{"$repeat": ["ab"]}"#, "error: $repeat: expected an array of 2"),
            (r#"{"$number": "k"}"#, r#"error: $number: there is no counter "k" here"#),
            (r#"{"$saved": "h"}"#, r#"error: $saved: nothing was saved as "h""#),
        ] {
            assert_eq!(made(template), expected, "{template}");
        }
    }
}
