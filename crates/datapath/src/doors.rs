//! Whose frame is it, and may the member that heard it take it? Computed when a Plan arrives, a
//! member comes or one is lost; looked up per frame.

use crate::member::Member;
use crate::plan::{Delivery, Mac, Plan, SourceMac};

/// The addresses of a team.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doors {
    /// All that are our own: the team's and its members'.
    own: Vec<u64>,
    /// Those that a switch may have learnt at any carrying member, since sealed packets leave by
    /// the member of whichever engine sealed them.
    roaming: Vec<u64>,
}

const fn number(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

impl Doors {
    /// The doors of a team with these members.
    #[must_use]
    pub fn compute<'a>(
        team: Mac,
        plan: Option<&Plan>,
        members: impl Iterator<Item = &'a Member> + Clone,
    ) -> Self {
        let own = core::iter::once(team)
            .chain(members.clone().map(|member| member.mac))
            .map(number)
            .collect();
        let roaming = match plan {
            Some(plan) if plan.delivery != Delivery::Return => match plan.mac {
                SourceMac::Team => vec![number(team)],
                SourceMac::Member => members
                    .filter(|member| member.carry && member.accept)
                    .map(|member| number(member.mac))
                    .collect(),
            },
            Some(_) | None => Vec::new(),
        };
        Self { own, roaming }
    }

    /// Whether an address is one of our own.
    #[must_use]
    pub fn is_own(&self, mac: Mac) -> bool {
        self.own.contains(&number(mac))
    }

    /// Whether every carrying member takes what is sent to this address.
    #[must_use]
    pub fn roams(&self, mac: Mac) -> bool {
        // Empty in return delivery.
        !self.roaming.is_empty() && self.roaming.contains(&number(mac))
    }

    /// The addresses that a member's port is to let in beside its interface's own.
    #[must_use]
    pub fn admitted(&self, team: Mac) -> Vec<[u8; 6]> {
        let roaming = self.roaming.iter().map(|&mac| {
            let [_, _, a, b, c, d, e, f] = mac.to_be_bytes();
            [a, b, c, d, e, f]
        });
        let mut all: Vec<[u8; 6]> = core::iter::once(team.0).chain(roaming).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
