//! The JSON form of queries.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ak_json::{Digest, Labels, Object, Pointer, Text, Value, object};

use super::{Filter, Order, Query, Test};

/// Why a value is not a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct QueryError {
    /// Path of the member that is wrong, such as `where./age`.
    pub path: String,
    /// What is wrong with the member.
    pub reason: &'static str,
}

impl Query {
    /// Parses the JSON form of a query. Every member is optional; unknown ones are rejected.
    ///
    /// | member | value |
    /// |---|---|
    /// | `type`, `owner` | a string |
    /// | `version_min`, `version_max` | an integer |
    /// | `labels_min`, `labels_max` | [labels](Labels::from_value) |
    /// | `where` | an object from JSON Pointers to conditions: an object of `=` `!=` `<` `<=` `>` `>=` `in` `exists` `prefix` `contains`, or any other value, which must be equal |
    /// | `order` | `{"pointer": "…", "descending": false}` |
    /// | `limit` | an integer |
    /// | `cursor` | the text of a [`Cursor`](super::Cursor) |
    ///
    /// ```
    /// use ak_heap::{Filter, Query, Test};
    /// use ak_json::{Pointer, object};
    ///
    /// let query = Query::parse(&object! { "type": "user", "where": object! { "/age": object! { ">=": 18 } } })?;
    /// assert_eq!(query.filters, [Filter { pointer: Pointer::parse("/age").unwrap(), test: Test::AtLeast(18.into()) }]);
    /// # Ok::<(), ak_heap::QueryError>(())
    /// ```
    ///
    /// # Errors
    /// [`QueryError`] with the first member that is unknown or has another form.
    pub fn parse(value: &Value) -> Result<Query, QueryError> {
        let error = |path: &str, reason| QueryError { path: path.into(), reason };
        let members = value.as_object().ok_or_else(|| error("query", "not an object"))?;
        let mut query = Query::default();
        for (name, value) in members {
            let name: &str = name;
            let text = || value.as_text().cloned().ok_or_else(|| error(name, "not a string"));
            let integer = || value.as_u64().ok_or_else(|| error(name, "not an integer from 0 to 2^64-1"));
            let labels = || Labels::from_value(value).map_err(|_| error(name, "not labels"));
            match name {
                "type" => query.type_name = Some(text()?),
                "owner" => query.owner = Some(text()?),
                "version_min" => query.version_min = integer()?,
                "version_max" => query.version_max = integer()?,
                "labels_min" => query.labels_min = labels()?,
                "labels_max" => query.labels_max = Some(labels()?),
                "where" => query.filters = filters(value)?,
                "order" => query.order = order(value)?,
                "limit" => query.limit = usize::try_from(integer()?).unwrap_or(usize::MAX),
                "cursor" => {
                    query.cursor = Some(text()?.parse().map_err(|_| error(name, "not a cursor"))?);
                }
                _ => return Err(error(name, "unknown member")),
            }
        }
        Ok(query)
    }

    /// Identifies the query, whatever the page: the digest of its JSON form without limit and cursor.
    pub(super) fn digest(&self) -> Digest {
        let filters = self.filters.iter().map(|filter| {
            let (name, value) = filter.test.form();
            object! { "pointer": filter.pointer.to_string(), "test": name, "value": value }
        });
        let order = match &self.order {
            Order::Place => Value::Null,
            Order::Value { pointer, descending } => {
                object! { "pointer": pointer.to_string(), "descending": *descending }
            }
        };
        let form = object! {
            "type": self.type_name.clone(),
            "owner": self.owner.clone(),
            "version_min": self.version_min,
            "version_max": self.version_max,
            "labels_min": self.labels_min.to_value(),
            "labels_max": self.labels_max.as_ref().map(Labels::to_value),
            "where": filters.collect::<ak_json::Array>(),
            "order": order,
        };
        form.digest()
    }
}

impl Test {
    /// The operator and its operand.
    fn form(&self) -> (&'static str, Value) {
        match self {
            Test::Equal(value) => ("=", value.clone()),
            Test::NotEqual(value) => ("!=", value.clone()),
            Test::Less(value) => ("<", value.clone()),
            Test::AtMost(value) => ("<=", value.clone()),
            Test::Greater(value) => (">", value.clone()),
            Test::AtLeast(value) => (">=", value.clone()),
            Test::In(values) => ("in", values.clone().into()),
            Test::Exists(wanted) => ("exists", (*wanted).into()),
            Test::Prefix(prefix) => ("prefix", prefix.into()),
            Test::Contains(part) => ("contains", part.clone()),
        }
    }

    /// The test with this operator; fails if the operand has the wrong form.
    fn of(operator: &str, value: &Value) -> Result<Test, &'static str> {
        match operator {
            "=" => Ok(Test::Equal(value.clone())),
            "!=" => Ok(Test::NotEqual(value.clone())),
            "<" => ordered(value).map(Test::Less),
            "<=" => ordered(value).map(Test::AtMost),
            ">" => ordered(value).map(Test::Greater),
            ">=" => ordered(value).map(Test::AtLeast),
            "in" => {
                let values = value.as_array().ok_or("'in' takes an array")?;
                Ok(Test::In(values.iter().cloned().collect()))
            }
            "exists" => value.as_bool().map(Test::Exists).ok_or("'exists' takes true or false"),
            "prefix" => value.as_text().cloned().map(Test::Prefix).ok_or("'prefix' takes a string"),
            "contains" => Ok(Test::Contains(value.clone())),
            _ => Err("unknown operator"),
        }
    }
}

fn ordered(value: &Value) -> Result<Value, &'static str> {
    match value {
        Value::Number(_) | Value::String(_) => Ok(value.clone()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err("only numbers and strings have an order")
        }
    }
}

fn filters(value: &Value) -> Result<Vec<Filter>, QueryError> {
    let at = |name: &str, reason| QueryError { path: format!("where.{name}"), reason };
    let members =
        value.as_object().ok_or_else(|| QueryError { path: "where".into(), reason: "not an object" })?;
    let mut filters = Vec::new();
    for (name, condition) in members {
        let pointer = Pointer::parse(name).map_err(|_| at(name, "not a JSON Pointer"))?;
        match condition {
            Value::Object(tests) => {
                for (operator, value) in tests {
                    let test = Test::of(operator, value).map_err(|reason| at(name, reason))?;
                    filters.push(Filter { pointer: pointer.clone(), test });
                }
            }
            value => filters.push(Filter { pointer, test: Test::Equal(value.clone()) }),
        }
    }
    Ok(filters)
}

fn order(value: &Value) -> Result<Order, QueryError> {
    let at = |name: &str, reason| QueryError { path: format!("order{name}"), reason };
    let members: &Object = value.as_object().ok_or_else(|| at("", "not an object"))?;
    let (mut pointer, mut descending) = (None, false);
    for (name, value) in members {
        match &**name {
            "pointer" => {
                let text: &Text = value.as_text().ok_or_else(|| at(".pointer", "not a string"))?;
                pointer = Some(Pointer::parse(text).map_err(|_| at(".pointer", "not a JSON Pointer"))?);
            }
            "descending" => {
                descending = value.as_bool().ok_or_else(|| at(".descending", "not true or false"))?;
            }
            _ => return Err(at("", "unknown member")),
        }
    }
    let pointer = pointer.ok_or_else(|| at(".pointer", "missing"))?;
    Ok(Order::Value { pointer, descending })
}
