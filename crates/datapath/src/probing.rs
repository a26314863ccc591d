//! Probing, as the worker does it: it keeps the rounds, carries the frames, and acts on what a
//! round found. What a round means stands in [`crate::probe`].

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use esprit_packet::{Time, TxFrame};
use smallvec::SmallVec;

use crate::command::Answer;
use crate::events::Event;
use crate::failover::Cause;
use crate::l2;
use crate::plan::{Delivery, Plan};
use crate::probe::frame::{ETHERTYPE, ProbeKey, claims};
use crate::probe::{Finding, Prober, Standing};
use crate::team::Team;
use crate::worker::{Io, Worker};

const ARP: [u8; 2] = 0x0806_u16.to_be_bytes();
const IPV6: [u8; 2] = l2::IPV6.to_be_bytes();
const PROBE: [u8; 2] = ETHERTYPE.to_be_bytes();

/// What a frame is to the probing of its member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A probe of our own: done with.
    Probe,
    /// It claims to be one.
    Forged,
    /// Any other; an answer to a question among them.
    Frame,
}

/// Who answers in a frame: the sender of an ARP reply, the target of a neighbour advertisement.
fn answer_of(frame: &[u8]) -> Option<IpAddr> {
    let kind = frame.get(12..14)?;
    if kind == ARP && frame.get(20..22)? == [0, 2] {
        let sender: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
        return Some(Ipv4Addr::from(sender).into());
    }
    // ICMPv6 (58) without extension headers, type 136 (RFC 4861 section 4.4).
    if kind == IPV6 && frame.get(20) == Some(&58) && frame.get(54) == Some(&136) {
        let target: [u8; 16] = frame.get(62..78)?.try_into().ok()?;
        return Some(Ipv6Addr::from(target).into());
    }
    None
}

impl Team {
    /// Probes as the Plan in force wants it.
    pub(crate) fn follow_probe(&mut self, now: Time, plan: &Plan) {
        match (&mut self.prober, &plan.probe) {
            (Some(prober), Some(spec)) => prober.set_spec(now, spec.clone()),
            (prober, Some(spec)) => {
                *prober = Some(Prober::new(self.id, self.mac, spec.clone(), now));
            }
            (prober, None) => *prober = None,
        }
        if let Some(prober) = &mut self.prober {
            prober.set_foreign(plan.delivery != Delivery::Return);
        }
    }
}

impl Worker {
    /// Sets the key of a team's probes.
    pub fn probe_key(&mut self, team: u32, key: ProbeKey) -> Answer {
        match self.teams.get_mut(&team) {
            Some(team) => {
                team.probe_key = Some(key);
                Answer::Done
            }
            None => Answer::Refused(format!("team {team} does not exist")),
        }
    }

    /// Looks at a frame before anything else does: three compares for most of them.
    pub(crate) fn hear(&mut self, member: u32, frame: &[u8]) -> Heard {
        let kind = frame.get(l2::ADDRESSES..l2::ADDRESSES + 2);
        if kind == Some(&PROBE) {
            return self.hear_probe(member, frame);
        }
        if (kind == Some(&ARP) || (kind == Some(&IPV6) && frame.get(20) == Some(&58)))
            && let Some(at) = self.members.get(&member)
            && let Some(prober) = self.teams.get_mut(&at.team).and_then(|t| t.prober.as_mut())
            && let Some(address) = answer_of(frame)
        {
            prober.hear_answer(member, address);
        }
        Heard::Frame
    }

    fn hear_probe(&mut self, member: u32, frame: &[u8]) -> Heard {
        let Some(at) = self.members.get(&member) else {
            return Heard::Frame;
        };
        // Flooded by a switch, or another protocol under the same experimental number.
        if !claims(frame) || l2::destination(frame) != at.mac {
            return Heard::Frame;
        }
        let Some(team) = self.teams.get_mut(&at.team) else {
            return Heard::Frame;
        };
        let (Some(prober), Some(key)) = (&mut team.prober, &team.probe_key) else {
            return Heard::Forged;
        };
        match prober.hear(member, frame, key) {
            Ok(()) => Heard::Probe,
            Err(crate::probe::NotOurs) => Heard::Forged,
        }
    }

