//! What becomes of a packet that the host sends: policy and member, without doing any of it.
//!
//! The journey out and `explain` ask the same functions, so an explanation is what would happen.

use esprit_crypto::{AeadKey, Direction, MAX_OPS};
use esprit_ipsec::encap::OuterTemplate;
use esprit_ipsec::sad::Mode;
use esprit_ipsec::spd::{Action, Rule, Verdict};
use esprit_packet::flow::FlowKey;
use esprit_packet::parse::{Net, Parsed};

use crate::l2;
use crate::plan::{Delivery, Mac};
use crate::sa::OutSa;
use crate::team::Team;
use crate::verdict::DropReason;
use crate::worker::Worker;

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It leaves as it is by the receiver, with the team's address: ARP, ND, broadcast,
    /// multicast and what is not IP.
    ByReceiver(u32),
    /// It leaves as it is by the member of its share.
    Pass(u32),
    /// It is sealed for this member with this SA.
    Protect {
        /// The member.
        member: u32,
        /// The SA.
        sa: u32,
    },
}

/// A decision: what the policies say, and what follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision {
    /// What the SPD said.
    pub verdict: Verdict,
    /// The share of the transmit table that it belongs to, where it goes by one.
    pub share: Option<usize>,
    /// It goes by whichever member carries what has one SA only.
    pub single: bool,
    /// The hash of its flow, where it is of one.
    pub hash: Option<u32>,
    /// What follows.
    pub fate: Result<Fate, DropReason>,
}

/// Decides on a packet. `frame` is what it was parsed from.
pub(crate) fn decide(team: &Team, parsed: &Parsed, frame: &[u8]) -> Decision {
    let verdict = team.spd.lookup_out(parsed, frame);
    let (mut share, mut single, mut hash) = (None, false, None);
    let flow = || FlowKey::of(parsed).hash(0);
    let fate = match verdict.action {
        Action::Discard => Err(discarded(verdict.rule)),
        Action::Protect => {
            let flow = *hash.insert(flow());
            protected(team, flow, verdict).map(|protected| {
                (share, single) = (protected.share, protected.single);
                protected.fate
            })
        }
        Action::Bypass => {
            // ARP, ND, broadcast, multicast and non-IP leave by the receiver.
            let by_receiver = match parsed.net {
                Net::Ipv4 | Net::Ipv6 => {
                    l2::destination(frame).is_group() || parsed.is_neighbour_discovery()
                }
                Net::Arp | Net::Other(_) | Net::Encapsulated(_) => true,
            };
            if by_receiver {
                team.route.receiver.map(Fate::ByReceiver)
            } else {
                let flow = *hash.insert(flow());
                let lane = team.route.plain();
                share = Some(lane.share(flow));
                lane.transmit(flow).map(Fate::Pass)
            }
            .ok_or(DropReason::NoMember)
        }
    };
    Decision {
        verdict,
        share,
        single,
        hash,
        fate,
    }
}

/// What is decided on a packet that is to be protected, as in [`Decision`].
struct Protected {
    share: Option<usize>,
    single: bool,
    fate: Fate,
}

fn protected(team: &Team, hash: u32, verdict: Verdict) -> Result<Protected, DropReason> {
    let policy = verdict
        .policy
        .and_then(|id| team.policies.get(&id.0))
        .ok_or(DropReason::NoSa)?;
    if team.route.receiver.is_none() {
        return Err(DropReason::NoMember);
    }
    let lane = team.route.protected(policy.algorithm);
    let by_share = lane.transmit(hash);
    if by_share.is_none() && lane.single.is_none() && !policy.sas.is_empty() {
        // The mask serves nobody with this algorithm.
        return Err(DropReason::NoEngine);
    }
    let (member, sa) = policy
        .choose(by_share, lane.single)
        .ok_or(DropReason::NoSa)?;
    Ok(Protected {
        share: (by_share == Some(member)).then(|| lane.share(hash)),
        single: !policy.has_own(by_share),
        fate: Fate::Protect { member, sa },
    })
}

/// The headers of what an SA makes of a packet: Ethernet (its source is written at release) and
/// the outer packet.
pub(crate) fn wrap(
    sa: &OutSa,
    parsed: &Parsed,
    frame: &[u8],
) -> Result<(l2::Header, OuterTemplate), DropReason> {
    let l3 = usize::from(parsed.l3);
    let packet = &frame[l3..parsed.end as usize];
    let outer = OuterTemplate::new(&sa.spec, packet, parsed).map_err(|_| DropReason::SaMismatch)?;
    let mut eth = l2::retyped(frame, l3, outer.ethertype());
    if sa.spec.mode == Mode::Tunnel {
        let next_hop: Mac = sa.next_hop.ok_or(DropReason::NoNextHop)?;
        l2::set_destination(&mut eth, next_hop);
    }
    Ok((eth, outer))
}

/// Why a policy look-up ended in discard.
pub(crate) fn discarded(rule: Rule) -> DropReason {
    match rule {
        Rule::Policy | Rule::Builtin(_) => DropReason::PolicyDiscard,
        Rule::Default | Rule::Protected => DropReason::DefaultDiscard,
        Rule::Fragment => DropReason::FragmentDiscard,
        Rule::Encapsulated => DropReason::Encapsulated,
    }
}

impl Worker {
    /// Who sends what `engine` sealed for `member`: `bytes` of it, in one job.
    pub(crate) fn deliverer(
        &self,
        team: &Team,
        member: u32,
        engine: esprit_crypto::EngineId,
        bytes: u64,
    ) -> u32 {
        let Some(other) = team.route.deliverer(engine).filter(|&of| of != member) else {
            return member;
        };
        match team.plan.as_ref().map(|plan| plan.delivery) {
            None | Some(Delivery::Return) => member,
            Some(Delivery::Direct) => other,
            // Whichever is the sooner: back to the requester and through its queue, or
            // through that of the engine's own member.
            Some(Delivery::Auto) => {
                let waits = |of: u32| self.members.get(&of).map_or(0, |m| m.pace.backlog_ns());
                let returned = waits(member).saturating_add(self.way_back_ns(engine, bytes));
                if waits(other) < returned {
                    other
                } else {
                    member
                }
            }
        }
    }

    /// Packets that a job should hold now: few while engines are idle, so that they all have
    /// something and the first are back soon, many under load. Where the worker itself does all
    /// the work, a job is back when it was given away, and every further one only costs.
    pub(crate) fn job_size(
        &self,
        team: u32,
        member: u32,
        key: &AeadKey,
        direction: Direction,
    ) -> usize {
        if self.engines.values().all(|&(_, synchronous)| synchronous) {
            return MAX_OPS;
        }
        self.pool
            .preferred_ops(team, Some(member), key.algorithm(), direction)
    }

    /// Nanoseconds from an engine back to the requester.
    fn way_back_ns(&self, engine: esprit_crypto::EngineId, bytes: u64) -> u64 {
        // What it declares is the way there and back.
        self.engines.get(&engine.0).map_or(0, |(way, _)| {
            way.ns_per_job / 2 + (bytes as f64 * way.ns_per_byte) as u64
        })
    }
}
