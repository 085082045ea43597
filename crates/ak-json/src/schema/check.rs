//! Checking a value.

use alloc::vec::Vec;
use core::mem;

use super::keywords::{Contains, Id, Items, Node, Properties, Rule};
use super::pattern::{Cache, Pattern};
use super::{CHECK_DEPTH_MAX, Compiled, Violation, decimal, unique};
use crate::array::Array;
use crate::number::Number;
use crate::object::Object;
use crate::pointer::Pointer;
use crate::text::Text;
use crate::value::Value;
use crate::work::{OutOfWork, Work};

pub(super) fn validate(schema: &Compiled, value: &Value, work: &mut Work) -> Result<(), Violation> {
    work.spend(schema.patterns as u64).map_err(|OutOfWork| Violation::Work)?;
    let mut caches = Vec::new();
    caches.resize_with(schema.patterns, || None);
    let mut check = Check { schema, work, depth: 0, is_quiet: false, violation: None, caches };
    let root = Place { parent: None, value };
    match check.schema(0, &root, "schema") {
        Ok(true) => Ok(()),
        // The first keyword that did not hold has been noted.
        Ok(false) => Err(check.violation.unwrap_or(Violation::Work)),
        Err(Exhausted::Depth) => Err(Violation::Depth),
        Err(Exhausted::Work) => Err(Violation::Work),
    }
}

/// Why a check was given up.
pub(super) enum Exhausted {
    Depth,
    Work,
}

impl From<OutOfWork> for Exhausted {
    fn from(_: OutOfWork) -> Self {
        Self::Work
    }
}

/// Whether it holds.
pub(super) type Checked = Result<bool, Exhausted>;

/// A value and the way to it.
pub(super) struct Place<'a> {
    parent: Option<(&'a Place<'a>, Step<'a>)>,
    pub(super) value: &'a Value,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Item(usize),
    Member(&'a Text),
}

impl<'a> Place<'a> {
    pub(super) fn item<'b>(&'b self, index: usize, value: &'b Value) -> Place<'b> {
        Place { parent: Some((self, Step::Item(index))), value }
    }

    pub(super) fn member<'b>(&'b self, name: &'b Text, value: &'b Value) -> Place<'b> {
        Place { parent: Some((self, Step::Member(name))), value }
    }

    fn pointer(&self) -> Pointer {
        let mut steps = Vec::new();
        let mut place = self;
        while let Some((parent, step)) = place.parent {
            steps.push(step);
            place = parent;
        }
        let mut pointer = Pointer::root();
        for step in steps.into_iter().rev() {
            match step {
                Step::Item(index) => pointer.push_index(index),
                Step::Member(name) => pointer.push(name),
            }
        }
        pointer
    }
}

/// A check under way.
pub(super) struct Check<'s, 'w> {
    pub(super) schema: &'s Compiled,
    work: &'w mut Work,
    depth: usize,
    /// Within a schema whose failure is not yet the value's.
    is_quiet: bool,
    violation: Option<Violation>,
    caches: Vec<Option<Cache>>,
}

