//! Which member sends and which receives, as it stands: the Plan less what was latched since.
//!
//! Here stands the document's transmission mask (row M8) too: for each algorithm the table of
//! those members only that are served with it. All of it is computed when a Plan arrives or a
//! member is lost, and looked up per packet.

use esprit_crypto::{Algorithm, EngineId};

use crate::plan::{BUCKETS, Delivery, Plan, Served};

/// The effective roles of a team's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// For what leaves in plaintext, and for what is protected where nothing is masked.
    plain: Lane,
    /// For what is protected, by algorithm, where the Plan has a mask.
    masked: Option<Vec<Lane>>,
    /// Accepts broadcast, multicast and the team's MAC; sends ARP, ND and non-IP.
    pub receiver: Option<u32>,
    /// Engines whose own member may send what they sealed for another (row M10).
    direct: Vec<(EngineId, u32)>,
}

/// What another member sends than before.
#[derive(Debug)]
pub struct Moved {
    /// Shares of the plain table that do.
    pub shares: Vec<bool>,
    /// Whether what has one SA only does.
    pub single: bool,
    /// The members that sent them.
    pub from: Vec<u32>,
}

/// Who carries what: by share of the flow hash, and what has one link only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    table: Vec<Option<u32>>,
    /// Carries policies that have one SA only, and so one link at a time.
    pub single: Option<u32>,
}

impl Lane {
    fn closed() -> Self {
        Self {
            table: vec![None],
            single: None,
        }
    }

    /// The share of this hash.
    #[must_use]
    pub fn share(&self, hash: u32) -> usize {
        // A table of one is active-backup; others have BUCKETS entries, or what a plan gave.
        hash as usize % self.table.len()
    }

    /// The member that sends the flow with this hash.
    #[must_use]
    pub fn transmit(&self, hash: u32) -> Option<u32> {
        self.table[self.share(hash)]
    }

    /// `wanted` with the shares of members that are not `usable` dealt out to `heirs` in turn.
    fn deal(wanted: impl Iterator<Item = Option<u32>>, heirs: &[u32]) -> Vec<Option<u32>> {
        let mut orphans = 0;
        let table: Vec<_> = wanted
            .map(|member| {
                if member.is_some() {
                    return member;
                }
                // active-backup has one share, so it goes to the best; a table of many is
                // dealt out in turn.
                let heir = heirs.get(orphans % heirs.len().max(1)).copied();
                orphans += 1;
                heir
            })
            .collect();
        if table.is_empty() { vec![None] } else { table }
    }

    /// What is left of it for the members that are `served`. Shares of others go to such as do
    /// it themselves before such as are backed up, and only to members that carry anyway.
    fn masked(&self, served: &Served) -> Self {
        let carries = |member: &u32| self.table.contains(&Some(*member));
        let own = || served.own.iter().copied().filter(carries);
        let backed = || served.backed.iter().copied().filter(carries);
        let is_served =
            |member: &u32| served.own.contains(member) || served.backed.contains(member);
        let mut heirs: Vec<u32> = own().collect();
        if heirs.is_empty() {
            heirs.extend(backed());
        }
        let wanted = self.table.iter().map(|member| member.filter(is_served));
        Self {
            table: Self::deal(wanted, &heirs),
            single: self
                .single
                .filter(is_served)
                .or_else(|| heirs.first().copied()),
        }
    }
}

