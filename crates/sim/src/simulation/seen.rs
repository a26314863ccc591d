//! What is seen on the wires and at the host, and what is wrong with it.

use esprit_packet::{Time, TxFrame, VnetHdr};

use super::{ARRIVED, Flying, Lane, Simulation, WIRE_LOST};
use crate::checks::{Rule, Sabotage};
use crate::peer::{Opened, Peer};
use crate::probe::{ETHERNET, IPV4, Probe, UDP};
use crate::wire::MemberPort;

impl Simulation {
    pub(super) fn handed_over(&mut self, member: u32, frame: &TxFrame, departs: Time) {
        *self.member_frames.entry(member).or_default() += 1;
        let mut bytes = frame.to_vec();
        if self.trap.springs(Sabotage::Conservation) {
            return;
        }
        if self.trap.springs(Sabotage::Bounded) {
            self.kept = frame.body.first().map(|slice| slice.buf.clone());
        }
        if self.trap.springs(Sabotage::Bytes)
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
        }
        if self.trap.springs(Sabotage::Plaintext) {
            bytes.extend_from_slice(&self.canary);
        }
        self.overheard(member, &bytes, &frame.vnet, departs);
        if self.trap.springs(Sabotage::Duplicate) {
            self.overheard(member, &bytes, &frame.vnet, departs);
        }
    }

    fn overheard(&mut self, member: u32, bytes: &[u8], vnet: &VnetHdr, departs: Time) {
        if self.ear.sees_plaintext(bytes) {
            let detail =
                format!("member {member} was given a packet that policy protects, unsealed");
            self.verdict.broken(self.now, Rule::Plaintext, detail);
            return;
        }
        if let Some(from) = bytes
            .get(6..12)
            .and_then(|mac| <[u8; 6]>::try_from(mac).ok())
        {
            let before = self.switch.insert(from, member);
            self.moves += u64::from(before.is_some_and(|before| before != member));
        }
        let gso = usize::from(vnet.gso_size);
        if let Some(packets) = Peer::esp(bytes, gso) {
            for packet in packets {
                match self.peer.open(packet) {
                    Ok(opened) => self.opened(member, &opened, departs),
                    Err(_) if self.lied && !self.config.checked => self.spoiled += 1,
                    Err(why) => self.verdict.broken(self.now, Rule::Bytes, why),
                }
            }
            return;
        }
        let payload = bytes.get(ETHERNET + IPV4 + UDP..).unwrap_or_default();
        match Probe::read(&self.plain, payload) {
            Some(probe) => {
                let lane = Some(Lane::Plain(member));
                self.in_order(member, lane, probe, payload.len(), departs);
            }
            None => self.control_frame(member, bytes, departs),
        }
    }

    fn opened(&mut self, member: u32, opened: &Opened, departs: Time) {
        let heard = self
            .ear
            .sealed(opened.sa, member, opened.seq, opened.digest);
        let ordered = match heard {
            Ok(ordered) => ordered,
            Err((rule, detail)) => {
                self.verdict.broken(self.now, rule, detail);
                return;
            }
        };
        match Probe::read(&self.canary, &opened.payload) {
            Some(probe) => {
                let lane = ordered.then_some(Lane::Sa(opened.sa, member));
                self.in_order(member, lane, probe, opened.payload.len(), departs);
            }
            None => {
                let detail = format!(
                    "SA {}: number {} opens to what nobody sent",
                    opened.sa, opened.seq
                );
                self.verdict.broken(self.now, Rule::Bytes, detail);
            }
        }
    }

    /// A probe was handed over to `member` (`u32::MAX`: to the host), in the order of `lane`.
    fn in_order(
        &mut self,
        member: u32,
        lane: Option<Lane>,
        probe: Probe,
        payload: usize,
        departs: Time,
    ) {
        let flow = self.flows.get_mut(probe.flow as usize);
        let known =
            flow.and_then(|flow| Some((flow.fate.get(probe.number as usize).copied()?, flow)));
        let Some((fate, flow)) = known else {
            // The shortest probe is its label alone, so that a liar may make of it one that nobody
            // sent.
            if self.lied && (member == u32::MAX || !self.config.checked) {
                self.spoiled += 1;
            } else {
                let detail = "a probe that was not sent";
                self.verdict.broken(self.now, Rule::Bytes, detail);
            }
            return;
        };
        if matches!(fate, ARRIVED | WIRE_LOST) {
            let detail = format!("packet {} of flow {} came twice", probe.number, probe.flow);
            self.verdict.broken(self.now, Rule::Duplicate, detail);
        }
        if let Some(lane) = lane {
            let next = flow.next.entry(lane).or_default();
            if probe.number < *next {
                let detail = format!(
                    "packet {} of flow {} came behind packet {}",
                    probe.number,
                    probe.flow,
                    *next - 1
                );
                self.verdict.broken(self.now, Rule::Order, detail);
            }
            *next = probe.number + 1;
        }
        self.flying.entry(member).or_default().push_back(Flying {
            departs,
            probe,
            bytes: (payload + IPV4 + UDP) as u32,
        });
        self.settle_member(member, self.now);
    }

    pub(super) fn went_up(&mut self, frame: &TxFrame) {
        let bytes = frame.to_vec();
        let payload = bytes.get(ETHERNET + IPV4 + UDP..).unwrap_or_default();
        let probe =
            Probe::read(&self.canary, payload).or_else(|| Probe::read(&self.plain, payload));
        match probe {
            Some(probe) => {
                self.in_order(u32::MAX, Some(Lane::Host), probe, payload.len(), self.now);
            }
            None if self.lied => self.spoiled += 1,
            None if bytes.get(12..14) == Some(&[8, 0]) => {
                let detail = "the host was given a packet that nobody sent";
                self.verdict.broken(self.now, Rule::Bytes, detail);
            }
            None => {}
        }
    }

    /// Applications' results.
    pub(super) fn looped_back(&mut self) {
        for application in &mut self.applications {
            let looked = application.take(self.now);
            let name = &application.spec.name;
            if let Some(task) = looked.strange {
                let detail = format!("task {task} of {name} came back twice");
                self.verdict.broken(self.now, Rule::Duplicate, detail);
            }
            if looked.wrong > 0 && self.lied {
                self.spoiled_messages += looked.wrong;
            } else if looked.wrong > 0 {
                let detail = format!("{name} was given {} wrong messages", looked.wrong);
                self.verdict.broken(self.now, Rule::Bytes, detail);
            }
        }
    }

    /// Frames of the team's own, probes of members among them: the switch gives them to whom they
    /// are for.
    fn control_frame(&mut self, from: u32, bytes: &[u8], _departs: Time) {
        self.control_frames += 1;
        let Some(to) = bytes.get(..6).and_then(|mac| <[u8; 6]>::try_from(mac).ok()) else {
            return;
        };
        let dead = |port: &MemberPort| !port.up || port.deaf || port.gone;
        if self.wires.members.get(&from).is_none_or(dead) {
            return;
        }
        self.told(bytes);
        let mut woken = false;
        for (mac, &(id, _)) in &self.member_macs {
            let port = self.wires.members.get_mut(&id);
            if id != from
                && (to[0] & 1 == 1 || to == *mac)
                && let Some(port) = port.filter(|port| !dead(port))
            {
                port.receive_own(bytes.to_vec());
                woken = true;
            }
        }
        if woken {
            self.wake_at(self.now);
        }
    }

    /// What has left a member's device by `now` has arrived.
    pub(super) fn settle_member(&mut self, member: u32, now: Time) {
        let lost = self
            .wires
            .members
            .get(&member)
            .is_some_and(|port| !port.up || port.deaf);
        while let Some(flying) = self.flying.get_mut(&member)
            && flying.front().is_some_and(|one| one.departs <= now)
            && let Some(one) = flying.pop_front()
        {
            if lost {
                self.wire_lost(one);
            } else {
                *self.member_bytes.entry(member).or_default() += u64::from(one.bytes);
                self.arrived(one);
            }
        }
    }

    pub(super) fn lose_flying(&mut self, member: u32) {
        for one in self.flying.remove(&member).unwrap_or_default() {
            self.wire_lost(one);
        }
    }

    pub(super) fn arrived(&mut self, one: Flying) {
        let flow = &mut self.flows[one.probe.flow as usize];
        let fate = &mut flow.fate[one.probe.number as usize];
        let sent = core::mem::replace(fate, ARRIVED);
        self.open -= u64::from(sent < WIRE_LOST);
        let counts = &mut self.counts[flow.source];
        counts.delivered += 1;
        counts.delivered_bytes += u64::from(one.bytes);
        counts
            .latencies
            .push(one.departs.0 - sent.min(one.departs.0));
    }

    fn wire_lost(&mut self, one: Flying) {
        let flow = &mut self.flows[one.probe.flow as usize];
        let fate = &mut flow.fate[one.probe.number as usize];
        let sent = core::mem::replace(fate, WIRE_LOST);
        self.open -= u64::from(sent < WIRE_LOST);
        self.counts[flow.source].wire_lost += 1;
    }
}
