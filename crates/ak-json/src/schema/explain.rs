//! What is wrong with a value, for people who do not see the schema.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Schema, Violation};
use crate::pointer::Pointer;
use crate::value::Value;

/// Most bytes of a value of the schema that an explanation quotes.
const QUOTED_BYTES_MAX: usize = 80;
/// Most values of an `enum` that an explanation lists.
const LISTED_MAX: usize = 8;

impl Schema {
    /// The place in the value that a violation is about, and what is wrong there: `/b`, "is missing".
    ///
    /// A property that is missing is named itself, not the object that lacks it. Of a keyword without words of its own the second
    /// part tells the keyword and its place in the schema.
    ///
    /// # Example
    /// ```
    /// use ak_json::{Limits, Schema, Value, Work};
    /// let schema = Value::parse(br#"{"required":["a","b"]}"#, &Limits::default())?;
    /// let schema = Schema::parse(&schema, &mut Work::new(1_000))?;
    /// let value = Value::parse(br#"{"a":1}"#, &Limits::default())?;
    /// let violation = schema.validate(&value, &mut Work::new(1_000)).unwrap_err();
    /// let (place, what) = schema.explain(&violation, &value);
    /// assert_eq!((place.to_string(), what.as_str()), ("/b".into(), "is missing"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn explain(&self, violation: &Violation, value: &Value) -> (Pointer, String) {
        match violation {
            Violation::Keyword { instance, keyword, schema } => {
                let found = value.pointer(instance);
                let meant = self.source().pointer(schema).and_then(|object| object.get(keyword));
                if let Some(name) = missing(keyword, found, meant) {
                    let mut place = instance.clone();
                    place.push(name);
                    return (place, "is missing".into());
                }
                let told = told(keyword, found, meant);
                let what = told.unwrap_or_else(|| format!("breaks '{keyword}' at '{schema}' of the schema"));
                (instance.clone(), what)
            }
            Violation::Unjudged { instance, keyword, schema } => {
                let what = format!("cannot be judged by '{keyword}' at '{schema}' of the schema");
                (instance.clone(), what)
            }
            Violation::Depth | Violation::Work => (Pointer::root(), format!("is too much: {violation}")),
        }
    }
}

/// The first property that is required and not there.
fn missing<'s>(keyword: &str, found: Option<&Value>, meant: Option<&'s Value>) -> Option<&'s str> {
    let names = meant.filter(|_| keyword == "required")?.as_array()?;
    let object = found?.as_object()?;
    names.iter().filter_map(Value::as_str).find(|name| object.get(name).is_none())
}

fn told(keyword: &str, found: Option<&Value>, meant: Option<&Value>) -> Option<String> {
    Some(match keyword {
        "additionalProperties" | "unevaluatedProperties" | "additionalItems" | "unevaluatedItems" => {
            "is not known here".into()
        }
        "type" => format!("is {}, expected {}", type_of(found?), types(meant?)?),
        "enum" => {
            let values = meant?.as_array().filter(|values| values.len() <= LISTED_MAX)?;
            let quoted: Option<Vec<String>> = values.iter().map(quoted).collect();
            format!("is none of {}", quoted?.join(", "))
        }
        "const" => format!("is not {}", quoted(meant?)?),
        "minimum" => format!("is less than {}", quoted(meant?)?),
        "maximum" => format!("is greater than {}", quoted(meant?)?),
        "exclusiveMinimum" => format!("is not greater than {}", quoted(meant?)?),
        "exclusiveMaximum" => format!("is not less than {}", quoted(meant?)?),
        "multipleOf" => format!("is no multiple of {}", quoted(meant?)?),
        "minLength" => format!("has fewer than {} characters", quoted(meant?)?),
        "maxLength" => format!("has more than {} characters", quoted(meant?)?),
        "minItems" => format!("has fewer than {} items", quoted(meant?)?),
        "maxItems" => format!("has more than {} items", quoted(meant?)?),
        "uniqueItems" => "has an item twice".into(),
        "minProperties" => format!("has fewer than {} members", quoted(meant?)?),
        "maxProperties" => format!("has more than {} members", quoted(meant?)?),
        "pattern" => format!("does not match the pattern {}", quoted(meant?)?),
        _ => return None,
    })
}

fn quoted(value: &Value) -> Option<String> {
    (value.json_len() <= QUOTED_BYTES_MAX).then(|| value.to_json())
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.as_u64().is_some() || number.as_i64().is_some() => "an integer",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The types that a `type` keyword names.
fn types(meant: &Value) -> Option<String> {
    match meant {
        Value::String(name) => Some(name.to_string()),
        Value::Array(names) => {
            let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            names.map(|names| names.join(" or "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::work::Work;

    #[test]
    fn a_violation_is_told_in_words() {
        let check = |schema: &str, value: &str, expected: &str| {
            let parse = |text: &str| Value::parse(text.as_bytes(), &Limits::default()).unwrap();
            let (schema, value) =
                (Schema::parse(&parse(schema), &mut Work::new(100_000)).unwrap(), parse(value));
            let violation = schema.validate(&value, &mut Work::new(100_000)).unwrap_err();
            let (place, what) = schema.explain(&violation, &value);
            assert_eq!(format!("'{place}' {what}"), expected);
        };
        check(r#"{"required":["a","b"]}"#, r#"{"a":1}"#, "'/b' is missing");
        check(r#"{"items":{"required":["n"]}}"#, r#"[{"n":1},{}]"#, "'/1/n' is missing");
        check(
            r#"{"properties":{"a":{"type":"integer"}}}"#,
            r#"{"a":"1"}"#,
            "'/a' is a string, expected integer",
        );
        check(r#"{"type":["null","object"]}"#, "1.5", "'' is a number, expected null or object");
        check(r##"{"$ref":"#/$defs/n","$defs":{"n":{"minimum":3}}}"##, "2", "'' is less than 3");
        check(r#"{"additionalProperties":false}"#, r#"{"c":1}"#, "'/c' is not known here");
        check(r#"{"enum":["a",1]}"#, "2", r#"'' is none of "a", 1"#);
        check(r#"{"pattern":"^a"}"#, r#""b""#, r#"'' does not match the pattern "^a""#);
        check(r#"{"maxLength":1}"#, r#""bc""#, "'' has more than 1 characters");
        check(r#"{"not":{}}"#, "1", "'' breaks 'not' at '' of the schema");
        check("false", "1", "'' breaks 'schema' at '' of the schema");
        // What is long is not quoted.
        let long = "x".repeat(100);
        check(&format!(r#"{{"const":"{long}"}}"#), "1", "'' breaks 'const' at '' of the schema");
        let many: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        check(&format!(r#"{{"enum":[{}]}}"#, many.join(",")), "9", "'' breaks 'enum' at '' of the schema");
    }
}
