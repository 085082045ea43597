//! Grants, capabilities and deadlines: their lifetimes, and when the kernel may end them.

use ak_kernel::{AgentRequest, Code, Request, SessionId};
use ak_policy::budget::Dimension;

use super::{POLICY, Run};
use crate::{EXPIRED, Fate, MINUTE, lease, support::load};

/// A grant or token with a lifetime.
pub(super) struct Life {
    pub(super) path: String,
    pub(super) session: SessionId,
    /// The refusal after its end.
    pub(super) over: Fate,
    pub(super) from_us: u64,
    pub(super) lasts_us: u64,
    pub(super) boot: u8,
    /// Whether nothing has happened since that may end it early.
    pub(super) is_sure: bool,
}

impl Run {
    /// Loads a policy with one more grant. The older grants are not renewed.
    pub(super) fn issue_policy_grant(&mut self) {
        self.leases += 1;
        let (minutes, path) = (self.minutes(), format!("/lease{}/x", self.leases));
        let live: Vec<(String, u64)> = self
            .lives
            .iter()
            .filter(|life| life.path.starts_with("/lease"))
            .map(|life| (life.path.clone(), life.lasts_us / MINUTE))
            .collect();
        let tables: String = live
            .iter()
            .map(|(path, minutes)| (path, minutes))
            .chain([(&path, &minutes)])
            .map(|(path, minutes)| lease(path, &format!("expires_minutes = {minutes}")))
            .collect();
        self.world.owner(load(&format!("{POLICY}{tables}"))).unwrap();
        self.note_input();
        self.live(path, self.workers[0], EXPIRED, minutes, true);
    }

    pub(super) fn issue_capability(&mut self) {
        self.leases += 1;
        let minutes = self.minutes();
        let agent = format!("c{}", self.leases);
        let session = self.world.agent(&agent);
        self.world.grant(&format!(
            r#"{{"agent":"{agent}","name":"fs","resource":"/cap/**","expires_minutes":{minutes}}}"#
        ));
        self.note_input();
        self.live("/cap/x".into(), session, EXPIRED, minutes, true);
    }

    pub(super) fn issue_deadline(&mut self) {
        self.leases += 1;
        let (minutes, agent) = (self.minutes(), format!("d{}", self.leases));
        let session = self.world.agent(&agent);
        let limit = Some(minutes * 60_000);
        let agent = Some(agent.as_str().into());
        self.world
            .owner(Request::Agent(AgentRequest::BudgetSet { dimension: Dimension::WallTimeMs, limit, agent }))
            .unwrap();
        self.note_input();
        self.live("/dead/x".into(), session, Fate::Refused(Code::BudgetExceeded), minutes, true);
    }

    fn live(&mut self, path: String, session: SessionId, over: Fate, minutes: u64, is_sure: bool) {
        let (from_us, boot) = (self.world.true_us, self.world.boot);
        let lasts_us = minutes * MINUTE;
        self.lives.push(Life { path, session, over, from_us, lasts_us, boot, is_sure });
        if self.lives.len() > 6 {
            self.lives.remove(0);
        }
    }

    fn minutes(&mut self) -> u64 {
        self.random.pick(&[1, 10, 60, 600, 4000])
    }

    pub(super) fn check_life(&mut self, index: usize) {
        let (path, session) = (self.lives[index].path.clone(), self.lives[index].session);
        let fate = self.stat(session, &path);
        let life = &self.lives[index];
        let age = self.world.true_us - life.from_us;
        let doubt = if life.boot == self.world.boot { 0 } else { self.doubt_us };
        match fate {
            Fate::Unheard => {}
            Fate::Passed => assert!(age < life.lasts_us + doubt, "{path} lives {age} µs, doubt {doubt}"),
            fate => {
                assert_eq!(fate, life.over, "{path}");
                assert!(age >= life.lasts_us || !life.is_sure, "{path} lived {age} µs of {}", life.lasts_us);
            }
        }
    }
}
