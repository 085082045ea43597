//! Capabilities only get less, and tokens cannot be bent.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod caveats;

use ak_policy::budget::Dimension;
use ak_policy::capability::{
    Authority, BLOCKS_MAX, CAVEATS_MAX, CapDenial, CapId, CapTable, Caveat, DEPTH_MAX, DeriveError, Issuers,
    KeyPair, TOKEN_BYTES_MAX, TokenError, TokenKeys, attenuate,
};
use ak_policy::{Action, Elapsed, Query, Target, TargetKind};
use caveats::{caveat, target_pattern};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const RUN: [u8; 16] = [1; 16];
const CONTEXT: [u8; 32] = [7; 32];

fn authority() -> impl Strategy<Value = Authority> {
    vec(caveat(), 0..5).prop_map(Authority::from_iter)
}

#[derive(Clone, Debug)]
struct Ask {
    agent: &'static str,
    action: Action,
    target: Target,
    now_us: u64,
}

impl Ask {
    fn query(&self) -> Query<'_> {
        Query {
            now_us: self.now_us,
            elapsed: Elapsed::exactly(self.now_us),
            ..Query::new(self.agent, self.action, &self.target)
        }
    }
}

fn ask() -> impl Strategy<Value = Ask> {
    let doing = select(vec![
        (Action::FsRead, Target::path("/a/b").unwrap()),
        (Action::FsWrite, Target::path("/c").unwrap()),
        (Action::Execute, Target::tool("tool_a@1").unwrap()),
        (Action::Execute, Target::tool("tool_b").unwrap()),
    ]);
    (select(vec!["main", "crew/a"]), doing, 0u64..100).prop_map(|(agent, (action, target), now_us)| Ask {
        agent,
        action,
        target,
        now_us,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn intersection_is_commutative_associative_idempotent(a in authority(), b in authority(), c in authority()) {
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.intersection(&b).intersection(&c), a.intersection(&b.intersection(&c)));
        prop_assert_eq!(a.intersection(&a), a.clone());
        prop_assert_eq!(a.intersection(&Authority::everything()), a);
    }

    #[test]
    fn a_meet_covers_what_both_cover(a in authority(), b in authority(), ask in ask()) {
        let query = ask.query();
        prop_assert_eq!(a.intersection(&b).covers(&query, &RUN), a.covers(&query, &RUN) && b.covers(&query, &RUN));
    }

    #[test]
    fn child_never_exceeds_parent(chain in vec(vec(caveat(), 0..3), 1..5), asks in vec((ask(), 0u64..20), 1..12)) {
        let mut table = CapTable::default();
        let mut line = vec![table.root().unwrap()];
        for caveats in &chain {
            let child = table.derive(*line.last().unwrap(), caveats.iter().cloned(), Elapsed::default()).unwrap();
            line.push(child);
        }
        let child = *line.last().unwrap();
        for (ask, amount) in asks {
            let (query, amounts) = (ask.query(), [(Dimension::Tokens, amount)]);
            let allowed = table.check(child, &query, &RUN, &amounts);
            for parent in &line {
                prop_assert!(allowed.is_err() || table.check(*parent, &query, &RUN, &amounts).is_ok());
                prop_assert!(allowed.is_err() || table.authority(*parent).unwrap().covers(&query, &RUN));
            }
            let digest = table.digest();
            match table.spend(child, &query, &RUN, &amounts) {
                Ok(reservation) => table.settle(reservation, &amounts),
                Err(denial) => {
                    prop_assert_eq!(Err(denial), allowed);
                    prop_assert_eq!(table.digest(), digest, "a denial takes nothing");
                }
            }
        }
    }

    #[test]
    fn no_use_after_revoke(steps in vec((any::<Index>(), 0u8..4), 1..60)) {
        let mut table = CapTable::default();
        let target = Target::tool("x").unwrap();
        let query = Query::new("main", Action::Execute, &target);
        // The obvious table: every capability ever made, its parent, and whether it lives.
        let mut made: Vec<(CapId, Option<usize>, bool)> = vec![(table.root().unwrap(), None, true)];
        for (at, what) in steps {
            let at = at.index(made.len());
            if what == 0 {
                let doomed: Vec<usize> = (0..made.len())
                    .filter(|other| std::iter::successors(Some(*other), |&at| made[at].1).any(|above| above == at))
                    .collect();
                let living = doomed.iter().filter(|other| made[**other].2).count();
                prop_assert_eq!(table.revoke(made[at].0), if made[at].2 { living } else { 0 });
                if made[at].2 {
                    doomed.iter().for_each(|other| made[*other].2 = false);
                }
            } else {
                match table.derive(made[at].0, [], Elapsed::default()) {
                    Ok(child) => {
                        prop_assert!(made[at].2);
                        prop_assert!(made.iter().all(|(other, ..)| *other != child), "an id is never used again");
                        made.push((child, Some(at), true));
                    }
                    Err(DeriveError::Revoked) => prop_assert!(!made[at].2),
                    Err(error) => prop_assert_eq!(error, DeriveError::Depth),
                }
            }
            for (id, _, lives) in &made {
                prop_assert_eq!(table.check(*id, &query, &RUN, &[]).is_ok(), *lives);
                prop_assert_eq!(table.contains(*id), *lives);
            }
            prop_assert_eq!(table.len(), made.iter().filter(|(.., lives)| *lives).count());
        }
    }

    #[test]
    fn an_authority_survives_its_bytes(authority in authority(), more in any::<u8>()) {
        let bytes = authority.to_bytes();
        prop_assert_eq!(Authority::from_bytes(&bytes), Some(authority));
        prop_assert_eq!(Authority::from_bytes(&[bytes.as_slice(), &[more]].concat()), None);
    }

    #[test]
    fn a_token_says_what_went_into_it(first in authority(), more in vec(authority(), 0..4)) {
        let keys = TokenKeys::new(CONTEXT, &[(1, [1; 32])]).unwrap();
        let mut token = keys.issue(CapId::from_u64(5), &first).unwrap();
        let mut whole = first;
        for authority in &more {
            token = attenuate(&token, authority).unwrap();
            whole = whole.intersection(authority);
        }
        let verified = keys.verify(&token).unwrap();
        prop_assert_eq!((verified.capability, verified.authority), (CapId::from_u64(5), whole));
    }

    #[test]
    fn a_bent_token_is_refused(first in authority(), second in authority(), at in any::<Index>(), bit in 0u8..8, cut in any::<Index>()) {
        let keys = TokenKeys::new(CONTEXT, &[(1, [1; 32])]).unwrap();
        let token = attenuate(&keys.issue(CapId::from_u64(5), &first).unwrap(), &second).unwrap();
        let mut bent = token.clone();
        bent[at.index(token.len())] ^= 1 << bit;
        prop_assert!(keys.verify(&bent).is_err());
        prop_assert!(keys.verify(&token[..cut.index(token.len())]).is_err());
        prop_assert!(keys.verify(&[token.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let keys = TokenKeys::new(CONTEXT, &[(1, [1; 32])]).unwrap();
        for magic in [b"AKH1".as_slice(), b"AKE1", b""] {
            let token = [magic, &1u32.to_le_bytes(), &bytes].concat();
            prop_assert!(keys.verify(&token).is_err());
            let _ = attenuate(&token, &Authority::everything());
            let holder = KeyPair::from_seed(&[2; 32]);
            let issuers = Issuers::new(CONTEXT, [(1, holder.public())]);
            prop_assert!(issuers.verify(&token, b"", &holder.prove(&token, b"")).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_bent_signed_token_is_refused(first in authority(), second in authority(), at in any::<Index>(), bit in 0u8..8) {
        let (issuer, a, b) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]), KeyPair::from_seed(&[3; 32]));
        let issuers = Issuers::new(CONTEXT, [(1, issuer.public())]);
        let token = issuer.issue(1, &CONTEXT, CapId::from_u64(5), &first, a.public()).unwrap();
        let token = a.attenuate(&token, &second, b.public()).unwrap();
        let verified = issuers.verify(&token, b"nonce", &b.prove(&token, b"nonce")).unwrap();
        prop_assert_eq!(verified.authority, first.intersection(&second));
        let mut bent = token.clone();
        bent[at.index(token.len())] ^= 1 << bit;
        prop_assert!(issuers.verify(&bent, b"nonce", &b.prove(&bent, b"nonce")).is_err());
    }
}

#[test]
fn what_is_counted_is_counted_at_the_ancestor() {
    let mut table = CapTable::default();
    let root = table.root().unwrap();
    let shared = table
        .derive(root, [Caveat::Uses(2), Caveat::Budget(Dimension::Tokens, 10)], Elapsed::default())
        .unwrap();
    let (a, b) = (
        table.derive(shared, [], Elapsed::default()).unwrap(),
        table.derive(shared, [], Elapsed::default()).unwrap(),
    );
    let target = Target::tool("x").unwrap();
    let query = Query::new("main", Action::Execute, &target);
    let first = table.spend(a, &query, &RUN, &[(Dimension::Tokens, 8), (Dimension::Cpu, 1_000)]).unwrap();
    let denial = table.spend(b, &query, &RUN, &[(Dimension::Tokens, 3)]).unwrap_err();
    assert!(matches!(denial, CapDenial::Budget(exceeded) if exceeded.dimension == Dimension::Tokens));
    table.settle(first, &[(Dimension::Tokens, 2), (Dimension::Cpu, 5)]);
    let second = table.spend(b, &query, &RUN, &[(Dimension::Tokens, 8)]).unwrap();
    table.release(second);
    assert_eq!(table.spend(a, &query, &RUN, &[]).unwrap_err(), CapDenial::UsedUp);
    assert!(table.check(root, &query, &RUN, &[]).is_ok());
}

/// What a token says by itself is read on the wall clock, what stands in the table on what has passed: what ends
/// at its upper bound, what begins at its lower.
#[test]
fn times_are_on_the_clock_of_where_they_stand() {
    let mut table = CapTable::default();
    let root = table.root().unwrap();
    let id =
        table.derive(root, [Caveat::NotBefore(100), Caveat::ExpiresAt(200)], Elapsed::default()).unwrap();
    let target = Target::tool("x").unwrap();
    let check = |now_us, low_us, high_us, offline, in_table: Result<(), CapDenial>| {
        let elapsed = Elapsed { low_us, high_us };
        let query = Query { now_us, elapsed, ..Query::new("main", Action::Execute, &target) };
        let authority = table.authority(id).unwrap();
        assert_eq!(authority.covers(&query, &RUN), offline, "{now_us}");
        assert_eq!(authority.covers_elapsed(&query, &RUN), in_table.is_ok(), "{elapsed:?}");
        assert_eq!(table.check(id, &query, &RUN, &[]), in_table, "{elapsed:?}");
    };
    check(150, 0, 0, true, Err(CapDenial::TooEarly));
    check(0, 100, 199, false, Ok(()));
    check(99, 99, 150, false, Err(CapDenial::TooEarly));
    check(199, 150, 200, true, Err(CapDenial::Expired));
    check(200, 200, 200, false, Err(CapDenial::Expired));
}

#[test]
fn a_rate_of_a_capability_fills_by_the_lower_bound() {
    let mut table = CapTable::default();
    let root = table.root().unwrap();
    let rate = ak_policy::Rate::new(1, 1_000).unwrap();
    let id = table.derive(root, [Caveat::Rate(rate)], Elapsed::default()).unwrap();
    let target = Target::tool("x").unwrap();
    let query = |low_us, high_us| Query {
        elapsed: Elapsed { low_us, high_us },
        ..Query::new("main", Action::Execute, &target)
    };
    drop(table.spend(id, &query(0, 0), &RUN, &[]).unwrap());
    let denial = table.check(id, &query(10, 1_000_000), &RUN, &[]).unwrap_err();
    assert_eq!(denial, CapDenial::Rate { retry_after_us: 990 });
    assert!(table.check(id, &query(1_000, 1_000), &RUN, &[]).is_ok());
}

#[test]
fn a_grant_by_name_is_its_two_caveats() {
    let check = |name, resource, methods: &[&str], operation, target, expected: bool| {
        let authority: Authority = Caveat::grant(name, resource, methods).unwrap().into_iter().collect();
        let (action, target) = Target::resolve(operation, target).unwrap();
        let covers = authority.covers(&Query::new("main", action, &target), &RUN);
        assert_eq!(covers, expected, "{name} {resource} on {operation} {target}");
    };
    check("send_email", "*", &[], "execute", "send_email", true);
    check("send_email", "*", &["execute"], "execute", "send_mail", false);
    check("fs", "/data/**", &["read"], "fs.list", "/data/x", true);
    check("fs", "/data/**", &["read"], "fs.write", "/data/x", false);
    check("fs", "*", &["*"], "fs.delete", "/x", true);
    check("http", "https://a.test/**", &["GET"], "http.get", "https://a.test/x", true);
    check("http", "https://a.test/**", &["GET"], "http.post", "https://a.test/x", false);
    check("net", "dns:a.test:443", &["*"], "connect", "dns:a.test:443", true);
    check("net", "dns:a.test:443", &["*"], "dns", "a.test", true);
    check("net", "dns:a.test:443", &["*"], "listen", "ip:127.0.0.1:443", false);
    check("infer", "gpt-*", &[], "infer", "gpt-4", true);
    check("spawn", "*", &[], "spawn", "worker", true);
    for (name, resource, methods) in
        [("fs", "*", vec![]), ("fs", "x", vec!["read"]), ("x", "/y", vec![]), ("x", "*", vec!["run"])]
    {
        assert!(Caveat::grant(name, resource, &methods).is_err(), "{name}");
    }
}

#[test]
fn depth_and_caveats_are_bounded() {
    let mut table = CapTable::default();
    let mut id = table.root().unwrap();
    for _ in 0..DEPTH_MAX {
        id = table.derive(id, [], Elapsed::default()).unwrap();
    }
    assert_eq!(table.derive(id, [], Elapsed::default()), Err(DeriveError::Depth));
    let root = table.root().unwrap();
    let many = (0..=CAVEATS_MAX as u64).map(Caveat::Uses);
    assert_eq!(table.derive(root, many, Elapsed::default()), Err(DeriveError::Caveats));
    assert_eq!(table.derive(CapId::from_u64(99), [], Elapsed::default()), Err(DeriveError::Revoked));
}

#[test]
fn a_token_is_bound_to_key_and_context() {
    let keys = |context, id, key| TokenKeys::new(context, &[(id, key)]).unwrap();
    let token = keys(CONTEXT, 1, [1; 32]).issue(CapId::from_u64(5), &Authority::everything()).unwrap();
    assert!(keys(CONTEXT, 1, [1; 32]).verify(&token).is_ok());
    assert_eq!(keys([8; 32], 1, [1; 32]).verify(&token), Err(TokenError::NotAuthentic));
    assert_eq!(keys(CONTEXT, 1, [2; 32]).verify(&token), Err(TokenError::NotAuthentic));
    assert_eq!(keys(CONTEXT, 2, [1; 32]).verify(&token), Err(TokenError::UnknownKey));
    // Old keys go on verifying while the new one makes tokens.
    let rotated = TokenKeys::new(CONTEXT, &[(1, [1; 32]), (2, [2; 32])]).unwrap();
    assert!(rotated.verify(&token).is_ok());
    let newer = rotated.issue(CapId::from_u64(5), &Authority::everything()).unwrap();
    assert_eq!(keys(CONTEXT, 1, [1; 32]).verify(&newer), Err(TokenError::UnknownKey));
    assert!(TokenKeys::new(CONTEXT, &[]).is_none());
    assert!(TokenKeys::new(CONTEXT, &[(1, [1; 32]), (1, [2; 32])]).is_none());
}

#[test]
fn length_and_blocks_are_bounded() {
    let keys = TokenKeys::new(CONTEXT, &[(1, [1; 32])]).unwrap();
    assert_eq!(keys.verify(&vec![0; TOKEN_BYTES_MAX + 1]), Err(TokenError::TooLong));
    let long = [target_pattern(TargetKind::Path, &format!("/{}", "a".repeat(4_000)))].into_iter().collect();
    assert!(keys.issue(CapId::from_u64(1), &long).is_ok());
    let longer = [target_pattern(TargetKind::Path, &format!("/{}", "a".repeat(4_090)))].into_iter().collect();
    assert_eq!(keys.issue(CapId::from_u64(1), &longer), Err(TokenError::Full));
    let mut token = keys.issue(CapId::from_u64(1), &Authority::everything()).unwrap();
    for _ in 1..BLOCKS_MAX {
        token = attenuate(&token, &Authority::everything()).unwrap();
    }
    assert!(keys.verify(&token).is_ok());
    assert_eq!(attenuate(&token, &Authority::everything()), Err(TokenError::Full));
}

/// A macaroon may carry a caveat that somebody else discharges, and libraries confused whose discharge was whose.
/// Here an unknown caveat is refused, whoever made it.
#[test]
fn macaroon_discharge_confusion() {
    let refused = |caveats: &[u8]| {
        let keys = TokenKeys::new(CONTEXT, &[(1, [1; 32])]).unwrap();
        let token = forged(&keys, caveats);
        assert_eq!(keys.verify(&token), Err(TokenError::Malformed), "{caveats:?}");
    };
    refused(&[10, 0, 0]);
    refused(&[0, 0, 0]);
    // The same caveat twice, and two in the wrong order.
    let uses = [8, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    refused(&[uses, uses].concat());
    let more = [8, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    refused(&[more, uses].concat());
    // A trailing byte, a length beyond the end, another spelling of a pattern.
    refused(&[uses.as_slice(), &[0]].concat());
    refused(&[8, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    refused(&[&[2, 13, 0, 2, 10, 0], b"A.com.test".as_slice()].concat());
    refused(&[&[2, 10, 0, 4, 7, 0], b"tool:\\x".as_slice()].concat());
    refused(&[1, 4, 0, 0, 0, 0, 0x80]);
}

/// A token whose last block is written by hand: `attenuate` needs no key, so anybody can make one.
fn forged(keys: &TokenKeys, caveats: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac};
    let token = keys.issue(CapId::from_u64(1), &Authority::everything()).unwrap();
    let (body, tag) = token.split_at(token.len() - 32);
    let block = [&u16::try_from(caveats.len()).unwrap().to_le_bytes(), caveats].concat();
    let tag = Hmac::<sha2::Sha256>::new_from_slice(tag).unwrap().chain_update(&block).finalize().into_bytes();
    [body, &block, &tag].concat()
}

/// JWT libraries took the algorithm from the token, `none` among them. Here the first bytes name the one form there is.
#[test]
fn jwt_alg_none() {
    let keys = TokenKeys::new(CONTEXT, &[(1, [1; 32])]).unwrap();
    let token = keys.issue(CapId::from_u64(5), &Authority::everything()).unwrap();
    for magic in [b"AKE1", b"AKH0", b"AKN1", b"none"] {
        let mut other = token.clone();
        other[..4].copy_from_slice(magic);
        assert_eq!(keys.verify(&other), Err(TokenError::Malformed));
    }
    let mut unsigned = token.clone();
    unsigned.truncate(token.len() - 32);
    assert!(keys.verify(&unsigned).is_err());
    unsigned.extend_from_slice(&[0; 32]);
    assert_eq!(keys.verify(&unsigned), Err(TokenError::NotAuthentic));
}

/// In biscuit a third-party block could be moved from the token it was made for into another.
/// Here a block's signature covers the signature before it.
#[test]
fn biscuit_2024_third_party_block_splice() {
    let (issuer, a, b) =
        (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]), KeyPair::from_seed(&[3; 32]));
    let issuers = Issuers::new(CONTEXT, [(1, issuer.public())]);
    let issue =
        |cap| issuer.issue(1, &CONTEXT, CapId::from_u64(cap), &Authority::everything(), a.public()).unwrap();
    let (one, two) = (issue(1), issue(2));
    let narrowed = a.attenuate(&one, &Authority::everything(), b.public()).unwrap();
    let spliced = [two.as_slice(), &narrowed[one.len()..]].concat();
    assert!(issuers.verify(&narrowed, b"n", &b.prove(&narrowed, b"n")).is_ok());
    assert_eq!(issuers.verify(&spliced, b"n", &b.prove(&spliced, b"n")), Err(TokenError::NotAuthentic));
}

#[test]
fn only_the_holder_can_use_or_narrow_a_signed_token() {
    let (issuer, a, b) =
        (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]), KeyPair::from_seed(&[3; 32]));
    let issuers = Issuers::new(CONTEXT, [(1, issuer.public())]);
    let token = issuer.issue(1, &CONTEXT, CapId::from_u64(1), &Authority::everything(), a.public()).unwrap();
    let proof = a.prove(&token, b"nonce");
    assert!(issuers.verify(&token, b"nonce", &proof).is_ok());
    assert_eq!(issuers.verify(&token, b"other", &proof), Err(TokenError::NotAuthentic));
    assert_eq!(issuers.verify(&token, b"nonce", &b.prove(&token, b"nonce")), Err(TokenError::NotAuthentic));
    assert_eq!(b.attenuate(&token, &Authority::everything(), b.public()), Err(TokenError::NotAuthentic));
    // Who was handed a narrowed token cannot take the narrowing away: the wider one has another holder.
    let narrowed = a.attenuate(&token, &[Caveat::Uses(1)].into_iter().collect(), b.public()).unwrap();
    let wider = &narrowed[..token.len()];
    assert_eq!(issuers.verify(wider, b"n", &b.prove(wider, b"n")), Err(TokenError::NotAuthentic));
    // Another log's token.
    let elsewhere = Issuers::new([8; 32], [(1, issuer.public())]);
    assert_eq!(elsewhere.verify(&token, b"nonce", &proof), Err(TokenError::NotAuthentic));
}
