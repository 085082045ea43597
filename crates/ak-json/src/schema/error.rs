//! Why a schema is refused, or a value by a schema.

use crate::pointer::Pointer;
use crate::value::text::Text;

/// Levels of nesting that a schema's text may have.
pub const SCHEMA_DEPTH_MAX: u32 = 64;
/// Schemas and values that may lie within each other while a value is checked.
pub const CHECK_DEPTH_MAX: usize = 512;

/// A pattern that cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjudged {
    /// Where it stands in the schema: a `pattern`, or a member of `patternProperties`.
    pub at: Pointer,
    /// The pattern.
    pub pattern: Text,
}

/// Why a schema was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at '{at}' of the schema")]
pub struct SchemaError {
    /// What is wrong.
    pub reason: SchemaReason,
    /// Where in the schema.
    pub at: Pointer,
}

/// What is wrong with a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaReason {
    /// It is neither a boolean nor an object.
    #[error("neither a boolean nor an object")]
    Shape,
    /// A `$schema` that names no draft from 6 to 2020-12.
    #[error("unsupported $schema '{0}'")]
    Dialect(Text),
    /// A `$dynamicRef` or `$recursiveRef` with more than one place to lead to.
    #[error("unsupported keyword '{0}'")]
    Keyword(Text),
    /// A keyword's value has the wrong form.
    #[error("wrong value of '{0}'")]
    KeywordValue(Text),
    /// A pattern is no regular expression, of whatever kind.
    #[error("malformed pattern")]
    Pattern,
    /// A reference leads to a place that is no schema.
    #[error("reference '{0}' leads to no schema in this document")]
    Reference(Text),
    /// A reference leads out of the document. Nothing is ever fetched.
    #[error("reference '{0}' leads to another document")]
    Remote(Text),
    /// A reference leads back to where it stands without going into the value.
    #[error("reference cycle")]
    Cycle,
    /// An anchor stands twice, or an `$id` with two schemas.
    #[error("duplicate identifier '{0}'")]
    Duplicate(Text),
    /// Reading the schema takes more than the limit of work.
    #[error("takes more than the limit of work")]
    Work,
    /// The schema's text nests deeper than [`SCHEMA_DEPTH_MAX`].
    #[error("schema nests too deep")]
    Depth,
}

/// Why a value does not satisfy a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A keyword does not hold.
    #[error("'{instance}' breaks '{keyword}' at '{schema}' of the schema")]
    Keyword {
        /// The place in the value.
        instance: Pointer,
        /// The keyword; for a `false` schema the one that holds it.
        keyword: &'static str,
        /// The place in the schema of the object with the keyword.
        schema: Pointer,
    },
    /// A pattern that cannot be judged decides: see [`Schema::unjudged`](crate::Schema::unjudged).
    #[error("'{instance}' cannot be judged by '{keyword}' at '{schema}' of the schema")]
    Unjudged {
        /// The place in the value.
        instance: Pointer,
        /// The keyword.
        keyword: &'static str,
        /// The place in the schema of the object with the keyword.
        schema: Pointer,
    },
    /// Schemas and values lie within each other deeper than [`CHECK_DEPTH_MAX`].
    #[error("value and schema nest too deep to be checked")]
    Depth,
    /// Checking the value takes more than the limit of work.
    #[error("checking the value takes more than the limit of work")]
    Work,
}
