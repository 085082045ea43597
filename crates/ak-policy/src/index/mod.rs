//! Finds the few rules that may apply to a request.
//!
//! Patterns are found by a literal part: a whole text, the beginning of a text, or the end of a host name. So a
//! decision examines only patterns that share their literal part with the target, however many others there are.
//! Patterns without a literal part are examined one by one.

mod keys;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

pub(crate) use keys::Entry;
use keys::{Exact, Prefixes, Source};

use crate::action::Action;
use crate::model::rule::Rule;
use crate::pattern::{Cidr, EndpointPattern, Glob, HostPattern, LiteralTarget, PathGlob, Pattern, Reading};
use crate::target::{CanonicalIp, CanonicalUrl, HostOrIp, Readings, Target};

/// All rules of a policy by agent, action and target.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Rules for every agent, and rules whose agents are patterns.
    anyone: ByAction,
    /// Rules that name their agents literally: positions in `named`.
    names: Exact,
    named: Box<[ByAction]>,
}

#[derive(Debug, Default)]
struct ByAction(Box<[Option<Box<Patterns>>]>);

/// The patterns for one action.
#[derive(Debug, Default)]
struct Patterns {
    exact: Exact,
    prefixes: Prefixes,
    /// The ends of host names, reversed.
    host_ends: Prefixes,
    nets: Box<[(Cidr, Entry)]>,
    /// Patterns without a literal part.
    others: Box<[Entry]>,
}

/// The literal part by which a pattern is found.
enum Lead {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    HostEnd(Vec<u8>),
    Net(Cidr),
    Nothing,
}

#[derive(Default)]
struct PatternsSource {
    exact: Source,
    prefixes: Source,
    host_ends: Source,
    nets: Vec<(Cidr, Entry)>,
    others: Vec<Entry>,
}

type ByActionSource = BTreeMap<Action, PatternsSource>;

impl Index {
    pub(crate) fn build(rules: &[Rule]) -> Self {
        let mut anyone = ByActionSource::new();
        let mut named: BTreeMap<Vec<u8>, ByActionSource> = BTreeMap::new();
        for (place, rule) in (0u32..).zip(rules) {
            let agents: Option<Vec<_>> = rule.agents.iter().map(PathGlob::as_literal).collect();
            match agents {
                Some(agents) if !agents.is_empty() => {
                    for agent in agents {
                        insert(named.entry(agent.into()).or_default(), place, rule);
                    }
                }
                Some(_) | None => insert(&mut anyone, place, rule),
            }
        }
        let mut names = Source::new();
        let mut by_name = Vec::with_capacity(named.len());
        for (place, (name, source)) in (0u32..).zip(named) {
            names.insert(name, alloc::vec![Entry { rule: place, target: 0 }]);
            by_name.push(ByAction::build(source));
        }
        Self { anyone: ByAction::build(anyone), names: Exact::build(names), named: by_name.into() }
    }

    /// Visits every pattern that may match, and no rule whose agents certainly do not include the agent. A pattern
    /// may be visited twice.
    pub(crate) fn candidates(
        &self,
        agent: &str,
        action: Action,
        target: &Target,
        mut visit: impl FnMut(Entry),
    ) {
        self.anyone.candidates(action, target, &mut visit);
        for place in self.names.find(agent.as_bytes()) {
            if let Some(named) = self.named.get(place.rule as usize) {
                named.candidates(action, target, &mut visit);
            }
        }
    }
}

fn insert(by_action: &mut ByActionSource, place: u32, rule: &Rule) {
    for action in rule.actions.iter() {
        let source = by_action.entry(action).or_default();
        for (number, target) in (0u32..).zip(&rule.targets) {
            if !target.pattern.fits(action.kind()) {
                continue;
            }
            let entry = Entry { rule: place, target: number };
            for lead in leads(&target.pattern, rule.effect.reading()) {
                match lead {
                    Lead::Exact(key) => source.exact.entry(key).or_default().push(entry),
                    Lead::Prefix(key) => source.prefixes.entry(key).or_default().push(entry),
                    Lead::HostEnd(key) => source.host_ends.entry(key).or_default().push(entry),
                    Lead::Net(range) => source.nets.push((range, entry)),
                    Lead::Nothing => source.others.push(entry),
                }
            }
        }
    }
}

