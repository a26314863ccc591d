//! The last packet of a team that was dropped, for `explain --last-drop`. Written where a drop is
//! counted and the packet is at hand: one record, in place.

use std::net::IpAddr;

use esprit_packet::VnetHdr;
use esprit_packet::parse::Parsed;
use serde::Serialize;

use crate::verdict::DropReason;
use crate::worker::Worker;

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From the host.
    Out,
    /// From the wire.
    In,
}

/// What had been found out about a packet when it was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trail {
    /// The policy that matched.
    pub policy: Option<u32>,
    /// Its SA.
    pub sa: Option<u32>,
    /// The member that was to send it, or heard it.
    pub member: Option<u32>,
}

/// A dropped packet.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LastDrop {
    /// Nanoseconds of the data plane's clock.
    pub time: u64,
    /// The reason's name.
    pub reason: &'static str,
    /// Which way it went.
    pub direction: Way,
    /// Its source address; unspecified where it is not IP.
    pub src: IpAddr,
    /// Its destination address.
    pub dst: IpAddr,
    /// Its transport protocol.
    pub protocol: u8,
    /// Its source port, where it has one that can be seen.
    pub sport: Option<u16>,
    /// Its destination port.
    pub dport: Option<u16>,
    /// What had been found out about it.
    #[serde(flatten)]
    pub trail: Trail,
    /// How many packets were dropped with it: a super-frame is as many as its segments.
    pub packets: u64,
}

impl Worker {
    /// Remembers a drop. `trail` says what was known.
    pub(crate) fn note_drop(
        &mut self,
        team: u32,
        direction: Way,
        reason: DropReason,
        parsed: &Parsed,
        packets: u64,
    ) {
        let (time, trail) = (self.now.0, self.trail);
        if let Some(team) = self.teams.get_mut(&team) {
            team.last_drop = Some(LastDrop {
                time,
                reason: reason.name(),
                direction,
                src: parsed.src,
                dst: parsed.dst,
                protocol: parsed.protocol,
                sport: parsed.ports.map(|(sport, _)| sport),
                dport: parsed.ports.map(|(_, dport)| dport),
                trail,
                packets,
            });
        }
    }

    /// As [`Worker::note_drop`], for the frame that a job was made from: it is parsed again.
    pub(crate) fn note_frame_drop(
        &mut self,
        team: u32,
        direction: Way,
        reason: DropReason,
        frame: &[u8],
        packets: u64,
    ) {
        // As of a super-frame: the end of the frame is the end of the packet.
        let whole = VnetHdr {
            gso_type: esprit_packet::vnet_hdr::GSO_UDP_L4,
            ..VnetHdr::default()
        };
        if let Ok(parsed) = esprit_packet::parse::parse_frame(frame, &whole) {
            self.note_drop(team, direction, reason, &parsed, packets);
        }
    }

    /// The last packet of a team that was dropped.
    #[must_use]
    pub fn last_drop(&self, team: u32) -> Option<LastDrop> {
        self.teams.get(&team).and_then(|team| team.last_drop)
    }
}
