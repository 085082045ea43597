#![no_std]
#![forbid(unsafe_code)]
//! JSON values with shared structure, pointers, schemas and canonical digests, for programs that decide on JSON
//! values and later prove which values these were.
//!
//! - **Strict parsing.** A text is parsed once. Duplicate members, integers beyond 64 bits, lone surrogates and
//!   everything above a limit are rejected with their position. Members keep their order; `1` and `1.0` print
//!   differently and compare as equal.
//! - **Values share structure.** A clone copies nothing. A change copies the chunks of 32 on the path to it and
//!   leaves older versions as they were, so keeping history costs only what changed.
//! - **Nothing is hashed or measured twice.** Containers remember the hash and the length of their contents; a
//!   digest after a change re-hashes only the chunks on the path to it.
//! - **No input causes a panic, a stack overflow or unbounded time**, whatever its nesting, names or patterns: an
//!   operation that is not linear in its own text spends units of [`Work`] first. Pure computation, `no_std`, no
//!   unsafe code.
//!
//! The types that matter are [`Value`] with its [`Array`] and [`Object`], [`Pointer`] (RFC 6901), [`Schema`] (JSON
//! Schema, drafts 6 to 2020-12) and [`Digest`] (SHA-256 of the [canonical encoding][encoding]).
//!
//! ```
//! use ak_json::{Limits, Number, Pointer, Value, object};
//!
//! let order = Value::parse(br#"{"to": "Ada", "amount": 12.50}"#, &Limits::default())?;
//! assert_eq!(order.to_json(), r#"{"to":"Ada","amount":12.5}"#);
//! assert_eq!(order, object! { "amount": Number::from_f64(12.5), "to": "Ada" });
//! assert_eq!(order.pointer(&Pointer::parse("/to")?).and_then(Value::as_str), Some("Ada"));
//!
//! let Value::Object(mut changed) = order.clone() else { unreachable!() };
//! changed.insert("amount", 13);
//! assert_ne!(Value::from(changed).digest(), order.digest());
//!
//! let error = Value::parse(br#"{"to": "Ada", "to": "Eve"}"#, &Limits::default()).unwrap_err();
//! assert_eq!(error.to_string(), "duplicate member at line 1 column 15");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Modules
//!
//! **Values.** `value` holds [`Value`] and its kinds: `array`, `object`, `number`, `text` (strings). Both
//! containers are built on `tree`, a persistent sequence, whose nodes cache length and hash in a `memo`. Objects
//! keep the names of their members in `names`, large objects with an `index`. `equal` compares values, `deep` walks
//! values that nest too deep for recursion, `json_len` measures strings, `drop_queue` drops large values in steps.
//!
//! **JSON text.** `text`: `parse` reads texts, with tokens from `scan`; `grammar` checks whether a rejected text is
//! JSON by its grammar; `limits` bounds what is accepted; `error` says why a text is rejected; `print` writes and
//! measures.
//!
//! **Canonical encoding.** `canonical`: `encode` makes the digest of a value, `encoder` the digest of a value that
//! is never built in memory. `digest` holds [`Digest`] and SHA-256.
//!
//! **JSON Schema.** `schema`: `compile`, with `keywords`, `dialect`, `reference` and `uri`, reads a schema into the
//! rules of `compiled`; `check`, with `evaluated`, `truth`, `unique` and `decimal`, validates values; `pattern`
//! matches the patterns that `ecma` translates; `error` says why a schema or a value is rejected.
//!
//! **Beside values.** `pointer` holds [`Pointer`], `labels` holds [`Labels`]; `work` counts the cost of operations.
//!
//! # Directions
//!
//! Imports: `schema → pointer → value → {digest, work}`
//! Imports: `{canonical, labels, text} → value`
//!
//! [encoding]: https://github.com/authority-kernel/authority-kernel/blob/main/docs/decisions/0002-canonical-encoding.md

extern crate alloc;

mod canonical;
mod digest;
mod labels;
mod pointer;
mod schema;
mod text;
mod value;
mod work;

pub use canonical::encoder::{ArrayEncoder, Encoded, ObjectEncoder};
pub use digest::{Digest, DigestError, sha256};
pub use labels::{Integrity, LABEL_BYTES_MAX, Labels, LabelsError};
pub use pointer::{POINTER_TOKENS_MAX, Pointer, PointerError, array_index};
pub use schema::{CHECK_DEPTH_MAX, SCHEMA_DEPTH_MAX, Schema, SchemaError, SchemaReason, Unjudged, Violation};
pub use text::error::{ParseError, ParseReason};
pub use text::limits::{BYTES_MAX, DEPTH_MAX, Limits, MEMBERS_MAX, VALUES_MAX};
pub use value::Value;
pub use value::array::{Array, Items};
pub use value::drop_queue::DropQueue;
pub use value::json_len::string_len as json_string_len;
pub use value::number::Number;
pub use value::object::{Members, Object, ObjectBuilder};
pub use value::text::Text;
pub use work::{OutOfWork, Work};

/// The README's code is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
