//! The decision of a policy: forbid > ask > permit > default deny.

use alloc::vec::Vec;
use core::net::IpAddr;

use ak_json::Pointer;

use crate::action::Action;
use crate::agent::lineage;
use crate::model::grant::{Grant, GrantId, GrantState};
use crate::model::rule::{Effect, Rule, RuleTarget};
use crate::pattern::Meter;
use crate::policy::Policy;
use crate::query::Query;
use crate::target::{CanonicalIp, HostOrIp, Target};

/// The decision of a policy on a request, with expired and rate-limited grants told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyDecision {
    /// The request is permitted.
    Permit,
    /// A person with authority must approve the request first.
    Ask,
    /// A rule forbids the request.
    Forbid,
    /// No rule permits the request.
    DefaultDeny,
    /// Only a grant would permit the request, and the grant has expired.
    Expired,
    /// Only a grant would permit the request, and its rate is used up for now.
    RateLimited {
        /// When the grant can be used again, in µs from now.
        retry_after_us: u64,
    },
}

impl PolicyDecision {
    /// Whether the request is permitted now.
    pub fn is_permit(self) -> bool {
        self == Self::Permit
    }

    /// How restrictive the decision is: of several decisions the one with the highest severity counts.
    fn severity(self) -> u8 {
        match self {
            Self::Permit => 0,
            Self::Ask => 1,
            Self::RateLimited { .. } => 2,
            Self::Expired => 3,
            Self::DefaultDeny => 4,
            Self::Forbid => 5,
        }
    }
}

/// A decision with the rule and the grants that it rests on.
#[derive(Clone, Debug)]
pub struct Evaluation<'p> {
    /// The decision.
    pub decision: PolicyDecision,
    /// The grant that the permit of the agent rests on, or else of its nearest ancestor that has one; `None` when
    /// plain rules permit. The caller spends the rate of all [`grants`](Self::grants).
    pub grant: Option<GrantId>,
    /// The other grants that the permits of the agent's ancestors rest on.
    ancestor_grants: Vec<GrantId>,
    /// The place in the arguments that decided, when the decision is not a permit and rests on a condition on
    /// arguments; otherwise `None`.
    pub args_path: Option<Pointer>,
    /// The length of the prefix of the asking agent's name that names the agent whose authority decided.
    agent_bytes: usize,
    rule: Option<&'p Rule>,
    target: Option<&'p RuleTarget>,
}

impl<'p> Evaluation<'p> {
    /// The id of the rule that decided, or of the rule whose expired or rate-limited grant would have permitted.
    pub fn rule_id(&self) -> Option<&'p str> {
        self.rule.map(|rule| &*rule.id)
    }

    /// For a permit or an ask over files, the deepest directory that holds everything the deciding pattern matches.
    /// For an ask, an approval of the request grants this directory.
    pub fn granted_root(&self) -> Option<&'p str> {
        self.target?.root.as_deref()
    }

    /// For a permit over files, whether symbolic links beneath [`granted_root`](Self::granted_root) are followed.
    /// Access to a link's target is decided separately, under the target's own path.
    pub fn follows_links(&self) -> bool {
        self.decision.is_permit() && self.rule.is_some_and(|rule| rule.follows)
    }

    /// Every grant that a permit rests on, of the agent and of its ancestors; the caller spends the rate of each.
    pub fn grants(&self) -> impl Iterator<Item = GrantId> {
        self.ancestor_grants.iter().copied().chain(self.grant)
    }

    /// The agent of the lineage whose authority decided.
    pub(crate) fn agent<'q>(&self, query: &Query<'q>) -> &'q str {
        query.agent.get(..self.agent_bytes).unwrap_or(query.agent)
    }

    pub(crate) fn rule(&self) -> Option<&'p Rule> {
        self.rule
    }

    fn deny() -> Self {
        let decision = PolicyDecision::DefaultDeny;
        let ancestor_grants = Vec::new();
        Self {
            decision,
            grant: None,
            ancestor_grants,
            args_path: None,
            agent_bytes: 0,
            rule: None,
            target: None,
        }
    }
}