impl<'s> Check<'s, '_> {
    pub(super) fn spend(&mut self, units: u64) -> Result<(), Exhausted> {
        Ok(self.work.spend(units)?)
    }

    pub(super) fn node(&self, id: Id) -> Option<&'s Node> {
        self.schema.nodes.get(id)
    }

    /// Checks a value against a schema, to which the keyword `via` led.
    pub(super) fn schema(&mut self, id: Id, place: &Place<'_>, via: &'static str) -> Checked {
        self.spend(4)?;
        if self.depth == CHECK_DEPTH_MAX {
            return Err(Exhausted::Depth);
        }
        let Some(node) = self.node(id) else { return Ok(false) };
        self.depth += 1;
        let holds = self.rules(node, place, via);
        self.depth -= 1;
        holds
    }

    fn rules(&mut self, node: &'s Node, place: &Place<'_>, via: &'static str) -> Checked {
        for rule in &node.rules {
            self.spend(1)?;
            if !self.rule(node, rule, place, via)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same, where failure is not yet the value's.
    pub(super) fn quietly(&mut self, id: Id, place: &Place<'_>) -> Checked {
        let was_quiet = mem::replace(&mut self.is_quiet, true);
        let holds = self.schema(id, place, "schema");
        self.is_quiet = was_quiet;
        holds
    }

    /// Notes a keyword that does not hold.
    fn demand(&mut self, holds: bool, node: &Node, place: &Place<'_>, keyword: &'static str) -> Checked {
        if !holds && !self.is_quiet {
            let (instance, schema) = (place.pointer(), node.at.clone());
            self.violation.get_or_insert(Violation::Keyword { instance, keyword, schema });
        }
        Ok(holds)
    }

    fn rule(&mut self, node: &'s Node, rule: &'s Rule, place: &Place<'_>, via: &'static str) -> Checked {
        let value = place.value;
        let (holds, keyword) = match rule {
            Rule::Never => (false, via),
            Rule::Type(types) => (types.has(value), "type"),
            Rule::Enum(values) => (self.is_one_of(values, value)?, "enum"),
            Rule::Const(expected) => (self.is_one_of(core::slice::from_ref(expected), value)?, "const"),
            Rule::MultipleOf(divisor) => {
                self.spend(value.as_number().map_or(0, |number| decimal::multiple_work(number, divisor)))?;
                (on_number(value, |number| decimal::is_multiple(number, divisor)), "multipleOf")
            }
            Rule::Maximum(bound) => (on_number(value, |number| number <= bound), "maximum"),
            Rule::ExclusiveMaximum(bound) => (on_number(value, |number| number < bound), "exclusiveMaximum"),
            Rule::Minimum(bound) => (on_number(value, |number| number >= bound), "minimum"),
            Rule::ExclusiveMinimum(bound) => (on_number(value, |number| number > bound), "exclusiveMinimum"),
            Rule::MaxLength(max) => (self.length(value)?.is_none_or(|length| length <= *max), "maxLength"),
            Rule::MinLength(min) => (self.length(value)?.is_none_or(|length| length >= *min), "minLength"),
            Rule::Pattern(pattern) => match value.as_str() {
                Some(text) => (self.matches(pattern, text)?, "pattern"),
                None => (true, "pattern"),
            },
            Rule::MaxItems(max) => (on_array(value, |array| array.len() as u64 <= *max), "maxItems"),
            Rule::MinItems(min) => (on_array(value, |array| array.len() as u64 >= *min), "minItems"),
            Rule::UniqueItems => (self.unique(value)?, "uniqueItems"),
            Rule::MaxProperties(max) => {
                (on_object(value, |object| object.len() as u64 <= *max), "maxProperties")
            }
            Rule::MinProperties(min) => {
                (on_object(value, |object| object.len() as u64 >= *min), "minProperties")
            }
            Rule::Required(names) => (self.required(names, value)?, "required"),
            Rule::DependentRequired(dependents) => {
                let mut holds = true;
                for (name, names) in dependents {
                    self.spend(1)?;
                    holds = holds && (!self.has(value, name)? || self.required(names, value)?);
                }
                (holds, "dependentRequired")
            }
            Rule::Items(items) => return self.items(items, place),
            Rule::Contains(contains) => return self.contains(node, contains, place),
            Rule::Properties(properties) => return self.properties(properties, place),
            Rule::PropertyNames(names) => (self.property_names(*names, value)?, "propertyNames"),
            Rule::DependentSchemas(schemas) => {
                for (name, id) in schemas {
                    if self.has(value, name)? && !self.schema(*id, place, "dependentSchemas")? {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            Rule::AllOf(ids) => {
                for id in ids {
                    if !self.schema(*id, place, "allOf")? {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            Rule::AnyOf(ids) => (self.count(ids, place, 1)? > 0, "anyOf"),
            Rule::OneOf(ids) => (self.count(ids, place, 2)? == 1, "oneOf"),
            Rule::Not(id) => (!self.quietly(*id, place)?, "not"),
            Rule::If(rule) => {
                let (next, keyword) = if self.quietly(rule.test, place)? {
                    (rule.then, "then")
                } else {
                    (rule.otherwise, "else")
                };
                return next.map_or(Ok(true), |id| self.schema(id, place, keyword));
            }
            Rule::Ref(id) => return self.schema(*id, place, "$ref"),
            Rule::UnevaluatedItems(id) => return self.unevaluated_items(node, *id, place),
            Rule::UnevaluatedProperties(id) => return self.unevaluated_properties(node, *id, place),
        };
        self.demand(holds, node, place, keyword)
    }

    fn is_one_of(&mut self, values: &[Value], value: &Value) -> Checked {
        for other in values {
            if value.equals(other, self.work)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts code points, if the value is a string.
    fn length(&mut self, value: &Value) -> Result<Option<u64>, Exhausted> {
        let Some(text) = value.as_str() else { return Ok(None) };
        self.spend(text.len() as u64 / 32)?;
        Ok(Some(text.chars().count() as u64))
    }

    pub(super) fn matches(&mut self, pattern: &Pattern, text: &str) -> Checked {
        let Some(cache) = self.caches.get_mut(pattern.number) else { return Ok(false) };
        Ok(pattern.is_match(cache, text, self.work)?)
    }

    fn unique(&mut self, value: &Value) -> Checked {
        let Some(array) = value.as_array() else { return Ok(true) };
        if value.depth() as usize > CHECK_DEPTH_MAX {
            return Err(Exhausted::Depth);
        }
        Ok(unique::are_unique(array, self.work)?)
    }

    pub(super) fn has(&mut self, value: &Value, name: &str) -> Checked {
        self.spend(value.step_work(name))?;
        Ok(value.get(name).is_some())
    }

    fn required(&mut self, names: &[Text], value: &Value) -> Checked {
        let Value::Object(object) = value else { return Ok(true) };
        for name in names {
            self.spend(object.lookup_work(name))?;
            if !object.contains_key(name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn items(&mut self, items: &Items, place: &Place<'_>) -> Checked {
        let Value::Array(array) = place.value else { return Ok(true) };
        for (index, item) in array.iter().enumerate() {
            let (id, via) = match (items.prefix.get(index), items.rest) {
                (Some(id), _) => (*id, "prefixItems"),
                (None, Some(id)) => (id, "items"),
                (None, None) => break,
            };
            if !self.schema(id, &place.item(index, item), via)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn contains(&mut self, node: &Node, contains: &Contains, place: &Place<'_>) -> Checked {
        let Value::Array(array) = place.value else { return Ok(true) };
        let mut count = 0;
        for (index, item) in array.iter().enumerate() {
            count += u64::from(self.quietly(contains.item, &place.item(index, item))?);
        }
        let keyword = if contains.min == 1 { "contains" } else { "minContains" };
        Ok(self.demand(count >= contains.min, node, place, keyword)?
            && self.demand(contains.max.is_none_or(|max| count <= max), node, place, "maxContains")?)
    }

    fn properties(&mut self, properties: &Properties, place: &Place<'_>) -> Checked {
        let Value::Object(object) = place.value else { return Ok(true) };
        for (name, value) in object {
            let place = place.member(name, value);
            self.spend(properties.lookup_work(name))?;
            let named = properties.named.get(name);
            if let Some(id) = named
                && !self.schema(*id, &place, "properties")?
            {
                return Ok(false);
            }
            let mut is_additional = named.is_none();
            for (pattern, id) in &properties.patterns {
                if self.matches(pattern, name)? {
                    is_additional = false;
                    if !self.schema(*id, &place, "patternProperties")? {
                        return Ok(false);
                    }
                }
            }
            if let Some(rest) = properties.rest
                && is_additional
                && !self.schema(rest, &place, "additionalProperties")?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn property_names(&mut self, id: Id, value: &Value) -> Checked {
        let Value::Object(object) = value else { return Ok(true) };
        for name in object.keys() {
            self.spend(3)?;
            let name = Value::String(name.clone());
            if !self.quietly(id, &Place { parent: None, value: &name })? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many of the schemas hold, counted up to a bound.
    fn count(&mut self, ids: &[Id], place: &Place<'_>, enough: usize) -> Result<usize, Exhausted> {
        let mut count = 0;
        for id in ids {
            count += usize::from(self.quietly(*id, place)?);
            if count == enough {
                break;
            }
        }
        Ok(count)
    }
}

fn on_number(value: &Value, holds: impl Fn(&Number) -> bool) -> bool {
    value.as_number().is_none_or(holds)
}

fn on_array(value: &Value, holds: impl Fn(&Array) -> bool) -> bool {
    value.as_array().is_none_or(holds)
}

fn on_object(value: &Value, holds: impl Fn(&Object) -> bool) -> bool {
    value.as_object().is_none_or(holds)
}