impl ByAction {
    fn build(mut source: ByActionSource) -> Self {
        if source.is_empty() {
            return Self::default();
        }
        Self(
            Action::ALL
                .iter()
                .map(|action| Some(Box::new(Patterns::build(source.remove(action)?))))
                .collect(),
        )
    }

    fn candidates(&self, action: Action, target: &Target, visit: &mut impl FnMut(Entry)) {
        if let Some(Some(patterns)) = self.0.get(action as usize) {
            patterns.candidates(target, visit);
        }
    }
}

impl Patterns {
    fn build(source: PatternsSource) -> Self {
        Self {
            exact: Exact::build(source.exact),
            prefixes: Prefixes::build(source.prefixes),
            host_ends: Prefixes::build(source.host_ends),
            nets: source.nets.into(),
            others: source.others.into(),
        }
    }

    fn candidates(&self, target: &Target, visit: &mut impl FnMut(Entry)) {
        match target {
            Target::Heap(handle) => self.texts(&handle.to_be_bytes(), visit),
            Target::Addr(ip, _) => self.addresses(*ip, visit),
            Target::Path(path) => self.texts(path.as_str().as_bytes(), visit),
            Target::Url(url) => {
                self.texts(url.as_str().as_bytes(), visit);
                if let Some(readings) = url.readings() {
                    self.readings(url, readings, visit);
                }
            }
            Target::Host(host) | Target::HostPort(host, _) => self.texts(host.as_str().as_bytes(), visit),
            Target::Tool(tool) => self.texts(tool.name().as_bytes(), visit),
            Target::Model(name) | Target::Agent(name) | Target::Type(name) | Target::Audit(name) => {
                self.texts(name.as_str().as_bytes(), visit);
            }
        }
        if let Some(host) = host_of(target)
            && !self.host_ends.is_empty()
        {
            // A host name has at most 253 bytes.
            let mut backwards = [0; 256];
            let bytes = backwards.iter_mut().zip(host.bytes().rev()).map(|(slot, byte)| *slot = byte).count();
            self.host_ends.each(backwards.get(..bytes).unwrap_or_default(), visit);
        }
        self.others.iter().copied().for_each(visit);
    }

    /// Visits the patterns that other readings of a URL find in addition to those of the URL as written. Only
    /// prefixes find such patterns.
    fn readings(&self, url: &CanonicalUrl, readings: &Readings, visit: &mut impl FnMut(Entry)) {
        let mut before = Vec::from(url.as_str());
        for reading in &readings.paths {
            let mut text = Vec::from(url.origin());
            text.extend_from_slice(reading.path.as_bytes());
            // Readings are sorted, so a prefix that this reading shares with any earlier one is also a prefix of
            // the previous reading or of the URL itself, and has been visited.
            let known = common(&text, url.as_str().as_bytes()).max(common(&text, &before));
            self.prefixes.each_longer(&text, known + 1, visit);
            before = text;
        }
    }

    fn texts(&self, text: &[u8], visit: &mut impl FnMut(Entry)) {
        self.exact.find(text).iter().copied().for_each(&mut *visit);
        self.prefixes.each(text, visit);
    }

    fn addresses(&self, ip: CanonicalIp, visit: &mut impl FnMut(Entry)) {
        self.nets.iter().filter(|(range, _)| range.contains(ip)).for_each(|(_, entry)| visit(*entry));
    }
}

/// The length of the longest common prefix.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn host_of(target: &Target) -> Option<&str> {
    match target {
        Target::Host(host) | Target::HostPort(host, _) => Some(host.as_str()),
        Target::Url(url) => match url.host() {
            HostOrIp::Host(host) => Some(host.as_str()),
            HostOrIp::Ip(_) => None,
        },
        Target::Path(_)
        | Target::Addr(..)
        | Target::Tool(_)
        | Target::Model(_)
        | Target::Agent(_)
        | Target::Heap(_)
        | Target::Type(_)
        | Target::Audit(_) => None,
    }
}

