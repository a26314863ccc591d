//! The ledger: what must hold between any two steps, while everything is under way.
//!
//! | what | how exactly |
//! | --- | --- |
//! | bounds (rule 6) | every queue of the worker, of the pool, of each engine and SA, against its stated limit |
//! | conservation (rule 5) | packets that came in are those that left, that were dropped, and that are known to be somewhere |
//! | buffers (rule 6) | no more were made than may be; where no packet and no job is anywhere, all are back |
//!
//! The balance is exact but for two cases, in which only what is missing is seen, and not what is too
//! much: once an engine was made to lie (what it spoils is dropped for what it looks like), and
//! where a Plan announces, or peers ask for the team's address (such frames are dropped and
//! counted like others, and are no packets of a flow).
//!
//! It is drawn up after every step and after every decision; with more SAs than [`EACH_STEP`], after
//! decisions and every millisecond. At rest nothing may be under way any more.

use esprit_datapath::level::MEMBER_QUEUE;

use super::Simulation;
use crate::checks::{Rule, Sabotage};
use crate::wire::MemberPort;

/// SAs beyond which a step is not followed by a look: a walk over so many takes some 10 us, which
/// is about what the step before it took.
const EACH_STEP: usize = 256;

impl Simulation {
    /// Looks at what must hold between any two steps.
    pub fn audit(&mut self) {
        self.within_bounds();
        self.in_balance();
        self.buffers_back();
    }

    /// The same after a step, where the look costs no more than the step.
    pub(super) fn audit_step(&mut self) {
        if self.sas <= EACH_STEP {
            self.audit();
        }
    }

    fn within_bounds(&mut self) {
        let (mut found, mut queued) = (None, 0);
        let lie = self.trap.springs(Sabotage::Queue);
        self.worker.levels(&mut |mut level| {
            if level.what == MEMBER_QUEUE {
                queued = queued.max(level.holds as usize);
            }
            if lie {
                level.holds += level.most;
            }
            if level.is_beyond() && found.is_none() {
                found = Some(level);
            }
        });
        self.queued_most = self.queued_most.max(queued);
        if let Some(level) = found {
            let detail = format!(
                "{} of {}: {}, and may be {}",
                level.what, level.of, level.holds, level.most
            );
            self.verdict.broken(self.now, Rule::Bounded, detail);
        }
    }

    /// Every packet has one fate, or is known to be somewhere.
    fn in_balance(&mut self) {
        let ports = self.wires.members.values();
        let own_lost = self.own_lost + ports.map(|port| port.own_lost).sum::<u64>();
        let dropped = self.worker.dropped() + self.unread - own_lost;
        let flying = self.flying.values().map(|queue| queue.len()).sum::<usize>();
        let hosts = self.wires.hosts.values().map(|host| host.down.len());
        let members = self.wires.members.values().map(MemberPort::unread);
        let outside = (flying + hosts.chain(members).sum::<usize>()) as u64;
        let inside = self.worker.held();
        let known = dropped + self.spoiled + outside + inside;
        let fates = self.open + self.copies;
        let exact = !self.announces && !self.lied;
        if known < fates || (exact && known != fates) {
            let detail = format!(
                "{} packets have not arrived and {} copies were flooded; {dropped} were dropped, \
                 {inside} are in the host and {outside} on their way to or from it: {:?}",
                self.open,
                self.copies,
                self.drops()
            );
            self.verdict.broken(self.now, Rule::Conservation, detail);
        }
    }

    fn buffers_back(&mut self) {
        let (small, large) = self.config.buffers;
        let made = self.buffers.made();
        if made.0 > small || made.1 > large {
            let detail = format!("more buffers were made than there may be: {made:?}");
            self.verdict.broken(self.now, Rule::Bounded, detail);
        }
        let asked = self.applications.iter().any(|one| one.in_flight() > 0);
        if asked || !self.worker.is_empty() {
            return;
        }
        let held = self.buffers.in_use();
        if held != (0, 0) {
            let detail = format!("nothing is under way, and {held:?} buffers are out");
            self.verdict.broken(self.now, Rule::Bounded, detail);
        }
    }
}
