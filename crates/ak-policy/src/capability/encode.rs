//! The encoding of caveats as bytes. Every caveat has exactly one encoding; the decoder rejects any other.
//!
//! A caveat is `tag u8 ‖ length u16 ‖ body`, integers little-endian:
//!
//! | tag | body |
//! |---|---|
//! | 1 operations | `u32`, a bit for each in the order of the language |
//! | 2 targets | for each pattern, ascending: kind `u8`, length `u16`, the pattern in canonical form |
//! | 3 agent | the pattern in canonical form |
//! | 4 not before · 5 expires at | time in µs, `u64`; in tokens since the Unix epoch |
//! | 6 run | 16 bytes |
//! | 7 rate | count `u32`, period in µs `u64` |
//! | 8 uses | `u64` |
//! | 9 budget | amount `u64`, then the dimension's name |
//!
//! The caveats of one block are in strictly ascending order, so none occurs twice.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::caveat::{
    AgentPattern, Authority, CAVEAT_BYTES_MAX, CAVEATS_MAX, Caveat, TargetPattern, TargetPatterns,
};
use crate::action::{Actions, TargetKind};
use crate::budget::Dimension;
use crate::counters::rate::Rate;
use crate::pattern::PATTERN_BYTES_MAX;

const KINDS: [TargetKind; 10] = [
    TargetKind::Path,
    TargetKind::Url,
    TargetKind::Host,
    TargetKind::Endpoint,
    TargetKind::Tool,
    TargetKind::Model,
    TargetKind::Agent,
    TargetKind::Heap,
    TargetKind::Type,
    TargetKind::Audit,
];

/// Writes the caveats of one block.
pub(super) fn write(authority: &Authority, out: &mut Vec<u8>) {
    authority.caveats().for_each(|caveat| write_caveat(caveat, out));
}

pub(super) fn to_hex(caveat: &Caveat) -> String {
    let mut bytes = Vec::new();
    write_caveat(caveat, &mut bytes);
    hex::encode(bytes)
}

fn write_caveat(caveat: &Caveat, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    let tag = match caveat {
        Caveat::Operations(actions) => {
            body.extend_from_slice(&actions.to_bits().to_le_bytes());
            1
        }
        Caveat::Targets(TargetPatterns(patterns)) => {
            for target in patterns {
                body.extend(
                    (0u8..).zip(KINDS).find(|(_, kind)| *kind == target.kind).map(|(number, _)| number),
                );
                write_sized(target.to_string().as_bytes(), &mut body);
            }
            2
        }
        Caveat::Agent(agent) => {
            body.extend_from_slice(agent.to_string().as_bytes());
            3
        }
        Caveat::NotBefore(time_us) => {
            body.extend_from_slice(&time_us.to_le_bytes());
            4
        }
        Caveat::ExpiresAt(time_us) => {
            body.extend_from_slice(&time_us.to_le_bytes());
            5
        }
        Caveat::Run(run) => {
            body.extend_from_slice(run);
            6
        }
        Caveat::Rate(rate) => {
            body.extend_from_slice(&rate.count().to_le_bytes());
            body.extend_from_slice(&rate.per_us().to_le_bytes());
            7
        }
        Caveat::Uses(uses) => {
            body.extend_from_slice(&uses.to_le_bytes());
            8
        }
        Caveat::Budget(dimension, amount) => {
            body.extend_from_slice(&amount.to_le_bytes());
            body.extend_from_slice(dimension.as_str().as_bytes());
            9
        }
    };
    out.push(tag);
    write_sized(&body, out);
}

/// Reads the text that [`to_hex`] returned; `None` for any other text.
pub(super) fn from_hex(text: &str) -> Option<Caveat> {
    let authority = read(&hex::decode(text).ok()?)?;
    let mut caveats = authority.caveats();
    caveats.next().filter(|_| caveats.len() == 0).cloned()
}

/// Whether a caveat fits into its encoding; only a list of targets can be too long.
pub(super) fn has_room(caveat: &Caveat) -> bool {
    let Caveat::Targets(TargetPatterns(patterns)) = caveat else { return true };
    let few = patterns.len() * (PATTERN_BYTES_MAX + 3) <= CAVEAT_BYTES_MAX;
    few || patterns.iter().map(|target| target.to_string().len() + 3).sum::<usize>() <= CAVEAT_BYTES_MAX
}

/// Writes `length u16 ‖ bytes`. A text too long for the length field is written in full: it makes the token longer
/// than allowed, so the token is rejected.
fn write_sized(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Splits off `length u16 ‖ bytes`.
fn split_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_le_bytes(*length).into())
}

impl Authority {
    /// The caveats in the encoding of one block.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(self, &mut bytes);
        bytes
    }

    /// Reads the bytes that [`to_bytes`](Self::to_bytes) returned, of at most [`CAVEATS_MAX`] caveats; `None` for
    /// any others.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        read(bytes)
    }
}

/// Reads the caveats of one block; `None` for bytes that [`write`] does not write.
pub(super) fn read(mut bytes: &[u8]) -> Option<Authority> {
    let mut caveats = Vec::with_capacity(8);
    while let Some((tag, rest)) = bytes.split_first() {
        let (body, rest) = split_sized(rest)?;
        let caveat = read_caveat(*tag, body)?;
        if caveats.last().is_some_and(|last| *last >= caveat) || caveats.len() == CAVEATS_MAX {
            return None;
        }
        caveats.push(caveat);
        bytes = rest;
    }
    Some(Authority::ascending(caveats))
}

fn read_caveat(tag: u8, body: &[u8]) -> Option<Caveat> {
    let number = || Some(u64::from_le_bytes(body.try_into().ok()?));
    let text = |bytes| core::str::from_utf8(bytes).ok();
    Some(match tag {
        1 => Caveat::Operations(Actions::from_bits(u32::from_le_bytes(body.try_into().ok()?))?),
        2 => Caveat::Targets(TargetPatterns(read_patterns(body)?)),
        3 => {
            let text = text(body)?;
            Caveat::Agent(AgentPattern::parse(text).ok().filter(|agent| is_written(agent, text))?)
        }
        4 => Caveat::NotBefore(number()?),
        5 => Caveat::ExpiresAt(number()?),
        6 => Caveat::Run(body.try_into().ok()?),
        7 => {
            let (count, per_us) = body.split_first_chunk::<4>()?;
            let per_us = u64::from_le_bytes(per_us.try_into().ok()?);
            Caveat::Rate(Rate::new(u32::from_le_bytes(*count), per_us)?)
        }
        8 => Caveat::Uses(number()?),
        9 => {
            let (amount, name) = body.split_first_chunk::<8>()?;
            Caveat::Budget(Dimension::from_name(text(name)?)?, u64::from_le_bytes(*amount))
        }
        _ => return None,
    })
}

fn read_patterns(mut bytes: &[u8]) -> Option<Vec<TargetPattern>> {
    let mut patterns: Vec<TargetPattern> = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let (text, rest) = split_sized(rest)?;
        let text = core::str::from_utf8(text).ok()?;
        let pattern = TargetPattern::parse(*KINDS.get(usize::from(*kind))?, text).ok()?;
        if !is_written(&pattern, text) || patterns.last().is_some_and(|last| *last >= pattern) {
            return None;
        }
        patterns.push(pattern);
        bytes = rest;
    }
    Some(patterns)
}

/// Whether a text is exactly what the value is displayed as; other spellings are rejected.
fn is_written(value: &impl fmt::Display, text: &str) -> bool {
    struct Rest<'a>(&'a str);
    impl fmt::Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}
