//! Caveats of every kind.

use ak_policy::budget::Dimension;
use ak_policy::capability::{AgentPattern, Caveat, TargetPattern};
use ak_policy::{Actions, Rate, TargetKind};
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn target_pattern(kind: TargetKind, text: &str) -> Caveat {
    Caveat::targets([TargetPattern::parse(kind, text).unwrap()])
}

/// Grants by name, which make patterns of all kinds.
const GRANTS: [(&str, &str, &str); 12] = [
    ("fs", "*", "*"),
    ("fs", "/data/**", "read"),
    ("http", "*", "GET"),
    ("http", "https://a.test:*/x/**", "*"),
    ("http", "https://a.test/x?q=*", "GET"),
    ("net", "*", "*"),
    ("net", "dns:*.a.test:443", "*"),
    ("net", "ip:[2001:db8::]/32:80-90", "connect"),
    ("infer", "gpt-*", "*"),
    ("spawn", "*", "*"),
    ("send_*@1.*", "*", "*"),
    ("a\\*b", "*", "execute"),
];

pub(crate) fn caveat() -> impl Strategy<Value = Caveat> {
    let granted = |part: usize| {
        select(GRANTS.to_vec())
            .prop_map(move |(name, on, method)| Caveat::grant(name, on, &[method]).unwrap()[part].clone())
    };
    prop_oneof![
        select(vec!["fs.read", "fs.*", "execute", "*"])
            .prop_map(|text| Caveat::Operations(Actions::parse(text).unwrap())),
        select(vec!["/a/**", "/a/b", "/*"]).prop_map(|text| target_pattern(TargetKind::Path, text)),
        select(vec!["tool_*", "tool_a@1"]).prop_map(|text| target_pattern(TargetKind::Tool, text)),
        granted(0),
        granted(1),
        select(vec!["*", "crew/*", "main"])
            .prop_map(|text| Caveat::Agent(AgentPattern::parse(text).unwrap())),
        (0u64..50).prop_map(Caveat::NotBefore),
        (0u64..100).prop_map(Caveat::ExpiresAt),
        (0u8..3).prop_map(|byte| Caveat::Run([byte; 16])),
        (0u32..4, 1u64..50).prop_map(|(count, per_us)| Caveat::Rate(Rate::new(count, per_us).unwrap())),
        (0u64..4).prop_map(Caveat::Uses),
        (select(Dimension::ALL.to_vec()), 0u64..50)
            .prop_map(|(dimension, amount)| Caveat::Budget(dimension, amount)),
    ]
}