    /// Ends the rounds that are due, acts on what they found, and begins the next ones.
    pub(crate) fn probe(&mut self, now: Time, io: &mut dyn Io) {
        let due: SmallVec<[u32; 4]> = self
            .teams
            .values()
            .filter(|team| team.prober.as_ref().is_some_and(|p| p.due() <= now))
            .map(|team| team.id)
            .collect();
        for team in due {
            self.probe_team(now, team, io);
        }
    }

    fn probe_team(&mut self, now: Time, id: u32, io: &mut dyn Io) {
        let Some(mut prober) = self.teams.get_mut(&id).and_then(|team| team.prober.take()) else {
            return;
        };
        let began = prober.began().unwrap_or(now);
        let mut roster = Vec::new();
        for member in self.members.values_mut().filter(|member| member.team == id) {
            // What the kernel dropped unread may have been a probe.
            let drops = io.member(member.id).map_or(member.kernel_drops, |port| {
                port.refresh();
                port.counters().rx_kernel_drops
            });
            let whole = core::mem::replace(&mut member.kernel_drops, drops) == drops;
            // Of those that may not carry, only such as are under suspicion take part: others
            // need no path.
            let wanted = member.carry || !member.heard || member.latched.is_some();
            roster.push(Standing {
                id: member.id,
                mac: member.mac,
                up: member.up && wanted,
                drained: whole && member.drained >= began,
                strange: core::mem::take(&mut member.strange),
            });
        }
        let found = prober.turn(now, &roster);
        self.send_probes(now, id, &mut prober);
        if let Some(team) = self.teams.get_mut(&id) {
            team.prober = Some(prober);
        }
        for finding in found {
            match finding {
                Finding::Deaf(member) => self.lose(now, member, Cause::Deaf),
                Finding::Hears(member) => self.hears_again(now, member),
                Finding::Tie => self.events.push(now, Event::ProbeTie { team: id }),
            }
        }
    }

    fn send_probes(&mut self, now: Time, id: u32, prober: &mut Prober) {
        let Some(team) = self.teams.get(&id) else {
            return;
        };
        for member in self.members.values_mut().filter(|member| member.team == id) {
            // What the device has not taken in a whole round is stale.
            member.urgent.clear();
        }
        let mut put = |member: u32, frame: &[u8]| {
            let frame = TxFrame {
                head: SmallVec::from_slice(frame),
                ..TxFrame::default()
            };
            if let Some(member) = self.members.get_mut(&member)
                && member.up
            {
                member.urgent.push_back(frame);
            }
        };
        if let Some(key) = &team.probe_key {
            let mut out = Vec::new();
            prober.probes(now, key, &mut out);
            for probe in out {
                put(probe.member, &probe.frame);
            }
        }
        for ask in prober.asks() {
            put(ask.member, &ask.frame);
        }
    }

    /// A member that was deaf has been heard for long enough. It is used again once a Plan says
    /// so that knows of it.
    pub(crate) fn hears_again(&mut self, now: Time, id: u32) {
        self.link_epoch += 1;
        let epoch = self.link_epoch;
        if let Some(member) = self.members.get_mut(&id) {
            member.heard = true;
            member.latched = Some(epoch);
        }
        self.events.push(
            now,
            Event::Probe {
                member: id,
                heard: true,
                epoch,
            },
        );
    }

    /// Members whose team is not probed any more count as heard.
    pub(crate) fn unprobed(&mut self, now: Time, team: u32) {
        if self.teams.get(&team).is_some_and(|t| t.prober.is_some()) {
            return;
        }
        let deaf: Vec<u32> = self
            .members
            .values_mut()
            .filter(|member| member.team == team)
            .filter_map(|member| {
                member.urgent.clear();
                (!member.heard).then_some(member.id)
            })
            .collect();
        for member in deaf {
            self.hears_again(now, member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_nothing_else_is_one() {
        let mut arp = vec![0; 60];
        arp[12..14].copy_from_slice(&ARP);
        arp[21] = 2;
        arp[28..32].copy_from_slice(&[10, 0, 0, 9]);
        assert_eq!(answer_of(&arp), Some([10, 0, 0, 9].into()));
        arp[21] = 1;
        assert_eq!(answer_of(&arp), None, "a question");
        let mut na = vec![0; 86];
        na[12..14].copy_from_slice(&IPV6);
        na[20] = 58;
        na[54] = 136;
        na[62] = 0xfe;
        assert_eq!(answer_of(&na), Some("fe00::".parse().unwrap()));
        for len in 0..78 {
            assert_eq!(answer_of(&na[..len]), None);
        }
    }
}
