#![no_std]
#![forbid(unsafe_code)]
//! JSON values with shared structure, pointers and canonical digests.

extern crate alloc;

mod array;
mod deep;
mod digest;
mod encode;
mod equal;
mod index;
mod labels;
mod limits;
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

pub use array::{Array, Items};
pub use digest::{Digest, DigestError, sha256};
pub use labels::{Integrity, LABEL_BYTES_MAX, Labels, LabelsError};
pub use limits::{BYTES_MAX, DEPTH_MAX, Limits, MEMBERS_MAX, VALUES_MAX};
pub use number::Number;
pub use object::{Members, Object};
pub use parse::{ParseError, ParseReason};
pub use pointer::{POINTER_TOKENS_MAX, Pointer, PointerError, array_index};
pub use schema::{CHECK_DEPTH_MAX, SCHEMA_DEPTH_MAX, Schema, SchemaError, SchemaReason, Violation};
pub use text::Text;
pub use value::Value;
