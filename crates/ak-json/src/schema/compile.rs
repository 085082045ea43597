//! Schemas from values.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::keywords::{Conditional, Contains, Id, Items, Node, Properties, Rule, Types};
use super::pattern::{self, Pattern};
use super::reference::cycle;
use super::{Compiled, SCHEMA_DEPTH_MAX, SchemaError, SchemaReason};
use crate::array::Array;
use crate::number::Number;
use crate::object::Object;
use crate::pointer::Pointer;
use crate::text::Text;
use crate::value::Value;
use crate::work::{self, OutOfWork, Work};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

pub(super) fn compile(source: &Value, work: &mut Work) -> Result<Compiled, SchemaError> {
    if source.depth() > SCHEMA_DEPTH_MAX {
        return Err(SchemaError { reason: SchemaReason::Depth, at: Pointer::root() });
    }
    let mut compiler = Compiler {
        base: source.get("$id").and_then(Value::as_str),
        at: Pointer::root(),
        at_bytes: 0,
        nodes: Vec::new(),
        places: BTreeMap::new(),
        anchors: BTreeMap::new(),
        references: Vec::new(),
        patterns: 0,
        pattern_bytes: 0,
        work,
    };
    compiler.schema(source)?;
    compiler.resolve()?;
    if let Some(node) = cycle(&compiler.nodes) {
        return Err(SchemaError { reason: SchemaReason::Cycle, at: node.at.clone() });
    }
    let nodes = compiler.nodes.len().saturating_mul(NODE_BYTES);
    let bytes = source.json_len().saturating_add(nodes).saturating_add(compiler.pattern_bytes);
    Ok(Compiled { source: source.clone(), nodes: compiler.nodes, patterns: compiler.patterns, bytes })
}

/// Bytes of memory that a node takes, by and large.
const NODE_BYTES: usize = 128;

pub(super) struct Compiler<'a> {
    /// The root's `$id`.
    pub(super) base: Option<&'a str>,
    /// Where the compiler stands.
    at: Pointer,
    /// Bytes of its tokens.
    at_bytes: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) places: BTreeMap<Pointer, Id>,
    pub(super) anchors: BTreeMap<Text, Id>,
    /// The node that refers, and to what.
    pub(super) references: Vec<(Id, Text)>,
    patterns: usize,
    /// Bytes of memory that all patterns take.
    pattern_bytes: usize,
    work: &'a mut Work,
}

pub(super) type Compiling<T> = Result<T, SchemaError>;

/// The keywords that work together, as far as they have been met.
#[derive(Default)]
struct Groups {
    items: Option<Items>,
    contains: Option<Id>,
    contains_min: Option<u64>,
    contains_max: Option<u64>,
    properties: Option<Properties>,
    test: Option<Id>,
    then: Option<Id>,
    otherwise: Option<Id>,
    /// What must wait until all others have been checked.
    unevaluated: Vec<Rule>,
}

