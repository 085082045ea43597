//! JSON Schema: compiles a schema to rules once, then checks values.

mod check;
mod compile;
mod compiled;
mod decimal;
mod dialect;
mod ecma;
mod error;
mod evaluated;
mod explain;
mod keywords;
mod pattern;
mod reference;
mod truth;
mod unique;
mod uri;

use alloc::sync::Arc;
use core::fmt;

use self::compiled::Compiled;
pub use self::error::{CHECK_DEPTH_MAX, SCHEMA_DEPTH_MAX, SchemaError, SchemaReason, Unjudged, Violation};
use crate::value::Value;
use crate::work::Work;

/// A compiled JSON Schema of draft [6], [7], [2019-09] or [2020-12], as `$schema` names it.
///
/// | vocabulary | keywords |
/// |---|---|
/// | core | `$schema $id $ref $defs definitions`; from 2019-09 on `$anchor`; `$recursiveRef $recursiveAnchor` in 2019-09, `$dynamicRef $dynamicAnchor` in 2020-12 |
/// | in place | `allOf anyOf oneOf not if then else dependencies`; from 2019-09 on `dependentSchemas` |
/// | objects | `properties patternProperties additionalProperties propertyNames`, `maxProperties minProperties required`; from 2019-09 on `dependentRequired unevaluatedProperties` |
/// | arrays | `items contains`, `maxItems minItems uniqueItems`; `additionalItems` before 2020-12, `prefixItems` in it; from 2019-09 on `maxContains minContains unevaluatedItems` |
/// | scalars | `type enum const`, `multipleOf maximum exclusiveMaximum minimum exclusiveMinimum`, `maxLength minLength pattern` |
///
/// Any other keyword is an annotation, which asserts nothing and is never rejected: this includes `format` and
/// `content…`. A schema that names no draft is read by 2020-12, with those keywords of other drafts that have no
/// other meaning there: `items` as an array, `additionalItems`, `$recursiveRef`, and `$id` as an anchor. A schema
/// within another may name its own draft. In drafts 6 and 7 keywords beside `$ref` are ignored.
///
/// References lead to places in the document, by JSON Pointer, anchor or `$id` (RFC 3986); nothing is fetched. A
/// pointer may lead into an annotation. A dynamic reference must have exactly one possible target.
///
/// Patterns are those of ECMA-262 with the flag `u` that automata can match in linear time: look-ahead is supported
/// at the start of a text and look-behind at its end, but not elsewhere, and back-references are not supported. A
/// schema with an unsupported pattern is accepted, and [`unjudged`](Self::unjudged) lists the pattern. Checking
/// then relies on neither outcome: a value is accepted only if it is valid whatever the pattern matches.
///
/// [6]: https://json-schema.org/draft-06/draft-wright-json-schema-validation-01
/// [7]: https://json-schema.org/draft-07/draft-handrews-json-schema-validation-01
/// [2019-09]: https://json-schema.org/draft/2019-09/json-schema-validation
/// [2020-12]: https://json-schema.org/draft/2020-12/json-schema-validation
///
/// Checking uses bounded stack and spends units of [`Work`] as it goes, or stops with [`Violation::Depth`] or
/// [`Violation::Work`]. So does reading a schema, with [`SchemaReason::Work`].
///
/// ```
/// use ak_json::{Schema, Work, array, object};
///
/// let work = &mut Work::new(10_000);
/// let schema = Schema::parse(&object! { "items": object! { "type": "integer", "minimum": 0 } }, work)?;
/// assert!(schema.validate(&array![1, 2], work).is_ok());
/// let violation = schema.validate(&array![1, -2], work).unwrap_err();
/// assert_eq!(violation.to_string(), "'/1' breaks 'minimum' at '/items' of the schema");
/// # Ok::<(), ak_json::SchemaError>(())
/// ```
#[derive(Clone)]
pub struct Schema(Arc<Compiled>);

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// [`SchemaError`] with the place and the reason.
    pub fn parse(source: &Value, work: &mut Work) -> Result<Self, SchemaError> {
        compile::compile(source, work).map(|compiled| Self(Arc::new(compiled)))
    }

    /// The value that the schema was compiled from.
    pub fn source(&self) -> &Value {
        &self.0.source
    }

    /// The approximate bytes of memory that the schema takes: its text, its rules and the automata of its patterns.
    pub fn memory_bytes(&self) -> usize {
        self.0.bytes
    }

    /// The patterns that cannot be judged, in the order in which they were read.
    pub fn unjudged(&self) -> &[Unjudged] {
        &self.0.unjudged
    }

    /// Checks a value against the schema.
    ///
    /// # Errors
    /// [`Violation`] with the first keyword that does not hold, or cannot be judged, and the place in the value.
    pub fn validate(&self, value: &Value, work: &mut Work) -> Result<(), Violation> {
        check::validate(&self.0, value, work)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(self.source()).finish()
    }
}
