#![no_std]
#![forbid(unsafe_code)]
//! JSON values with shared structure, pointers, schemas and canonical digests, for programs that must decide
//! about JSON and prove later what they saw.
//!
//! - **What was checked is what travels.** Text is parsed once, strictly: duplicate members, integers beyond 64
//!   bits, lone surrogates and whatever exceeds a limit are refused with their position. Members keep the order
//!   in which they were written, `1` and `1.0` stay apart in print and are equal in comparison.
//! - **Values share structure.** A clone copies nothing. A change copies the chunks of 32 on its way and leaves
//!   older versions as they were, so keeping history costs what was changed.
//! - **Nothing is hashed or measured twice.** Containers remember the hash and the length of what they hold; a
//!   digest after a change re-hashes the chunks on the way up.
//! - **No input makes it panic, overflow the stack or take unbounded time**, whatever the nesting, the names or
//!   the patterns: what is not linear in its own text is paid for in units of [`Work`] before it is done. Pure
//!   computation, `no_std`, no unsafe code.
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
//! Map of the modules: `value`, `number`, `text`, `array`, `object` are the types; `tree` is the shared
//! structure below both containers, `memo` what its nodes remember, `names` and `index` the names of members;
//! `work` counts what operations cost;
//! `parse`, `scan` and `grammar` read, `print` writes; `encode` and `digest` hash; `equal` compares; `deep` walks what
//! nests too deep for recursion; `drop_queue` drops large values in steps; `pointer`, `labels` and `schema` stand on all of these.
//!
//! [encoding]: https://github.com/authority-kernel/authority-kernel/blob/main/docs/decisions/0002-canonical-encoding.md

extern crate alloc;

mod array;
mod deep;
mod digest;
mod drop_queue;
mod encode;
mod encoder;
mod equal;
mod grammar;
mod index;
mod labels;
mod limits;
mod memo;
mod names;
mod number;
mod object;
mod parse;
mod pointer;
mod print;
mod scan;
mod schema;
mod text;
mod tree;
mod value;
mod work;

pub use array::{Array, Items};
pub use digest::{Digest, DigestError, sha256};
pub use drop_queue::DropQueue;
pub use encoder::{ArrayEncoder, Encoded, ObjectEncoder};
pub use labels::{Integrity, LABEL_BYTES_MAX, Labels, LabelsError};
pub use limits::{BYTES_MAX, DEPTH_MAX, Limits, MEMBERS_MAX, VALUES_MAX};
pub use number::Number;
pub use object::{Members, Object, ObjectBuilder};
pub use parse::{ParseError, ParseReason};
pub use pointer::{POINTER_TOKENS_MAX, Pointer, PointerError, array_index};
pub use schema::{CHECK_DEPTH_MAX, SCHEMA_DEPTH_MAX, Schema, SchemaError, SchemaReason, Unjudged, Violation};
pub use text::Text;
pub use value::Value;
pub use work::{OutOfWork, Work};

/// The README's code is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
