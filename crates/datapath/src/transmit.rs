//! The last step: queues towards the ports.

use esprit_packet::{Time, TxFrame};
use esprit_port::{PortCounters, PortError};

use crate::drops::{LastDrop, Trail, Way, beginning, headers};
use crate::failover::Cause;
use crate::l2;
use crate::member::Member;
use crate::plan::{Delivery, Mac, SourceMac};
use crate::team::Team;
use crate::verdict::DropReason;
use crate::worker::{Io, Worker};

impl Worker {
    /// Queues a frame whose head holds its Ethernet addresses for `member`, or for who took
    /// over since it was chosen. Full: dropped and counted.
    pub(crate) fn queue(&mut self, member: u32, frame: TxFrame) {
        let Some(at) = self.members.get_mut(&member) else {
            return;
        };
        if at.alive() {
            if let Some(frame) = at.push(frame) {
                self.drop_frame(member, DropReason::TxQueueFull, &frame);
            }
            return;
        }
        let heir = self.teams.get(&at.team).and_then(|team| team.heir(member));
        match heir {
            Some(heir) if heir != member => self.queue_from(member, heir, frame),
            Some(_) | None => self.drop_frame(member, DropReason::PortDown, &frame),
        }
    }

    /// Queues for `heir` what was made for `lost`: where members send their own address, it
    /// is now the heir's.
    pub(crate) fn queue_from(&mut self, lost: u32, heir: u32, mut frame: TxFrame) {
        let (Some(from), Some(to)) = (self.members.get(&lost), self.members.get(&heir)) else {
            return;
        };
        if frame.head.len() >= l2::ADDRESSES && l2::source(&frame.head) == from.mac {
            let mac = to.mac;
            l2::set_source(&mut frame.head, mac);
        }
        if let Some(to) = self.members.get_mut(&heir)
            && let Some(frame) = to.inherit(frame)
        {
            self.drop_frame(heir, DropReason::TxQueueFull, &frame);
        }
    }

    /// What `member` sends as source of unicast IP.
    pub(crate) fn source_mac(&self, team: u32, member: u32) -> Option<Mac> {
        let team = self.teams.get(&team)?;
        match team.plan.as_ref()?.mac {
            SourceMac::Team => Some(team.mac),
            SourceMac::Member => self.members.get(&member).map(|m| m.mac),
        }
    }

    pub(crate) fn drop_on_member(&mut self, member: u32, reason: DropReason, packets: u64) {
        if let Some(member) = self.members.get_mut(&member) {
            member.drops.count(reason, packets);
        }
    }

    /// Whether frames wait for this member's device.
    #[must_use]
    pub fn member_waits(&self, member: u32) -> bool {
        self.members
            .get(&member)
            .is_some_and(|member| !member.tx.is_empty() || !member.urgent.is_empty())
    }

    /// Asks devices what they have taken and not sent, where `auto` weighs that against the way back
    /// from an engine: a system call each, before jobs come back.
    pub(crate) fn look_at_devices(&mut self, now: Time, io: &mut dyn Io) {
        let auto = |team: &Team| {
            let plan = team.plan.as_ref();
            plan.is_some_and(|plan| plan.delivery == Delivery::Auto)
        };
        if self.pool.in_flight() == 0 || !self.teams.values().any(auto) {
            return;
        }
        for (&id, member) in &mut self.members {
            if member.carry
                && self.teams.get(&member.team).is_some_and(auto)
                && let Some(port) = io.member(id)
            {
                member.pace.looked(now, port.unsent());
            }
        }
    }

    /// Gives the ports what they will take.
    pub(crate) fn send(&mut self, now: Time, io: &mut dyn Io) -> bool {
        let mut sent = 0;
        for (&id, team) in &mut self.teams {
            let mut out = Vec::new();
            team.coalescer.flush(&mut out);
            team.up.extend(out);
            if team.up.is_empty() {
                continue;
            }
            let Some(port) = io.tap(id) else {
                let packets = team.up.iter().map(TxFrame::packets).sum();
                team.drops.count(DropReason::PortRefused, packets);
                team.up.clear();
                continue;
            };
            let mut stats = PortCounters::default();
            // The virtual NIC takes a frame at once or never: what is left would only age.
            let _ = port.send(&mut team.up, &mut stats);
            let refused = stats.tx_dropped + team.up.len() as u64;
            team.drops.count(DropReason::PortRefused, refused);
            if refused > 0 {
                let reason = DropReason::PortRefused;
                let parsed = team.up.front().and_then(|frame| headers(&beginning(frame)));
                let (parsed, trail) = (parsed.as_ref(), Trail::default());
                team.last_drop = Some(LastDrop::new(now, Way::In, reason, parsed, trail, refused));
            }
            team.up.clear();
            team.tap.tx.count(stats.tx_packets, stats.tx_bytes);
            sent += 1;
        }
        let mut lost = Vec::new();
        let mut failing = Vec::new();
        for (&id, member) in &mut self.members {
            if member.tx.is_empty() && member.urgent.is_empty() {
                continue;
            }
            let Some(port) = io.member(id) else {
                lost.push((id, PortError::Gone));
                continue;
            };
            let mut stats = PortCounters::default();
            let mut probes = PortCounters::default();
            let mut outcome = Ok(0);
            if !member.urgent.is_empty() {
                outcome = port.send(&mut member.urgent, &mut probes);
            }
            let had = member.tx.len();
            if had > 0 && outcome.is_ok() {
                outcome = port.send(&mut member.tx, &mut stats);
                member.pace.sent(now, had, member.tx.len());
            }
            match outcome {
                Ok(0) => {}
                Ok(_) => sent += 1,
                Err(error) => lost.push((id, error)),
            }
            // What is refused for its size or form is the frame's fault; a device that is full
            // refuses nothing, and one that is down or gone says so by other ways.
            let failed = stats.tx_refused + probes.tx_refused;
            let went = stats.tx_frames + probes.tx_frames + outcome.unwrap_or(0) as u64;
            if let Some(count) = member.errors.count(now, went, failed) {
                failing.push((id, count));
            }
            member.port.tx.count(stats.tx_packets, stats.tx_bytes);
            let (reason, refused) = (DropReason::PortRefused, stats.tx_dropped);
            member.drops.count(reason, refused);
            if let (true, Some(team)) = (refused > 0, self.teams.get_mut(&member.team)) {
                let trail = Trail {
                    member: Some(id),
                    ..Trail::default()
                };
                team.last_drop = Some(LastDrop::new(now, Way::Out, reason, None, trail, refused));
            }
        }
        for (id, error) in lost {
            match error {
                PortError::Gone => {
                    self.port_gone(now, id);
                    io.close_member(id);
                }
                // Down: the link socket says so too, and first; what waits is moved then.
                PortError::Down | PortError::Io(_) => {}
            }
        }
        for (id, count) in failing {
            if self.members.get(&id).is_some_and(Member::alive) {
                self.lose(now, id, Cause::TxErrors(count));
            }
        }
        sent > 0
    }
}
