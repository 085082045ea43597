//! Selects values by JSON Pointer, with `*` for every item or member.

use alloc::boxed::Box;
use alloc::string::{String, ToString};

use ak_json::{Pointer, PointerError, Text, Value, array_index};

use crate::pattern::Meter;

/// The most tokens of a selector.
pub(crate) const TOKENS_MAX: usize = 32;

/// One token of a selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Token {
    /// A member's name, or an item's index.
    Name(Text),
    /// `*`: every member or item.
    Each,
}

/// A JSON Pointer (RFC 6901) in which the token `*` stands for every member or item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selector(Box<[Token]>);

/// Why a text is not a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectorError {
    #[error(transparent)]
    Pointer(#[from] PointerError),
    #[error("pointer has more than {TOKENS_MAX} tokens")]
    Tokens,
}

/// The place of a value in the arguments: a linked list on the stack of the walk.
pub(crate) struct ArgumentPath<'a> {
    token: Option<(&'a ArgumentPath<'a>, Key<'a>)>,
}

#[derive(Clone, Copy)]
enum Key<'a> {
    Member(&'a str),
    Item(usize),
}

/// What a selector finds.
pub(crate) enum Found<'v, 'p> {
    /// A selected value.
    Value(&'v Value, &'p ArgumentPath<'p>),
    /// There is no value where the selector points.
    Missing(&'p ArgumentPath<'p>),
    /// A value on the way is not a container that has such a member or item.
    Blocked(&'p ArgumentPath<'p>),
}

/// Receives what a selector finds; returning `false` ends the walk.
pub(crate) type Visit<'f> = dyn FnMut(Found<'_, '_>) -> bool + 'f;

impl Selector {
    pub(crate) fn parse(text: &str) -> Result<Self, SelectorError> {
        let pointer = Pointer::parse(text)?;
        if pointer.tokens().len() > TOKENS_MAX {
            return Err(SelectorError::Tokens);
        }
        let token = |token: &Text| if token == "*" { Token::Each } else { Token::Name(token.clone()) };
        Ok(Self(pointer.tokens().iter().map(token).collect()))
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.0
    }

    /// Visits every selected value, and every place at which the way to a value ends early. Stops when the meter is
    /// spent.
    pub(crate) fn select(&self, root: Option<&Value>, meter: &Meter, visit: &mut Visit<'_>) {
        match root {
            Some(root) => walk(&self.0, root, &ArgumentPath { token: None }, meter, visit),
            None => visit(Found::Missing(&ArgumentPath { token: None })),
        };
    }

    /// The selector as a pointer, `*` included.
    pub(crate) fn literal_pointer(&self) -> Pointer {
        let name = |token: &Token| match token {
            Token::Name(name) => name.clone(),
            Token::Each => Text::from("*"),
        };
        self.0.iter().map(name).collect()
    }

    pub(crate) fn to_text(&self) -> String {
        self.literal_pointer().to_string()
    }
}

fn walk(
    tokens: &[Token],
    value: &Value,
    place: &ArgumentPath<'_>,
    meter: &Meter,
    visit: &mut Visit<'_>,
) -> bool {
    if !meter.take(1) {
        return false;
    }
    let Some((token, behind)) = tokens.split_first() else { return visit(Found::Value(value, place)) };
    match (token, value) {
        (Token::Name(name), Value::Object(object)) => {
            let here = place.step(Key::Member(name));
            match object.get(name) {
                Some(member) => walk(behind, member, &here, meter, visit),
                None => visit(Found::Missing(&here)),
            }
        }
        (Token::Name(name), Value::Array(array)) => match array_index(name) {
            Some(index) => {
                let here = place.step(Key::Item(index));
                match array.get(index) {
                    Some(item) => walk(behind, item, &here, meter, visit),
                    None => visit(Found::Missing(&here)),
                }
            }
            None => visit(Found::Blocked(place)),
        },
        (Token::Each, Value::Object(object)) => object
            .iter()
            .all(|(name, member)| walk(behind, member, &place.step(Key::Member(name)), meter, visit)),
        (Token::Each, Value::Array(array)) => array
            .iter()
            .enumerate()
            .all(|(index, item)| walk(behind, item, &place.step(Key::Item(index)), meter, visit)),
        (_, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            visit(Found::Blocked(place))
        }
    }
}

impl<'a> ArgumentPath<'a> {
    fn step(&'a self, key: Key<'a>) -> ArgumentPath<'a> {
        ArgumentPath { token: Some((self, key)) }
    }

    /// The place as a pointer.
    pub(crate) fn pointer(&self) -> Pointer {
        let Some((parent, key)) = &self.token else { return Pointer::root() };
        let mut pointer = parent.pointer();
        match key {
            Key::Member(name) => pointer.push(*name),
            Key::Item(index) => pointer.push(index.to_string()),
        }
        pointer
    }
}