impl Route {
    /// Doors closed: nobody sends, nobody receives.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            plain: Lane::closed(),
            masked: None,
            receiver: None,
            direct: Vec::new(),
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
        let wanted = plan.transmit.iter().take(BUCKETS);
        let wanted = wanted.map(|&member| Some(member).filter(|&member| usable(member)));
        let receiver = plan
            .receiver
            .filter(|&member| usable(member))
            .or_else(|| heirs.first().copied());
        let plain = Lane {
            table: Lane::deal(wanted, &heirs),
            single: receiver,
        };
        let masked = plan.mask.as_ref().map(|mask| {
            let lane = |algorithm: &Algorithm| {
                let served = mask.seal.iter().find(|s| s.algorithm == algorithm.name());
                served.map_or_else(Lane::closed, |served| plain.masked(served))
            };
            Algorithm::ALL.iter().map(lane).collect()
        });
        let direct = match plan.delivery {
            Delivery::Return => Vec::new(),
            Delivery::Direct | Delivery::Auto => plan
                .grants
                .engines
                .iter()
                .filter_map(|grant| Some((EngineId(grant.engine), grant.member?)))
                .filter(|&(_, member)| plan.direct.contains(&member) && usable(member))
                .collect(),
        };
        Self {
            plain,
            masked,
            receiver,
            direct,
        }
    }

    /// For what leaves in plaintext.
    #[must_use]
    pub const fn plain(&self) -> &Lane {
        &self.plain
    }

    /// For what is protected with the algorithm at this place of [`Algorithm::ALL`].
    #[must_use]
    pub fn protected(&self, algorithm: usize) -> &Lane {
        self.masked
            .as_ref()
            .and_then(|lanes| lanes.get(algorithm))
            .unwrap_or(&self.plain)
    }

    /// The engine's own member, where it may send what the engine sealed for others.
    #[must_use]
    pub fn deliverer(&self, engine: EngineId) -> Option<u32> {
        let found = self.direct.iter().find(|(of, _)| *of == engine);
        found.map(|&(_, member)| member)
    }

    /// The member that sends the flow with this hash.
    #[must_use]
    pub fn transmit(&self, hash: u32) -> Option<u32> {
        self.plain.transmit(hash)
    }

    /// How many shares there are.
    #[must_use]
    pub fn shares(&self) -> usize {
        self.plain.table.len()
    }

    /// Whether `member` sends or receives anything.
    #[must_use]
    pub fn uses(&self, member: u32) -> bool {
        self.receiver == Some(member) || self.plain.table.contains(&Some(member))
    }

    /// Who does now what `lost` did in `before`: the new receiver where it was the receiver,
    /// else the member that got its first share.
    #[must_use]
    pub fn heir_of(&self, lost: u32, before: &Self) -> Option<u32> {
        if before.receiver == Some(lost) {
            return self.receiver;
        }
        before
            .plain
            .table
            .iter()
            .position(|&member| member == Some(lost))
            .and_then(|at| self.plain.table.get(at).copied().flatten())
    }

    /// What another member sends than in `before`. Where the mask alone moves protected flows, an
    /// engine was lost or came; they change their SA then and do not wait for one that may never
    /// answer.
    #[must_use]
    pub fn moved_from(&self, before: &Self) -> Moved {
        let mut from = Vec::new();
        let mut shares = vec![false; self.shares()];
        for hash in 0..BUCKETS as u32 {
            let (then, now) = (before.plain.transmit(hash), self.plain.transmit(hash));
            if let (Some(then), Some(now)) = (then, now)
                && then != now
            {
                from.push(then);
                shares[self.plain.share(hash)] = true;
            }
        }
        let (then, now) = (before.plain.single, self.plain.single);
        let single = then.is_some() && now.is_some() && then != now;
        from.extend(then.filter(|_| single));
        from.sort_unstable();
        from.dedup();
        Moved {
            shares,
            single,
            from,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Mask, MemberRole, Mode, Receive, SourceMac};

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

    fn mask(own: &[u32], backed: &[u32]) -> Option<Mask> {
        Some(Mask {
            seal: vec![Served {
                algorithm: Algorithm::Aes128Gcm16.name().to_owned(),
                own: own.to_vec(),
                backed: backed.to_vec(),
            }],
            open: Vec::new(),
        })
    }

    #[test]
    fn protected_flows_go_to_served_members_only_and_others_everywhere() {
        let table: Vec<u32> = (0..BUCKETS as u32).map(|share| share % 3 + 1).collect();
        let mut plan = plan(table);
        plan.mask = mask(&[2], &[3]);
        let route = Route::compute(&plan, |_| true);
        for hash in 0..BUCKETS as u32 {
            let plain = route.plain().transmit(hash);
            assert_eq!(plain, Some(hash % 3 + 1));
            // What the member that is not served had goes to the one that does it itself.
            let expected = if plain == Some(1) { Some(2) } else { plain };
            assert_eq!(route.protected(0).transmit(hash), expected);
            assert_eq!(route.protected(1).transmit(hash), None, "another algorithm");
        }
        assert_eq!(
            route.protected(0).single,
            Some(2),
            "the receiver is not served"
        );
        plan.mask = mask(&[], &[3]);
        let route = Route::compute(&plan, |_| true);
        assert_eq!(route.protected(0).transmit(0), Some(3));
        // A member that does not carry is no way out.
        let route = Route::compute(&plan, |member| member != 3);
        assert_eq!(route.protected(0).transmit(0), None);
    }

    #[test]
    fn only_an_engine_whose_member_may_is_a_deliverer() {
        let mut plan = plan(vec![1]);
        let grant = |engine, member| esprit_crypto::Grant {
            member,
            seal: true,
            open: true,
            primary: Some(0),
            secondary: Some(0),
            ..esprit_crypto::Grant::none(engine)
        };
        plan.grants.engines = vec![grant(7, Some(2)), grant(8, Some(3)), grant(9, None)];
        plan.direct = vec![2];
        assert_eq!(Route::compute(&plan, |_| true).deliverer(EngineId(7)), None);
        plan.delivery = Delivery::Direct;
        let route = Route::compute(&plan, |_| true);
        let deliverers = [7, 8, 9].map(|engine| route.deliverer(EngineId(engine)));
        assert_eq!(deliverers, [Some(2), None, None]);
        let route = Route::compute(&plan, |member| member != 2);
        assert_eq!(route.deliverer(EngineId(7)), None);
    }

    #[test]
    fn what_moved_is_named() {
        let before = Route::compute(&plan(vec![1, 2]), |_| true);
        let after = Route::compute(&plan(vec![1, 3]), |_| true);
        let moved = after.moved_from(&before);
        assert_eq!(moved.from, [2]);
        assert_eq!(
            (moved.shares[0], moved.shares[1], moved.single),
            (false, true, false)
        );
        assert_eq!(after.moved_from(&after).from, []);
        // What has one SA goes by the receiver.
        let mut other = plan(vec![1, 3]);
        other.receiver = Some(3);
        let moved = Route::compute(&other, |_| true).moved_from(&after);
        assert_eq!((moved.single, moved.from), (true, vec![1]));
    }
}
