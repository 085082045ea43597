//! Why a schema, or a value checked against one, is not accepted.

use crate::pointer::Pointer;
use crate::value::text::Text;

/// The most levels of nesting in the text of a schema.
pub const SCHEMA_DEPTH_MAX: u32 = 64;
/// The most levels of schemas and values within each other while a value is checked.
pub const CHECK_DEPTH_MAX: usize = 512;

/// A pattern of a schema that cannot be evaluated in linear time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjudged {
    /// The place in the schema: a `pattern`, or a member of `patternProperties`.
    pub at: Pointer,
    /// The text of the pattern.
    pub pattern: Text,
}

/// Why a schema is not accepted, with the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at '{at}' of the schema")]
pub struct SchemaError {
    /// The kind of error.
    pub reason: SchemaReason,
    /// The place in the schema.
    pub at: Pointer,
}

/// The kinds of [`SchemaError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaReason {
    /// A schema is neither a boolean nor an object.
    #[error("neither a boolean nor an object")]
    Shape,
    /// `$schema` names none of the drafts 6 to 2020-12.
    #[error("unsupported $schema '{0}'")]
    Dialect(Text),
    /// A `$dynamicRef` or `$recursiveRef` has more than one possible target.
    #[error("unsupported keyword '{0}'")]
    Keyword(Text),
    /// A keyword's value has the wrong form.
    #[error("wrong value of '{0}'")]
    KeywordValue(Text),
    /// A pattern is not a regular expression of any known syntax.
    #[error("malformed pattern")]
    Pattern,
    /// A reference leads to a place that is not a schema.
    #[error("reference '{0}' leads to no schema in this document")]
    Reference(Text),
    /// A reference leads to another document; nothing is ever fetched.
    #[error("reference '{0}' leads to another document")]
    Remote(Text),
    /// A reference leads back to its own schema for the same value.
    #[error("reference cycle")]
    Cycle,
    /// Two schemas have the same anchor or the same `$id`.
    #[error("duplicate identifier '{0}'")]
    Duplicate(Text),
    /// Reading the schema takes more work than allowed.
    #[error("takes more than the limit of work")]
    Work,
    /// The schema's text nests deeper than [`SCHEMA_DEPTH_MAX`].
    #[error("schema nests too deep")]
    Depth,
}

/// Where and how a value breaks a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A keyword does not hold.
    #[error("'{instance}' breaks '{keyword}' at '{schema}' of the schema")]
    Keyword {
        /// The place in the value.
        instance: Pointer,
        /// The keyword that does not hold; for a `false` schema, the keyword that contains the schema.
        keyword: &'static str,
        /// The place in the schema of the object with the keyword.
        schema: Pointer,
    },
    /// The result depends on a pattern that cannot be judged: see [`Schema::unjudged`](crate::Schema::unjudged).
    #[error("'{instance}' cannot be judged by '{keyword}' at '{schema}' of the schema")]
    Unjudged {
        /// The place in the value.
        instance: Pointer,
        /// The keyword that cannot be judged.
        keyword: &'static str,
        /// The place in the schema of the object with the keyword.
        schema: Pointer,
    },
    /// Schemas and values are nested within each other deeper than [`CHECK_DEPTH_MAX`].
    #[error("value and schema nest too deep to be checked")]
    Depth,
    /// Checking the value takes more work than allowed.
    #[error("checking the value takes more than the limit of work")]
    Work,
}