impl Policy {
    /// Decides on a request. A permit allocates nothing unless a rule tests a `format`, a label or provenance, or a
    /// URL and a pattern both have several readings.
    ///
    /// When matching would take more steps than a decision may take (250,000 steps, a few milliseconds), the
    /// request is forbidden and no rule is named.
    ///
    /// Where the agent has ancestors (`crew` is an ancestor of `crew/writer`), each of them must be permitted the
    /// same request. The most restrictive decision counts; of equally restrictive ones, the outermost ancestor's.
    pub fn decide<'p>(&'p self, query: &Query<'_>) -> Evaluation<'p> {
        if query.action.kind() != query.target.kind() {
            return Evaluation { agent_bytes: query.agent.len(), ..Evaluation::deny() };
        }
        let mut worst: Option<Evaluation<'p>> = None;
        let mut grant = None;
        let mut ancestor_grants = Vec::new();
        let meter = query.meter();
        for agent in lineage(query.agent) {
            let evaluation = Evaluation { agent_bytes: agent.len(), ..self.decide_for(agent, query, &meter) };
            if evaluation.grant.is_some() {
                ancestor_grants.extend(core::mem::replace(&mut grant, evaluation.grant));
            }
            let worse = |worst: &Evaluation<'_>| evaluation.decision.severity() > worst.decision.severity();
            // If all permit, the asking agent's own evaluation is returned.
            if worst.as_ref().is_none_or(|worst| worse(worst) || worst.decision.is_permit()) {
                worst = Some(evaluation);
            }
        }
        meter.settle(query.steps);
        let mut evaluation = worst.unwrap_or_else(Evaluation::deny);
        if evaluation.decision.is_permit() {
            ancestor_grants.retain(|own| Some(*own) != grant);
            ancestor_grants.dedup();
            (evaluation.grant, evaluation.ancestor_grants) = (grant, ancestor_grants);
        } else {
            evaluation.grant = None;
        }
        evaluation
    }

    /// Decides for one agent, without its ancestors.
    pub(crate) fn decide_for<'p>(&'p self, agent: &str, query: &Query<'_>, meter: &Meter) -> Evaluation<'p> {
        // A rule that was not examined might forbid.
        let out_of_steps = || Evaluation { decision: PolicyDecision::Forbid, ..Evaluation::deny() };
        if meter.is_spent() {
            return out_of_steps();
        }
        let rules = self.rules();
        let context = query.rule_context(agent, meter);
        // Rules are sorted so that the first one that applies decides.
        let mut first: Option<(u32, u32)> = None;
        let mut near: Option<(u32, u32)> = None;
        let mut lapsed: Option<(u32, u32, GrantState)> = None;
        self.index().candidates(agent, query.action, query.target, |entry| {
            let place = (entry.rule, entry.target);
            if !meter.take(1) || first.is_some_and(|first| first <= place) {
                return;
            }
            let Some(rule) = rules.get(entry.rule as usize) else { return };
            let Some(target) = rule.targets.get(entry.target as usize) else { return };
            if !target.pattern.matches_within(query.action, query.target, rule.effect.reading(), meter) {
                return;
            }
            if rule.applies(context).is_err() {
                if rule.effect == Effect::Permit {
                    near = near.map_or(Some(place), |near| Some(near.min(place)));
                }
                return;
            }
            match self.state(rule, query) {
                GrantState::Alive => first = Some(place),
                state => {
                    let sooner = |(_, _, old)| preference(state) < preference(old);
                    let earlier =
                        |(rule, target, old)| preference(state) == preference(old) && place < (rule, target);
                    if lapsed.is_none_or(|old| sooner(old) || earlier(old)) {
                        lapsed = Some((entry.rule, entry.target, state));
                    }
                }
            }
        });
        if meter.is_spent() {
            return out_of_steps();
        }
        let at = |(rule, target): (u32, u32)| {
            let rule = rules.get(rule as usize)?;
            Some((rule, rule.targets.get(target as usize)?))
        };
        let mut evaluation = Evaluation::deny();
        if let Some((rule, target)) = first.and_then(at) {
            evaluation.rule = Some(rule);
            evaluation.decision = match rule.effect {
                Effect::Forbid => PolicyDecision::Forbid,
                Effect::Ask => PolicyDecision::Ask,
                Effect::Permit => PolicyDecision::Permit,
            };
            match rule.effect {
                Effect::Permit => {
                    evaluation.target = Some(target);
                    evaluation.grant = rule.grant;
                }
                Effect::Ask => {
                    evaluation.target = Some(target);
                    evaluation.args_path = rule.witness(context);
                }
                Effect::Forbid => evaluation.args_path = rule.witness(context),
            }
        } else if let Some((rule, target, state)) = lapsed {
            evaluation.rule = at((rule, target)).map(|(rule, _)| rule);
            evaluation.decision = match state {
                GrantState::RateLimited { retry_after_us } => PolicyDecision::RateLimited { retry_after_us },
                GrantState::Expired | GrantState::Alive => PolicyDecision::Expired,
            };
        } else if let Some((rule, _)) = near.and_then(at) {
            evaluation.args_path = rule.witness(context);
        }
        evaluation
    }