impl Compiler<'_> {
    fn stop<T>(&self, reason: SchemaReason) -> Compiling<T> {
        Err(SchemaError { reason, at: self.at.clone() })
    }

    pub(super) fn spend(&mut self, units: u64) -> Compiling<()> {
        self.work.spend(units).or_else(|OutOfWork| self.stop(SchemaReason::Work))
    }

    /// Units for a map from places to hold one more, or to find one.
    pub(super) fn place_work(&self, tokens: usize, bytes: usize) -> u64 {
        (8 + 2 * tokens as u64 + work::bytes(bytes)) * (4 + work::log2(self.places.len()) / 2)
    }

    fn enter(&mut self, step: &Text) {
        self.at_bytes = self.at_bytes.saturating_add(step.len());
        self.at.push(step);
    }

    fn enter_index(&mut self, index: usize) {
        self.at.push_index(index);
        self.at_bytes = self.at_bytes.saturating_add(self.at.last().map_or(0, |step| step.len()));
    }

    fn leave(&mut self) {
        let step = self.at.pop();
        self.at_bytes = self.at_bytes.saturating_sub(step.map_or(0, |step| step.len()));
    }

    /// Compiles the schema at the place where the compiler stands.
    fn schema(&mut self, value: &Value) -> Compiling<Id> {
        self.spend(self.place_work(self.at.tokens().len(), self.at_bytes))?;
        let id = self.nodes.len();
        self.nodes.push(Node { at: self.at.clone(), rules: Vec::new() });
        self.places.insert(self.at.clone(), id);
        let rules = match value {
            Value::Bool(true) => Vec::new(),
            Value::Bool(false) => [Rule::Never].into(),
            Value::Object(object) => self.rules(id, object)?,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return self.stop(SchemaReason::Shape);
            }
        };
        if let Some(node) = self.nodes.get_mut(id) {
            // References have put themselves there.
            node.rules.extend(rules);
        }
        Ok(id)
    }

    fn rules(&mut self, id: Id, object: &Object) -> Compiling<Vec<Rule>> {
        let mut rules = Vec::new();
        let mut groups = Groups::default();
        for (name, value) in object {
            self.spend(20 + work::bytes(name.len()))?;
            let known = self.identifier(id, name, value)?
                || self.assertion(name, value, &mut rules)?
                || self.applicator(name, value, &mut rules)?
                || self.grouped(name, value, &mut groups)?;
            if !known {
                return self.stop(SchemaReason::Keyword(name.clone()));
            }
        }
        rules.extend(groups.items.map(Rule::Items));
        if let Some(item) = groups.contains {
            let min = groups.contains_min.unwrap_or(1);
            rules.push(Rule::Contains(Contains { item, min, max: groups.contains_max }));
        }
        rules.extend(groups.properties.map(Rule::Properties));
        if let Some(test) = groups.test {
            rules.push(Rule::If(Conditional { test, then: groups.then, otherwise: groups.otherwise }));
        }
        rules.append(&mut groups.unevaluated);
        Ok(rules)
    }

    /// Keywords that name, refer or annotate.
    fn identifier(&mut self, id: Id, name: &Text, value: &Value) -> Compiling<bool> {
        match name.as_str() {
            "$schema" | "$id" if !self.at.is_root() => return self.stop(SchemaReason::Keyword(name.clone())),
            "$schema" => {
                let dialect = self.string(name, value)?;
                self.demand(name, dialect.strip_suffix('#').unwrap_or(dialect) == DIALECT)?;
            }
            "$id" => {
                let base = self.string(name, value)?;
                self.demand(name, !base.contains('#'))?;
            }
            "$anchor" => {
                let anchor = self.string(name, value)?;
                let is_first = |first: char| first.is_ascii_alphabetic() || first == '_';
                let is_more = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                self.demand(name, anchor.starts_with(is_first) && anchor.bytes().all(is_more))?;
                self.spend(20 + 2 * work::log2(self.anchors.len()) * (1 + work::bytes(anchor.len())))?;
                if self.anchors.insert(anchor.into(), id).is_some() {
                    return self.stop(SchemaReason::Anchor(anchor.into()));
                }
            }
            "$ref" => {
                let reference = self.string(name, value)?;
                self.references.push((id, reference.into()));
            }
            "$defs" => drop(self.named_schemas(name, value)?),
            "$comment" | "title" | "description" => drop(self.string(name, value)?),
            "deprecated" | "readOnly" | "writeOnly" => self.demand(name, value.as_bool().is_some())?,
            "examples" => drop(self.array(name, value)?),
            "default" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Keywords that speak of the value itself.
    fn assertion(&mut self, name: &Text, value: &Value, rules: &mut Vec<Rule>) -> Compiling<bool> {
        let rule = match name.as_str() {
            "type" => Rule::Type(self.types(name, value)?),
            "enum" => {
                let values = self.array(name, value)?;
                self.spend(2 * values.len() as u64)?;
                Rule::Enum(values.iter().cloned().collect())
            }
            "const" => Rule::Const(value.clone()),
            "multipleOf" => {
                let divisor = self.number(name, value)?;
                self.demand(name, divisor > Number::from(0u64))?;
                Rule::MultipleOf(divisor)
            }
            "maximum" => Rule::Maximum(self.number(name, value)?),
            "exclusiveMaximum" => Rule::ExclusiveMaximum(self.number(name, value)?),
            "minimum" => Rule::Minimum(self.number(name, value)?),
            "exclusiveMinimum" => Rule::ExclusiveMinimum(self.number(name, value)?),
            "maxLength" => Rule::MaxLength(self.natural(name, value)?),
            "minLength" => Rule::MinLength(self.natural(name, value)?),
            "pattern" => {
                let source = self.string(name, value)?;
                Rule::Pattern(self.pattern(source)?)
            }
            "maxItems" => Rule::MaxItems(self.natural(name, value)?),
            "minItems" => Rule::MinItems(self.natural(name, value)?),
            "uniqueItems" => match value.as_bool() {
                Some(true) => Rule::UniqueItems,
                Some(false) => return Ok(true),
                None => return self.stop(SchemaReason::KeywordValue(name.clone())),
            },
            "maxProperties" => Rule::MaxProperties(self.natural(name, value)?),
            "minProperties" => Rule::MinProperties(self.natural(name, value)?),
            "required" => Rule::Required(self.names(name, value)?),
            "dependentRequired" => {
                let mut rule = Vec::new();
                for (member, names) in self.object(name, value)? {
                    rule.push((member.clone(), self.names(name, names)?));
                }
                Rule::DependentRequired(rule)
            }
            _ => return Ok(false),
        };
        rules.push(rule);
        Ok(true)
    }

    /// Keywords that hold schemas and stand alone.
    fn applicator(&mut self, name: &Text, value: &Value, rules: &mut Vec<Rule>) -> Compiling<bool> {
        let rule = match name.as_str() {
            "allOf" => Rule::AllOf(self.schemas(name, value)?),
            "anyOf" => Rule::AnyOf(self.schemas(name, value)?),
            "oneOf" => Rule::OneOf(self.schemas(name, value)?),
            "not" => Rule::Not(self.within(name, value)?),
            "propertyNames" => Rule::PropertyNames(self.within(name, value)?),
            "dependentSchemas" => Rule::DependentSchemas(self.named_schemas(name, value)?),
            _ => return Ok(false),
        };
        rules.push(rule);
        Ok(true)
    }

    /// Keywords whose meaning depends on others beside them.
    fn grouped(&mut self, name: &Text, value: &Value, groups: &mut Groups) -> Compiling<bool> {
        match name.as_str() {
            "prefixItems" => groups.items.get_or_insert_default().prefix = self.schemas(name, value)?,
            "items" => groups.items.get_or_insert_default().rest = Some(self.within(name, value)?),
            "contains" => groups.contains = Some(self.within(name, value)?),
            "minContains" => groups.contains_min = Some(self.natural(name, value)?),
            "maxContains" => groups.contains_max = Some(self.natural(name, value)?),
            "properties" => {
                let named = self.named_schemas(name, value)?;
                for (name, _) in &named {
                    self.spend(8 + 2 * work::log2(named.len()) * (1 + work::bytes(name.len())))?;
                }
                groups.properties.get_or_insert_default().named = named.into_iter().collect();
            }
            "patternProperties" => {
                let mut patterns = Vec::new();
                for (source, id) in self.named_schemas(name, value)? {
                    patterns.push((self.pattern(&source)?, id));
                }
                groups.properties.get_or_insert_default().patterns = patterns;
            }
            "additionalProperties" => {
                groups.properties.get_or_insert_default().rest = Some(self.within(name, value)?);
            }
            "if" => groups.test = Some(self.within(name, value)?),
            "then" => groups.then = Some(self.within(name, value)?),
            "else" => groups.otherwise = Some(self.within(name, value)?),
            "unevaluatedItems" => {
                let rest = self.within(name, value)?;
                groups.unevaluated.push(Rule::UnevaluatedItems(rest));
            }
            "unevaluatedProperties" => {
                let rest = self.within(name, value)?;
                groups.unevaluated.push(Rule::UnevaluatedProperties(rest));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Compiles the schema at a step below.
    fn within(&mut self, step: &Text, value: &Value) -> Compiling<Id> {
        self.enter(step);
        let id = self.schema(value)?;
        self.leave();
        Ok(id)
    }

    fn schemas(&mut self, name: &Text, value: &Value) -> Compiling<Vec<Id>> {
        let array = self.array(name, value)?;
        self.demand(name, !array.is_empty())?;
        self.enter(name);
        let mut ids = Vec::with_capacity(array.len());
        for (index, value) in array.iter().enumerate() {
            self.enter_index(index);
            ids.push(self.schema(value)?);
            self.leave();
        }
        self.leave();
        Ok(ids)
    }

    fn named_schemas(&mut self, name: &Text, value: &Value) -> Compiling<Vec<(Text, Id)>> {
        let object = self.object(name, value)?;
        self.enter(name);
        let step = |(name, value): (&Text, &Value)| Ok((name.clone(), self.within(name, value)?));
        let ids = object.iter().map(step).collect::<Compiling<_>>()?;
        self.leave();
        Ok(ids)
    }

    fn pattern(&mut self, source: &str) -> Compiling<Pattern> {
        let pattern = match Pattern::parse(source, self.patterns, self.work) {
            Ok(pattern) => pattern,
            Err(reason) => return self.stop(reason),
        };
        self.patterns += 1;
        self.pattern_bytes += pattern.bytes();
        if self.pattern_bytes > pattern::ALL_BYTES_MAX {
            return self.stop(SchemaReason::PatternSize);
        }
        Ok(pattern)
    }

    fn demand(&self, name: &Text, holds: bool) -> Compiling<()> {
        if holds { Ok(()) } else { self.stop(SchemaReason::KeywordValue(name.clone())) }
    }

    fn expect<T>(&self, name: &Text, value: Option<T>) -> Compiling<T> {
        value.map_or_else(|| self.stop(SchemaReason::KeywordValue(name.clone())), Ok)
    }

    fn string<'v>(&self, name: &Text, value: &'v Value) -> Compiling<&'v str> {
        self.expect(name, value.as_str())
    }

    fn array<'v>(&self, name: &Text, value: &'v Value) -> Compiling<&'v Array> {
        self.expect(name, value.as_array())
    }

    fn object<'v>(&self, name: &Text, value: &'v Value) -> Compiling<&'v Object> {
        self.expect(name, value.as_object())
    }

    fn number(&self, name: &Text, value: &Value) -> Compiling<Number> {
        self.expect(name, value.as_number().copied())
    }

    /// An integer from zero on, also when written with a fraction of zero.
    fn natural(&self, name: &Text, value: &Value) -> Compiling<u64> {
        self.expect(name, value.as_number().and_then(|number| number.canonical().as_u64()))
    }

    fn types(&self, name: &Text, value: &Value) -> Compiling<Types> {
        let mut types = Types::default();
        let added = match value {
            Value::String(one) => types.add(one),
            Value::Array(many) if !many.is_empty() => {
                many.iter().try_for_each(|one| types.add(one.as_str()?))
            }
            Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        };
        self.expect(name, added.map(|()| types))
    }

    /// Names, none of them twice.
    fn names(&mut self, name: &Text, value: &Value) -> Compiling<Vec<Text>> {
        let listed = self.array(name, value)?;
        for name in listed {
            let bytes = name.as_str().map_or(0, str::len);
            self.spend(4 + 3 * work::log2(listed.len()) * (1 + work::bytes(bytes)))?;
        }
        let names = listed.iter().map(|name| name.as_text().cloned());
        let names: Vec<Text> = self.expect(name, names.collect())?;
        let mut sorted: Vec<&Text> = names.iter().collect();
        sorted.sort();
        self.demand(name, sorted.is_sorted_by(|a, b| a < b))?;
        Ok(names)
    }
}
