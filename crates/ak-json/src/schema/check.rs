//! Checks a value against a compiled schema.

use alloc::vec::Vec;
use core::mem;

use super::compiled::Compiled;
use super::error::{CHECK_DEPTH_MAX, Violation};
use super::keywords::{Contains, Id, Items, Node, Properties, Rule};
use super::pattern::{Caches, Pattern};
use super::truth::{Count, Truth};
use super::{decimal, unique};
use crate::pointer::Pointer;
use crate::value::Value;
use crate::value::array::Array;
use crate::value::number::Number;
use crate::value::object::Object;
use crate::value::text::Text;
use crate::work::{OutOfWork, Work};

pub(super) fn validate(schema: &Compiled, value: &Value, work: &mut Work) -> Result<(), Violation> {
    work.spend(schema.automata as u64).map_err(|OutOfWork| Violation::Work)?;
    let mut caches = Vec::new();
    caches.resize_with(schema.automata, || None);
    let mut check = Check { schema, work, depth: 0, is_quiet: false, violation: None, caches };
    let root = InstanceLocation { parent: None, value };
    match check.schema(0, &root, "schema") {
        Ok(Truth::Yes) => Ok(()),
        // The first keyword that did not hold was recorded.
        Ok(Truth::Maybe | Truth::No) => Err(check.violation.unwrap_or(Violation::Work)),
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

/// Whether a schema or keyword holds.
pub(super) type Checked = Result<Truth, Exhausted>;

/// A value and the path to it.
pub(super) struct InstanceLocation<'a> {
    parent: Option<(&'a InstanceLocation<'a>, Step<'a>)>,
    pub(super) value: &'a Value,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Item(usize),
    Member(&'a Text),
}

impl<'a> InstanceLocation<'a> {
    pub(super) fn item<'b>(&'b self, index: usize, value: &'b Value) -> InstanceLocation<'b> {
        InstanceLocation { parent: Some((self, Step::Item(index))), value }
    }

    pub(super) fn member<'b>(&'b self, name: &'b Text, value: &'b Value) -> InstanceLocation<'b> {
        InstanceLocation { parent: Some((self, Step::Member(name))), value }
    }

    fn pointer(&self) -> Pointer {
        let mut steps = Vec::new();
        let mut location = self;
        while let Some((parent, step)) = location.parent {
            steps.push(step);
            location = parent;
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

/// A running check.
pub(super) struct Check<'s, 'w> {
    pub(super) schema: &'s Compiled,
    work: &'w mut Work,
    depth: usize,
    /// Whether the check is within a schema whose failure does not by itself make the value invalid.
    is_quiet: bool,
    violation: Option<Violation>,
    caches: Caches,
}

impl<'s> Check<'s, '_> {
    pub(super) fn spend(&mut self, units: u64) -> Result<(), Exhausted> {
        Ok(self.work.spend(units)?)
    }

    pub(super) fn node(&self, id: Id) -> Option<&'s Node> {
        self.schema.nodes.get(id)
    }

    /// Checks a value against a schema that the keyword `via` refers to.
    pub(super) fn schema(&mut self, id: Id, location: &InstanceLocation<'_>, via: &'static str) -> Checked {
        self.spend(4)?;
        if self.depth == CHECK_DEPTH_MAX {
            return Err(Exhausted::Depth);
        }
        let Some(node) = self.node(id) else { return Ok(Truth::No) };
        self.depth += 1;
        let holds = self.rules(node, location, via);
        self.depth -= 1;
        holds
    }

    fn rules(&mut self, node: &'s Node, location: &InstanceLocation<'_>, via: &'static str) -> Checked {
        let mut all = Truth::Yes;
        for rule in &node.rules {
            self.spend(1)?;
            all = all.min(self.rule(node, rule, location, via)?);
            if all == Truth::No {
                break;
            }
        }
        Ok(all)
    }

    /// Like [`schema`](Self::schema), for a schema whose failure does not by itself make the value invalid.
    pub(super) fn quietly(&mut self, id: Id, location: &InstanceLocation<'_>) -> Checked {
        let was_quiet = mem::replace(&mut self.is_quiet, true);
        let holds = self.schema(id, location, "schema");
        self.is_quiet = was_quiet;
        holds
    }

    /// Checks a value against a schema if `condition` holds. If the condition may hold, a failure of the schema
    /// counts as `Maybe`.
    pub(super) fn implied(
        &mut self,
        condition: Truth,
        id: Id,
        node: &Node,
        location: &InstanceLocation<'_>,
        keyword: &'static str,
    ) -> Checked {
        match condition {
            Truth::No => Ok(Truth::Yes),
            Truth::Yes => self.schema(id, location, keyword),
            Truth::Maybe => {
                let holds = Truth::Maybe.max(self.quietly(id, location)?);
                Ok(self.demand(holds, node, location, keyword))
            }
        }
    }

    /// Records a keyword that does not hold, or may not, unless the check is quiet.
    fn demand(
        &mut self,
        holds: Truth,
        node: &Node,
        location: &InstanceLocation<'_>,
        keyword: &'static str,
    ) -> Truth {
        if holds != Truth::Yes && !self.is_quiet {
            let (instance, schema) = (location.pointer(), node.at.clone());
            match (holds, &self.violation) {
                (Truth::No, None | Some(Violation::Unjudged { .. })) => {
                    self.violation = Some(Violation::Keyword { instance, keyword, schema });
                }
                (_, None) => self.violation = Some(Violation::Unjudged { instance, keyword, schema }),
                _ => {}
            }
        }
        holds
    }

    fn rule(
        &mut self,
        node: &'s Node,
        rule: &'s Rule,
        location: &InstanceLocation<'_>,
        via: &'static str,
    ) -> Checked {
        let value = location.value;
        let (holds, keyword) = match rule {
            Rule::Never => (Truth::No, via),
            Rule::Type(types) => (types.has(value).into(), "type"),
            Rule::Enum(values) => (self.is_one_of(values, value)?.into(), "enum"),
            Rule::Const(expected) => {
                (self.is_one_of(core::slice::from_ref(expected), value)?.into(), "const")
            }
            Rule::MultipleOf(divisor) => {
                self.spend(value.as_number().map_or(0, |number| decimal::multiple_work(number, divisor)))?;
                (on_number(value, |number| decimal::is_multiple(number, divisor)), "multipleOf")
            }
            Rule::Maximum(bound) => (on_number(value, |number| number <= bound), "maximum"),
            Rule::ExclusiveMaximum(bound) => (on_number(value, |number| number < bound), "exclusiveMaximum"),
            Rule::Minimum(bound) => (on_number(value, |number| number >= bound), "minimum"),
            Rule::ExclusiveMinimum(bound) => (on_number(value, |number| number > bound), "exclusiveMinimum"),
            Rule::MaxLength(max) => {
                (self.length(value)?.is_none_or(|length| length <= *max).into(), "maxLength")
            }
            Rule::MinLength(min) => {
                (self.length(value)?.is_none_or(|length| length >= *min).into(), "minLength")
            }
            Rule::MaxItems(max) => (on_array(value, |array| array.len() as u64 <= *max), "maxItems"),
            Rule::MinItems(min) => (on_array(value, |array| array.len() as u64 >= *min), "minItems"),
            Rule::UniqueItems => (self.unique(value)?.into(), "uniqueItems"),
            Rule::MaxProperties(max) => {
                (on_object(value, |object| object.len() as u64 <= *max), "maxProperties")
            }
            Rule::MinProperties(min) => {
                (on_object(value, |object| object.len() as u64 >= *min), "minProperties")
            }
            Rule::Required(names) => (self.required(names, value)?.into(), "required"),
            Rule::DependentRequired(keyword, dependents) => {
                let mut holds = true;
                for (name, names) in dependents {
                    self.spend(1)?;
                    holds = holds && (!self.has(value, name)? || self.required(names, value)?);
                }
                (holds.into(), *keyword)
            }
            Rule::Pattern(pattern) => match value.as_str() {
                Some(text) => (self.matches(pattern.as_ref(), text)?, "pattern"),
                None => (Truth::Yes, "pattern"),
            },
            Rule::PropertyNames(names) => (self.property_names(*names, value)?, "propertyNames"),
            Rule::AnyOf(ids) => (self.count(ids, location, 1)?.is_at_least(1), "anyOf"),
            Rule::OneOf(ids) => {
                let count = self.count(ids, location, 2)?;
                (count.is_at_least(1).min(count.is_at_most(1)), "oneOf")
            }
            Rule::Not(id) => (!self.quietly(*id, location)?, "not"),
            Rule::Items(items) => return self.items(items, location),
            Rule::Contains(contains) => return self.contains(node, contains, location),
            Rule::Properties(properties) => return self.properties(node, properties, location),
            Rule::DependentSchemas(keyword, schemas) => {
                let mut all = Truth::Yes;
                for (name, id) in schemas {
                    if self.has(value, name)? {
                        all = all.min(self.schema(*id, location, keyword)?);
                    }
                    if all == Truth::No {
                        break;
                    }
                }
                return Ok(all);
            }
            Rule::AllOf(ids) => {
                let mut all = Truth::Yes;
                for id in ids {
                    all = all.min(self.schema(*id, location, "allOf")?);
                    if all == Truth::No {
                        break;
                    }
                }
                return Ok(all);
            }
            Rule::If(rule) => {
                let test = self.quietly(rule.test, location)?;
                let mut all = Truth::Yes;
                for (applies, id, keyword) in [(test, rule.then, "then"), (!test, rule.otherwise, "else")] {
                    if let Some(id) = id {
                        all = all.min(self.implied(applies, id, node, location, keyword)?);
                    }
                }
                return Ok(all);
            }
            Rule::Ref(id) => return self.schema(*id, location, "$ref"),
            Rule::UnevaluatedItems(id) => return self.unevaluated_items(node, *id, location),
            Rule::UnevaluatedProperties(id) => return self.unevaluated_properties(node, *id, location),
        };
        Ok(self.demand(holds, node, location, keyword))
    }

    fn is_one_of(&mut self, values: &[Value], value: &Value) -> Result<bool, Exhausted> {
        for other in values {
            if value.equals(other, self.work)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The length of a string in code points; `None` for other values.
    fn length(&mut self, value: &Value) -> Result<Option<u64>, Exhausted> {
        let Some(text) = value.as_str() else { return Ok(None) };
        self.spend(text.len() as u64 / 32)?;
        Ok(Some(text.chars().count() as u64))
    }

    /// Whether a text matches a pattern; `Maybe` for a missing one, which cannot be judged.
    pub(super) fn matches(&mut self, pattern: Option<&Pattern>, text: &str) -> Checked {
        let Some(pattern) = pattern else { return Ok(Truth::Maybe) };
        Ok(pattern.is_match(&mut self.caches, text, self.work)?.into())
    }

    fn unique(&mut self, value: &Value) -> Result<bool, Exhausted> {
        let Some(array) = value.as_array() else { return Ok(true) };
        if value.depth() as usize > CHECK_DEPTH_MAX {
            return Err(Exhausted::Depth);
        }
        Ok(unique::are_unique(array, self.work)?)
    }

    pub(super) fn has(&mut self, value: &Value, name: &str) -> Result<bool, Exhausted> {
        self.spend(value.step_work(name))?;
        Ok(value.get(name).is_some())
    }

    fn required(&mut self, names: &[Text], value: &Value) -> Result<bool, Exhausted> {
        let Value::Object(object) = value else { return Ok(true) };
        for name in names {
            self.spend(object.lookup_work(name))?;
            if !object.contains_key(name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn items(&mut self, items: &Items, location: &InstanceLocation<'_>) -> Checked {
        let Value::Array(array) = location.value else { return Ok(Truth::Yes) };
        let [first, rest] = items.keywords;
        let mut all = Truth::Yes;
        for (index, item) in array.iter().enumerate() {
            let (id, via) = match (items.first.get(index), items.rest) {
                (Some(id), _) => (*id, first),
                (None, Some(id)) => (id, rest),
                (None, None) => break,
            };
            all = all.min(self.schema(id, &location.item(index, item), via)?);
            if all == Truth::No {
                break;
            }
        }
        Ok(all)
    }

    fn contains(&mut self, node: &Node, contains: &Contains, location: &InstanceLocation<'_>) -> Checked {
        let Value::Array(array) = location.value else { return Ok(Truth::Yes) };
        let mut count = Count::default();
        for (index, item) in array.iter().enumerate() {
            count.add(self.quietly(contains.item, &location.item(index, item))?);
        }
        let keyword = if contains.min == 1 { "contains" } else { "minContains" };
        let are_enough = self.demand(count.is_at_least(contains.min), node, location, keyword);
        let are_few = contains.max.map_or(Truth::Yes, |max| count.is_at_most(max));
        Ok(are_enough.min(self.demand(are_few, node, location, "maxContains")))
    }

    fn properties(
        &mut self,
        node: &Node,
        properties: &Properties,
        location: &InstanceLocation<'_>,
    ) -> Checked {
        let Value::Object(object) = location.value else { return Ok(Truth::Yes) };
        let mut all = Truth::Yes;
        for (name, value) in object {
            let location = location.member(name, value);
            self.spend(properties.lookup_work(name))?;
            let named = properties.named.get(name);
            if let Some(id) = named {
                all = all.min(self.schema(*id, &location, "properties")?);
            }
            let mut is_additional = Truth::from(named.is_none());
            for (pattern, id) in &properties.patterns {
                if all == Truth::No {
                    break;
                }
                let matches = self.matches(pattern.as_ref(), name)?;
                is_additional = is_additional.min(!matches);
                all = all.min(self.implied(matches, *id, node, &location, "patternProperties")?);
            }
            if all == Truth::No {
                break;
            }
            if let Some(rest) = properties.rest {
                all = all.min(self.implied(is_additional, rest, node, &location, "additionalProperties")?);
            }
        }
        Ok(all)
    }

    fn property_names(&mut self, id: Id, value: &Value) -> Checked {
        let Value::Object(object) = value else { return Ok(Truth::Yes) };
        let mut all = Truth::Yes;
        for name in object.keys() {
            self.spend(3)?;
            let name = Value::String(name.clone());
            all = all.min(self.quietly(id, &InstanceLocation { parent: None, value: &name })?);
            if all == Truth::No {
                break;
            }
        }
        Ok(all)
    }

    /// How many of the schemas hold; counting stops when `enough` certainly do.
    fn count(
        &mut self,
        ids: &[Id],
        location: &InstanceLocation<'_>,
        enough: u64,
    ) -> Result<Count, Exhausted> {
        let mut count = Count::default();
        for id in ids {
            count.add(self.quietly(*id, location)?);
            if count.least == enough {
                break;
            }
        }
        Ok(count)
    }
}

fn on_number(value: &Value, holds: impl Fn(&Number) -> bool) -> Truth {
    value.as_number().is_none_or(holds).into()
}

fn on_array(value: &Value, holds: impl Fn(&Array) -> bool) -> Truth {
    value.as_array().is_none_or(holds).into()
}

fn on_object(value: &Value, holds: impl Fn(&Object) -> bool) -> Truth {
    value.as_object().is_none_or(holds).into()
}