    fn state(&self, rule: &Rule, query: &Query<'_>) -> GrantState {
        match rule.grant.and_then(|grant| self.grant(grant)) {
            Some(grant) => query.grants.state(grant, query.elapsed),
            None => GrantState::Alive,
        }
    }

    /// The grant with this id; `None` when the policy has none.
    pub fn grant(&self, id: GrantId) -> Option<&Grant> {
        let grants = self.grants();
        grants.get(grants.binary_search_by_key(&id, Grant::id).ok()?)
    }

    /// Whether a permitted request may open a connection to this address, to which its host was resolved.
    ///
    /// `request` is the request that was permitted. Public addresses of the host and port that it names are allowed.
    /// Any other address needs a permit for `connect` to `ip:…`: private, loopback, link-local, multicast and reserved
    /// addresses, and those at which clouds serve metadata. The address is refused when a rule forbids, or asks about,
    /// looking up the host or connecting to the host or the address; rules for the agent's ancestors count too.
    pub fn address_allowed(&self, request: &Query<'_>, ip: IpAddr, port: u16) -> bool {
        let ip = CanonicalIp::new(ip);
        let (host, is_named) = match request.target {
            Target::Url(url) => match url.host() {
                HostOrIp::Host(host) => (Some(host), url.port() == port),
                HostOrIp::Ip(own) => (None, *own == ip && url.port() == port),
            },
            Target::HostPort(host, own) => (Some(host), *own == port),
            Target::Host(host) => (Some(host), true),
            Target::Addr(own, own_port) => (None, *own == ip && *own_port == port),
            Target::Path(_)
            | Target::Tool(_)
            | Target::Model(_)
            | Target::Agent(_)
            | Target::Heap(_)
            | Target::Type(_)
            | Target::Audit(_) => (None, false),
        };
        let ask =
            |action, target: &Target| self.decide(&Query { action, target, args: None, ..*request }).decision;
        let closed = |decision| matches!(decision, PolicyDecision::Forbid | PolicyDecision::Ask);
        if let Some(host) = host
            && (closed(ask(Action::Dns, &Target::Host(host.clone())))
                || closed(ask(Action::Connect, &Target::HostPort(host.clone(), port))))
        {
            return false;
        }
        match ask(Action::Connect, &Target::Addr(ip, port)) {
            PolicyDecision::Permit => true,
            PolicyDecision::Forbid | PolicyDecision::Ask => false,
            PolicyDecision::DefaultDeny | PolicyDecision::Expired | PolicyDecision::RateLimited { .. } => {
                is_named && ip.is_public()
            }
        }
    }
}

/// The rank of a grant's state when several grants cannot be used: a rate-limited grant is reported before an
/// expired one.
fn preference(state: GrantState) -> u8 {
    match state {
        GrantState::Alive => 0,
        GrantState::RateLimited { .. } => 1,
        GrantState::Expired => 2,
    }
}