/// The literal parts by which a pattern is found; for a URL pattern that servers may read differently, those of
/// each reading that counts.
fn leads(pattern: &Pattern, reading: Reading) -> Vec<Lead> {
    let prefixes = match (pattern, reading) {
        (Pattern::Url(url), _) => url.literal_prefixes(reading),
        (Pattern::Literal(LiteralTarget(Target::Url(url))), Reading::Wide) => {
            let own = [url.path()].into_iter();
            let others = url.readings().map_or(&[][..], |readings| &readings.paths);
            let mut paths: Vec<_> = own.chain(others.iter().map(|reading| reading.path.as_str())).collect();
            paths.sort_unstable();
            paths.dedup();
            Some(paths.into_iter().map(|path| alloc::format!("{}{path}", url.origin())).collect())
        }
        (_, _) => None,
    };
    match prefixes {
        Some(prefixes) => prefixes.into_iter().map(prefix).collect(),
        None => alloc::vec![lead(pattern)],
    }
}

fn lead(pattern: &Pattern) -> Lead {
    match pattern {
        Pattern::Any | Pattern::UrlAny | Pattern::HeapAny => Lead::Nothing,
        Pattern::Path(glob) => match glob.literal_prefix() {
            (path, true) if path.is_empty() => Lead::Exact(b"/".to_vec()),
            (path, true) => Lead::Exact(path.into_bytes()),
            (path, false) => prefix(path),
        },
        Pattern::Url(url) => match url.host() {
            Some(host) => host_lead(host, false),
            None => Lead::Nothing,
        },
        Pattern::Host(host) | Pattern::Endpoint(EndpointPattern::Host(host, _)) => host_lead(host, true),
        Pattern::Endpoint(EndpointPattern::Net(range, _)) => Lead::Net(*range),
        Pattern::Tool(glob, _) | Pattern::Model(glob) | Pattern::Type(glob) | Pattern::Audit(glob) => {
            name_lead(glob)
        }
        Pattern::Agent(glob) => {
            let (path, whole) = glob.literal_prefix();
            let name = path.strip_prefix('/').unwrap_or(&path);
            if whole { Lead::Exact(name.into()) } else { prefix(name.into()) }
        }
        Pattern::Heap(handle) => Lead::Exact(handle.to_be_bytes().into()),
        Pattern::Literal(LiteralTarget(target)) => match target {
            Target::Path(path) => Lead::Exact(path.as_str().into()),
            Target::Url(url) => Lead::Exact(url.as_str().into()),
            Target::Host(host) | Target::HostPort(host, _) => Lead::Exact(host.as_str().into()),
            Target::Addr(ip, _) => Lead::Net(Cidr::of(*ip)),
            Target::Tool(tool) => Lead::Exact(tool.name().into()),
            Target::Model(name) | Target::Agent(name) | Target::Type(name) | Target::Audit(name) => {
                Lead::Exact(name.as_str().into())
            }
            Target::Heap(handle) => Lead::Exact(handle.to_be_bytes().into()),
        },
    }
}

fn name_lead(glob: &Glob) -> Lead {
    match glob.as_literal() {
        Some(name) => Lead::Exact(name.into()),
        None => prefix(glob.head().into()),
    }
}

fn prefix(text: alloc::string::String) -> Lead {
    if text.is_empty() { Lead::Nothing } else { Lead::Prefix(text.into_bytes()) }
}

/// `alone` tells whether the host is the whole text that is looked up.
fn host_lead(host: &HostPattern, alone: bool) -> Lead {
    let backwards = |text: &str| text.bytes().rev().collect::<Vec<_>>();
    match host {
        HostPattern::Any => Lead::Nothing,
        HostPattern::Exactly(host) if alone => Lead::Exact(host.as_str().into()),
        HostPattern::Exactly(host) => Lead::HostEnd(backwards(host.as_str())),
        HostPattern::Below(host) => {
            let mut end = backwards(host.as_str());
            end.push(b'.');
            Lead::HostEnd(end)
        }
    }
}
