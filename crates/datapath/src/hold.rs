//! Order when flows move (row M13): the host's frames wait until what went before them is out.

use esprit_packet::Time;

use crate::route::Route;
use crate::team::Team;
use crate::worker::Worker;

/// The longest that the virtual NIC is not read because flows move: an engine's queue (5 ms), a
/// redo after it was found hung (4 times that is its deadline), bounded to what TCP does not
/// take for a loss. A flow that waits longer may arrive out of order once.
const HOLD: Time = Time::from_millis(20);

/// Until when the virtual NIC of a team is not read.
#[derive(Clone, Debug)]
pub struct Hold {
    until: Time,
    /// Members that shares moved away from.
    from: Vec<u32>,
}

impl Hold {
    /// What has to be out before flows may use `after`, if they move at all between members
    /// that `alive` names.
    pub(crate) fn between(
        now: Time,
        before: &Route,
        after: &Route,
        alive: impl Fn(u32) -> bool,
    ) -> Option<Self> {
        let mut from = after.moved_from(before);
        // What a dead member had was moved with its flows.
        from.retain(|&member| alive(member));
        (!from.is_empty()).then(|| Self {
            until: now + HOLD,
            from,
        })
    }

    /// When it ends at the latest.
    pub(crate) const fn until(&self) -> Time {
        self.until
    }
}

impl Worker {
    /// Whether the host's frames still wait; ends the wait where its reason is gone.
    pub(crate) fn holds(&mut self, now: Time, team: u32) -> bool {
        let Some(at) = self.teams.get_mut(&team) else {
            return false;
        };
        let Team { hold, sealing, .. } = at;
        let Some(held) = hold else {
            return false;
        };
        let waits = |member: &u32| self.members.get(member).is_some_and(|m| !m.tx.is_empty());
        if now < held.until && (*sealing > 0 || held.from.iter().any(waits)) {
            return true;
        }
        *hold = None;
        false
    }
}
