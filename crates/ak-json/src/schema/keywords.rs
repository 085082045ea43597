//! The nodes of a compiled schema, with the rules of their keywords.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::dialect::Dialect;
use super::pattern::Pattern;
use crate::pointer::Pointer;
use crate::value::Value;
use crate::value::number::Number;
use crate::value::text::Text;
use crate::work;

/// The number of a node.
pub(super) type Id = usize;

/// A schema, or a schema within it.
pub(super) struct Node {
    pub(super) at: Pointer,
    pub(super) scope: Scope,
    pub(super) rules: Vec<Rule>,
}

/// How a schema is read.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    /// The number of the resource that the schema belongs to, against which its references are resolved.
    pub(super) resource: usize,
    pub(super) dialect: Dialect,
}

/// The demand of one keyword, or of several that work together.
pub(super) enum Rule {
    /// The schema `false`.
    Never,
    Type(Types),
    Enum(Vec<Value>),
    Const(Value),
    MultipleOf(Number),
    Maximum(Number),
    ExclusiveMaximum(Number),
    Minimum(Number),
    ExclusiveMinimum(Number),
    MaxLength(u64),
    MinLength(u64),
    /// `None` when the pattern cannot be judged.
    Pattern(Option<Pattern>),
    MaxItems(u64),
    MinItems(u64),
    UniqueItems,
    MaxProperties(u64),
    MinProperties(u64),
    Required(Vec<Text>),
    /// The first field is the keyword.
    DependentRequired(&'static str, Vec<(Text, Vec<Text>)>),
    Items(Items),
    Contains(Contains),
    Properties(Properties),
    PropertyNames(Id),
    /// The first field is the keyword.
    DependentSchemas(&'static str, Vec<(Text, Id)>),
    AllOf(Vec<Id>),
    AnyOf(Vec<Id>),
    OneOf(Vec<Id>),
    Not(Id),
    If(Conditional),
    Ref(Id),
    UnevaluatedItems(Id),
    UnevaluatedProperties(Id),
}

/// `prefixItems` and `items`, or `items` and `additionalItems`.
pub(super) struct Items {
    pub(super) first: Vec<Id>,
    pub(super) rest: Option<Id>,
    /// The keywords of `first` and of `rest`.
    pub(super) keywords: [&'static str; 2],
}

/// `contains`, `minContains` and `maxContains`.
pub(super) struct Contains {
    pub(super) item: Id,
    pub(super) min: u64,
    pub(super) max: Option<u64>,
    /// Whether matching items count as evaluated.
    pub(super) evaluates: bool,
}

/// `properties`, `patternProperties` and `additionalProperties`.
#[derive(Default)]
pub(super) struct Properties {
    pub(super) named: BTreeMap<Text, Id>,
    pub(super) patterns: Vec<(Option<Pattern>, Id)>,
    pub(super) rest: Option<Id>,
}

impl Properties {
    /// Units of work for looking up a name in `named`.
    pub(super) fn lookup_work(&self, name: &str) -> u64 {
        4 + 2 * work::log2(self.named.len()) * (1 + work::bytes(name.len()))
    }
}

/// `if`, `then` and `else`.
pub(super) struct Conditional {
    pub(super) test: Id,
    pub(super) then: Option<Id>,
    pub(super) otherwise: Option<Id>,
}

/// A set of types, one bit each.
#[derive(Clone, Copy, Default)]
pub(super) struct Types(u8);

impl Types {
    const INTEGER: u8 = 1;
    const NUMBER: u8 = 2;

    /// Adds a type by its name; `None` when the name is unknown or was already added.
    pub(super) fn add(&mut self, name: &str) -> Option<()> {
        let bit = match name {
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "null" => 4,
            "boolean" => 8,
            "string" => 16,
            "array" => 32,
            "object" => 64,
            _ => return None,
        };
        let is_new = self.0 & bit == 0;
        self.0 |= bit;
        is_new.then_some(())
    }

    pub(super) fn has(self, value: &Value) -> bool {
        let bits = match value {
            Value::Null => 4,
            Value::Bool(_) => 8,
            Value::Number(number) if number.is_integer() => Self::INTEGER | Self::NUMBER,
            Value::Number(_) => Self::NUMBER,
            Value::String(_) => 16,
            Value::Array(_) => 32,
            Value::Object(_) => 64,
        };
        self.0 & bits != 0
    }
}

impl Rule {
    /// The schemas that this rule applies to the same value, not to a value within it.
    pub(super) fn in_place(&self) -> Vec<Id> {
        match self {
            Self::AllOf(ids) | Self::AnyOf(ids) | Self::OneOf(ids) => ids.clone(),
            Self::Not(id) | Self::Ref(id) => [*id].into(),
            Self::If(rule) => [Some(rule.test), rule.then, rule.otherwise].into_iter().flatten().collect(),
            Self::DependentSchemas(_, schemas) => schemas.iter().map(|(_, id)| *id).collect(),
            Self::Never
            | Self::Type(_)
            | Self::Enum(_)
            | Self::Const(_)
            | Self::MultipleOf(_)
            | Self::Maximum(_)
            | Self::ExclusiveMaximum(_)
            | Self::Minimum(_)
            | Self::ExclusiveMinimum(_)
            | Self::MaxLength(_)
            | Self::MinLength(_)
            | Self::Pattern(_)
            | Self::MaxItems(_)
            | Self::MinItems(_)
            | Self::UniqueItems
            | Self::MaxProperties(_)
            | Self::MinProperties(_)
            | Self::Required(_)
            | Self::DependentRequired(..)
            | Self::Items(_)
            | Self::Contains(_)
            | Self::Properties(_)
            | Self::PropertyNames(_)
            | Self::UnevaluatedItems(_)
            | Self::UnevaluatedProperties(_) => Vec::new(),
        }
    }
}
