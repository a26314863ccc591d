//! Which member sends and which receives, as it stands: the Plan less what was latched since.
//!
//! This is the document's transmission mask (row M8): computed when a Plan arrives or a
//! member is lost, looked up per packet.

use crate::plan::{BUCKETS, Plan};

/// The effective roles of a team's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    table: Vec<Option<u32>>,
    /// Accepts broadcast, multicast and the team's MAC; sends ARP, ND and non-IP.
    pub receiver: Option<u32>,
    /// Carries policies that have one SA only, and so one link at a time.
    pub single: Option<u32>,
}

impl Route {
    /// Doors closed: nobody sends, nobody receives.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            table: vec![None],
            receiver: None,
            single: None,
        }
    }

    /// The roles of `plan` while only the members that `alive` names can be used.
    ///
    /// A share whose member is lost goes to the survivors in turn, so that in balance-alb the
    /// flows of a dead member spread; shares of live members do not move.
    #[must_use]
    pub fn compute(plan: &Plan, alive: impl Fn(u32) -> bool) -> Self {
        let usable = |member: u32| {
            alive(member)
                && plan
                    .members
                    .iter()
                    .any(|role| role.id == member && role.carry)
        };
        let heirs: Vec<u32> = plan
            .takeover
            .iter()
            .copied()
            .filter(|&member| usable(member))
            .collect();
        let mut orphans = 0;
        let table = plan
            .transmit
            .iter()
            .take(BUCKETS)
            .map(|&member| {
                if usable(member) {
                    return Some(member);
                }
                // active-backup has one share, so it goes to the best; a table of many is
                // dealt out in turn.
                let heir = heirs.get(orphans % heirs.len().max(1)).copied();
                orphans += 1;
                heir
            })
            .collect::<Vec<_>>();
        let receiver = plan
            .receiver
            .filter(|&member| usable(member))
            .or_else(|| heirs.first().copied());
        Self {
            single: receiver,
            receiver,
            table: if table.is_empty() { vec![None] } else { table },
        }
    }

    /// The member that sends the flow with this hash.
    #[must_use]
    pub fn transmit(&self, hash: u32) -> Option<u32> {
        // A table of one is active-backup; others have BUCKETS entries, or what a plan gave.
        self.table[hash as usize % self.table.len()]
    }

    /// Whether `member` sends or receives anything.
    #[must_use]
    pub fn uses(&self, member: u32) -> bool {
        self.receiver == Some(member) || self.table.contains(&Some(member))
    }

    /// Who does now what `lost` did in `before`: the new receiver where it was the receiver,
    /// else the member that got its first share.
    #[must_use]
    pub fn heir_of(&self, lost: u32, before: &Self) -> Option<u32> {
        if before.receiver == Some(lost) {
            return self.receiver;
        }
        before
            .table
            .iter()
            .position(|&member| member == Some(lost))
            .and_then(|at| self.table.get(at).copied().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Delivery, MemberRole, Mode, Receive, SourceMac};

    fn plan(transmit: Vec<u32>) -> Plan {
        Plan {
            epoch: 1,
            team: 0,
            latch: 0,
            mode: Mode::BalanceAlb,
            members: (1..=3)
                .map(|id| MemberRole {
                    id,
                    carry: true,
                    accept: true,
                })
                .collect(),
            transmit,
            receiver: Some(1),
            takeover: vec![1, 2, 3],
            mac: SourceMac::Team,
            announce: Vec::new(),
            grants: esprit_crypto::Grants {
                engines: Vec::new(),
                spill_ns: [0; 3],
                verify_every: 0,
            },
            delivery: Delivery::Return,
            direct: Vec::new(),
            mask: None,
            probe: None,
            down_delay_ns: 0,
            receive: Receive::Single,
        }
    }

    #[test]
    fn a_lost_member_s_shares_spread_and_others_stay() {
        let table: Vec<u32> = (0..BUCKETS as u32).map(|share| share % 3 + 1).collect();
        let plan = plan(table.clone());
        let before = Route::compute(&plan, |_| true);
        let after = Route::compute(&plan, |member| member != 3);
        let mut heirs = [0_u32; 4];
        for (share, &member) in table.iter().enumerate() {
            let now = after.transmit(share as u32).unwrap();
            if member == 3 {
                heirs[now as usize] += 1;
            } else {
                assert_eq!(now, member);
            }
        }
        assert_eq!(heirs[3], 0);
        assert!(heirs[1].abs_diff(heirs[2]) <= 1, "{heirs:?}");
        assert_eq!(after.heir_of(3, &before), Some(1));
        assert!(!after.uses(3));
    }

    #[test]
    fn the_receiver_s_heir_is_the_next_of_the_ranking() {
        let plan = plan(vec![1]);
        let before = Route::compute(&plan, |_| true);
        let after = Route::compute(&plan, |member| member != 1);
        assert_eq!((after.receiver, after.transmit(9)), (Some(2), Some(2)));
        assert_eq!(after.heir_of(1, &before), Some(2));
        let none = Route::compute(&plan, |_| false);
        assert_eq!((none.receiver, none.transmit(0)), (None, None));
    }

    #[test]
    fn a_member_that_may_not_carry_inherits_nothing() {
        let mut plan = plan(vec![1]);
        plan.members[1].carry = false;
        let after = Route::compute(&plan, |member| member != 1);
        assert_eq!(after.transmit(0), Some(3));
    }
}
