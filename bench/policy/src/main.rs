//! Compares `ak-policy` with other engines and libraries: decisions, tokens, canonical URLs.

mod ours;
mod rivals;
mod scenario;
mod tokens;

use measure::{Race, Report, black_box};
use ours::Ours;
use rivals::{Biscuit, Casbin, Cedar, Form, Hand, HandTen, Rego};
use scenario::{Answer, Decides, calls, check, requests, rules};

const DECISION: &str = "One decision, by the number of rules";
const ARGUMENTS: &str = "One decision with ten conditions on arguments";
const URL: &str = "Canonicalise a URL";

fn main() {
    let mut report = Report::new();
    for count in [10, 50, 1000] {
        decisions(&mut report, count);
    }
    arguments(&mut report);
    tokens::tokens(&mut report);
    urls(&mut report);
    targets(&mut report);
    report.print();
}

/// Times decisions: every contender decides on the same requests, in turn.
fn decisions(report: &mut Report, count: usize) {
    let (rules, requests) = (rules(count), requests());
    let contenders: Vec<(&str, Box<dyn Decides>)> = vec![
        ("ak-policy", Box::new(Ours::new(&rules, &requests))),
        ("by hand: hash maps and a path trie", Box::new(Hand::new(&rules, &requests))),
        ("regorus, indexed data", Box::new(Rego::new(&Form::Indexed, &rules, &requests))),
        (
            "regorus, indexed data, compiled",
            Box::new(Rego::new(&Form::Indexed, &rules, &requests).compiled()),
        ),
        ("regorus, one rule each", Box::new(Rego::new(&Form::Rules, &rules, &requests))),
        ("biscuit-auth", Box::new(Biscuit::new(&rules, &requests))),
        ("casbin", Box::new(Casbin::new(&rules, &requests))),
        ("cedar-policy, pre-parsed, unsliced", Box::new(Cedar::new(&rules, &requests))),
    ];
    let mut race = Race::new();
    for (name, mut contender) in contenders {
        check(name, &mut *contender, &requests);
        race = race.cpu(name, in_turn(contender, requests.len()));
    }
    report.add(DECISION, &count.to_string(), race.run());
}

/// Returns a function that makes one decision, on the requests in turn.
fn in_turn<'a>(mut contender: Box<dyn Decides + 'a>, requests: usize) -> impl FnMut() -> Answer + 'a {
    let mut at = 0;
    move || {
        at = if at + 1 < requests { at + 1 } else { 0 };
        contender.decide(black_box(at))
    }
}

fn arguments(report: &mut Report) {
    let calls = calls();
    let contenders: Vec<(&str, Box<dyn Decides>)> = vec![
        ("ak-policy", Box::new(Ours::ten(&calls))),
        ("by hand", Box::new(HandTen::new(&calls))),
        ("regorus", Box::new(Rego::ten(&calls))),
        ("cedar-policy", Box::new(Cedar::ten(&calls))),
    ];
    let mut race = Race::new();
    for (name, mut contender) in contenders {
        for (at, (_, expected)) in calls.iter().enumerate() {
            assert_eq!(contender.decide(at), *expected, "{name}: call {at}");
        }
        race = race.cpu(name, in_turn(contender, calls.len()));
    }
    report.add(ARGUMENTS, "10", race.run());
}

fn urls(report: &mut Report) {
    let cases = [
        ("canonical already", "https://api.github.com/repos/rust-lang/rust/issues?state=open", None),
        (
            "in need of it",
            "HTTPS://API.GitHub.com:443/repos/./a/../rust%2dlang/caf\u{e9}?q=a%20b#top",
            Some("https://api.github.com/repos/rust-lang/caf%C3%A9?q=a%20b"),
        ),
    ];
    for (case, text, canonical) in cases {
        let target = ak_policy::Target::url(text).expect("a URL");
        assert_eq!(target.to_string(), canonical.unwrap_or(text));
        assert_eq!(url::Url::parse(text).expect("a URL").host_str(), Some("api.github.com"));
        let race = Race::new()
            .cpu("ak-policy", || ak_policy::Target::url(black_box(text)))
            .cpu("url", || url::Url::parse(black_box(text)));
        report.add(URL, case, race.run());
    }
}

fn targets(report: &mut Report) {
    let ratio = |report: &Report, case: &str, other: &str| {
        report.ns(DECISION, case, other) / report.ns(DECISION, case, "ak-policy")
    };
    let cedar = ratio(report, "1000", "cedar-policy, pre-parsed, unsliced");
    report.at_least("Cedar's time at 1,000 rules", cedar, 1500.0);
    let rego = ratio(report, "1000", "regorus, indexed data");
    report.at_least("regorus's time at 1,000 rules, as indexed data", rego, 15.0);
    let growth = report.ns(DECISION, "1000", "ak-policy") / report.ns(DECISION, "50", "ak-policy");
    report.at_most("1,000 rules, in decisions at 50", growth, 1.3);
    let hand = 1.0 / ratio(report, "1000", "by hand: hash maps and a path trie");
    report.at_most("1,000 rules, in decisions written by hand", hand, 5.0);
    let token = report.ns(tokens::TOKEN, tokens::HMAC, "ak-policy")
        / report.ns(tokens::TOKEN, tokens::HMAC, tokens::RING);
    report.at_most("a token, in ring's bare HMACs of its bytes", token, 1.5);
}
