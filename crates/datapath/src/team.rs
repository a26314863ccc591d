//! A team as the data plane holds it.

use std::collections::{BTreeMap, VecDeque};

use esprit_ipsec::spd::Spd;
use esprit_packet::coalesce::Coalescer;
use esprit_packet::{Time, TxFrame};

use crate::balance::Balance;
use crate::counters::Traffic;
use crate::doors::Doors;
use crate::drops::LastDrop;
use crate::hold::Hold;
use crate::plan::{Mac, Plan};
use crate::probe::Prober;
use crate::probe::frame::ProbeKey;
use crate::route::Route;
use crate::verdict::Drops;

/// Bytes of an IP packet at most; what a coalesced super-frame may grow to.
const MAX_PACKET: usize = 65_535;

/// The outbound SAs of one policy (a bundle in balance-alb, one per carrying member) and what
/// it has done.
#[derive(Debug, Default)]
pub struct PolicyState {
    /// `(member, SA)`; no member: the SA goes by whichever member carries it.
    pub sas: Vec<(Option<u32>, u32)>,
    /// The place of their algorithm in [`esprit_crypto::Algorithm::ALL`].
    pub algorithm: usize,
    /// What matched, both directions.
    pub traffic: Traffic,
}

impl PolicyState {
    /// Whether this member has an SA of its own.
    #[must_use]
    pub fn has_own(&self, member: Option<u32>) -> bool {
        member.is_some() && self.sas.iter().any(|(of, _)| *of == member)
    }

    /// The SA and the member for a flow that hashes to `flow_member`; a policy with only one
    /// SA stays on `single`, since one SA over several links loses packets in the peer's
    /// replay window.
    #[must_use]
    pub fn choose(&self, flow_member: Option<u32>, single: Option<u32>) -> Option<(u32, u32)> {
        let member = flow_member?;
        if let Some(&(_, sa)) = self.sas.iter().find(|(of, _)| *of == Some(member)) {
            return Some((member, sa));
        }
        let single = single?;
        self.sas
            .iter()
            .find(|(of, _)| *of == Some(single))
            .or_else(|| self.sas.iter().find(|(of, _)| of.is_none()))
            .map(|&(_, sa)| (single, sa))
    }
}

/// A team.
pub struct Team {
    /// Its id.
    pub id: u32,
    /// Its one MAC.
    pub mac: Mac,
    /// The Plan in force.
    pub plan: Option<Plan>,
    /// The Plan less what was latched since.
    pub route: Route,
    /// Members that were replaced, with who has their SAs.
    pub heirs: BTreeMap<u32, u32>,
    /// The receiver of before, until what it heard as such has been read.
    pub former: Option<u32>,
    /// Whose frame a frame is.
    pub doors: Doors,
    /// The members' ports are to be told which addresses to let in.
    pub doors_moved: bool,
    /// The ordered policies.
    pub spd: Spd,
    /// What belongs to each policy.
    pub policies: BTreeMap<u32, PolicyState>,
    /// Joins TCP segments before the TAP write.
    pub coalescer: Coalescer,
    /// Frames on their way up.
    pub up: VecDeque<TxFrame>,
    /// Why packets of this team went no further.
    pub drops: Drops,
    /// Frames of the host's that were read with no buffer for them, when it was last asked.
    pub unbuffered: u64,
    /// From the host (rx) and to it (tx).
    pub tap: Traffic2,
    /// The last packet that was dropped.
    pub last_drop: Option<LastDrop>,
    /// When engines were last asked what a dropped packet would have cost them.
    pub searched: Option<Time>,
    /// Bytes sent by share of the transmit table.
    pub shares: Vec<u64>,
    /// Flows are moving: their frames wait until what went before is out.
    pub hold: Option<Hold>,
    /// How often they waited.
    pub held: u64,
    /// The key of its members' probes.
    pub probe_key: Option<ProbeKey>,
    /// The probing of its members, where the Plan wants it.
    pub prober: Option<Prober>,
    /// What peers were told, where the Plan balances what they send.
    pub balance: Option<Balance>,
}

/// Traffic in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic2 {
    /// Received.
    pub rx: Traffic,
    /// Sent.
    pub tx: Traffic,
}

impl Team {
    /// Who sends what was made for a member that cannot: the one that has its SAs, so that they
    /// stay in order, or else the one for broadcast.
    #[must_use]
    pub fn heir(&self, lost: u32) -> Option<u32> {
        let heir = self.heirs.get(&lost).copied();
        let heir = heir.filter(|&heir| self.route.uses(heir));
        heir.or(self.route.plain().single)
    }

    /// Heirs are those alone who carry for such as do not.
    pub fn prune_heirs(&mut self) {
        let route = &self.route;
        self.heirs
            .retain(|gone, heir| !route.uses(*gone) && route.uses(*heir));
    }

    /// These policies take the place of those that were: an SA that has another member now makes it
    /// the heir of the one that it had.
    pub fn follow_sas(&mut self, policies: &BTreeMap<u32, PolicyState>) {
        for (id, policy) in policies {
            let before = self.policies.get(id).into_iter();
            let before: BTreeMap<u32, u32> = before
                .flat_map(|before| &before.sas)
                .filter_map(|&(member, sa)| Some((sa, member?)))
                .collect();
            for &(member, sa) in &policy.sas {
                if let (Some(now), Some(&then)) = (member, before.get(&sa))
                    && now != then
                {
                    self.heirs.insert(then, now);
                }
            }
        }
    }

    /// A team whose doors are closed until its first Plan.
    #[must_use]
    pub fn new(id: u32, mac: Mac) -> Self {
        Self {
            id,
            mac,
            plan: None,
            route: Route::closed(),
            heirs: BTreeMap::new(),
            former: None,
            doors: Doors::default(),
            doors_moved: false,
            spd: Spd::default(),
            policies: BTreeMap::new(),
            coalescer: Coalescer::new(MAX_PACKET),
            up: VecDeque::new(),
            drops: Drops::default(),
            unbuffered: 0,
            tap: Traffic2::default(),
            last_drop: None,
            searched: None,
            shares: Vec::new(),
            hold: None,
            held: 0,
            probe_key: None,
            prober: None,
            balance: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(sas: &[(Option<u32>, u32)]) -> PolicyState {
        PolicyState {
            sas: sas.to_vec(),
            algorithm: 0,
            traffic: Traffic::default(),
        }
    }

    #[test]
    fn a_bundle_goes_by_the_flow_s_member() {
        let bundle = policy(&[(Some(1), 11), (Some(2), 12)]);
        assert_eq!(bundle.choose(Some(2), Some(1)), Some((2, 12)));
        assert_eq!(bundle.choose(None, Some(1)), None);
    }

    #[test]
    fn one_sa_stays_on_one_member() {
        let one = policy(&[(None, 10)]);
        assert_eq!(one.choose(Some(2), Some(1)), Some((1, 10)));
        assert_eq!(one.choose(Some(1), Some(1)), Some((1, 10)));
        assert_eq!(policy(&[]).choose(Some(1), Some(1)), None);
    }

    #[test]
    fn a_member_without_an_sa_of_its_own_uses_the_single_s() {
        let bundle = policy(&[(Some(1), 11), (Some(2), 12)]);
        assert_eq!(bundle.choose(Some(3), Some(1)), Some((1, 11)));
    }
}
