//! Tokens: parsing and verifying one, and checking whether it covers a request.

use ak_policy::capability::{AgentPattern, Authority, CapId, Caveat, Issuers, KeyPair, TokenKeys};
use ak_policy::{Query, Target};
use measure::{Race, Report, black_box};
use ring::hmac;

use crate::rivals::BiscuitToken;

pub const TOKEN: &str = "Parse and verify a token of one block, check its caveats";
pub const HMAC: &str = "HMAC-SHA256";
pub const RING: &str = "ring: the HMAC alone";
const SIGNATURE: &str = "Ed25519, the holder's proof included";

const RUN: [u8; 16] = [7; 16];
/// A time within the tokens' lifetime, in µs since the Unix epoch.
const NOW_US: u64 = 1_700_000_000_000_000;

pub fn tokens(report: &mut Report) {
    let (action, target) = Target::resolve("fs.read", "/srv/data/team5/project5/a").expect("a path");
    let query = Query { now_us: NOW_US, ..Query::new("crew/reader", action, &target) };
    let keys = TokenKeys::new([7; 32], &[(1, [1; 32])]).expect("one key");
    let token = keys.issue(CapId::from_u64(5), &authority()).expect("it fits");
    let covers = |token: &[u8]| keys.verify(token).is_ok_and(|token| token.authority.covers(&query, &RUN));
    assert!(covers(&token));

    let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
    let tag = hmac::sign(&key, &token);
    let race = Race::new()
        .cpu("ak-policy", || covers(black_box(&token)))
        .cpu(RING, || hmac::verify(&key, black_box(&token), tag.as_ref()));
    report.add(TOKEN, HMAC, race.run());

    let (issuer, holder) = (KeyPair::from_seed(&[2; 32]), KeyPair::from_seed(&[3; 32]));
    let issuers = Issuers::new([7; 32], [(1, issuer.public())]);
    let token =
        issuer.issue(1, &[7; 32], CapId::from_u64(5), &authority(), holder.public()).expect("it fits");
    let proof = holder.prove(&token, b"nonce");
    let covers = |token: &[u8]| {
        issuers.verify(token, b"nonce", &proof).is_ok_and(|token| token.authority.covers(&query, &RUN))
    };
    assert!(covers(&token));

    let biscuit = BiscuitToken::new();
    assert!(biscuit.verify());
    let race =
        Race::new().cpu("ak-policy", || covers(black_box(&token))).cpu("biscuit-auth", || biscuit.verify());
    report.add(TOKEN, SIGNATURE, race.run());
}

/// The authority to read below a directory, for one agent in one run until a time.
fn authority() -> Authority {
    let grant = Caveat::grant("fs", "/srv/data/team5/**", &["read"]).expect("a grant");
    let agent = AgentPattern::parse("crew/reader").expect("an agent");
    let more = [Caveat::Agent(agent), Caveat::ExpiresAt(NOW_US + 3_600_000_000), Caveat::Run(RUN)];
    grant.into_iter().chain(more).collect()
}
