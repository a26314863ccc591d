//! The last packet of a team that was dropped, for `explain --last-drop`: one record, written where
//! a drop is counted and the packet is at hand.
//!
//! What a member hears and is nobody's here (copies, floods, our own frames) is counted and not
//! recorded: it is no packet of the team's.

use std::net::{IpAddr, Ipv4Addr};

use esprit_crypto::{Candidate, Direction, EngineId, Request};
use esprit_packet::parse::{Parsed, parse_frame};
use esprit_packet::{Time, TxFrame, VnetHdr};
use serde::Serialize;
use smallvec::SmallVec;

use crate::team::Team;
use crate::verdict::DropReason;
use crate::worker::Worker;

/// What each engine would have cost is worked out once in so long for a team: with 256 engines it
/// takes some 50 us, 0.5 % of the worker's time while every packet is dropped. A drop that comes
/// sooner leaves the record as it is.
const CANDIDATES_EVERY: Time = Time::from_millis(10);

/// Bytes of a frame that hold what a record shows: Ethernet with two tags, IPv6 with some
/// extensions, and the ports.
const HEADERS: usize = 128;

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
    /// The engine that worked on it last.
    pub engine: Option<EngineId>,
}

/// A dropped packet.
#[derive(Clone, Debug, Serialize)]
pub struct LastDrop {
    /// Nanoseconds of the data plane's clock.
    pub time: u64,
    /// The reason's name.
    pub reason: &'static str,
    /// Which way it went.
    pub direction: Way,
    /// Its source address; unspecified where it is not IP, or was not read.
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
    /// What every engine would have cost, where no engine took it.
    pub candidates: Vec<Candidate>,
}

impl LastDrop {
    /// The drop of a packet; `parsed` where that could be read.
    pub(crate) fn new(
        now: Time,
        direction: Way,
        reason: DropReason,
        parsed: Option<&Parsed>,
        trail: Trail,
        packets: u64,
    ) -> Self {
        let unread = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let ports = parsed.and_then(|parsed| parsed.ports);
        Self {
            time: now.0,
            reason: reason.name(),
            direction,
            src: parsed.map_or(unread, |parsed| parsed.src),
            dst: parsed.map_or(unread, |parsed| parsed.dst),
            protocol: parsed.map_or(0, |parsed| parsed.protocol),
            sport: ports.map(|(sport, _)| sport),
            dport: ports.map(|(_, dport)| dport),
            trail,
            packets,
            candidates: Vec::new(),
        }
    }
}

/// A frame's headers, where the end of the frame need not be the end of the packet.
pub(crate) fn headers(frame: &[u8]) -> Option<Parsed> {
    // As of a super-frame: its length is not held against what is there.
    let whole = VnetHdr {
        gso_type: esprit_packet::vnet_hdr::GSO_UDP_L4,
        ..VnetHdr::default()
    };
    parse_frame(frame, &whole).ok()
}

/// The first bytes of a frame that is made of parts.
pub(crate) fn beginning(frame: &TxFrame) -> SmallVec<[u8; HEADERS]> {
    let mut bytes = SmallVec::new();
    for part in core::iter::once(&frame.head[..]).chain(frame.body.parts()) {
        let room = HEADERS.saturating_sub(bytes.len());
        bytes.extend_from_slice(&part[..part.len().min(room)]);
    }
    bytes
}

impl Team {
    /// Whether engines may be asked now what a drop would have cost them.
    fn may_search(&mut self, now: Time) -> bool {
        let soon = self
            .searched
            .is_some_and(|before| now.since(before) < CANDIDATES_EVERY);
        if !soon {
            self.searched = Some(now);
        }
        !soon
    }
}

impl Worker {
    /// Remembers a drop. `trail` says what was known; `parsed` is none where nothing could be read.
    pub(crate) fn note_drop(
        &mut self,
        team: u32,
        direction: Way,
        reason: DropReason,
        parsed: Option<&Parsed>,
        packets: u64,
    ) {
        let now = self.now;
        let mut drop = LastDrop::new(now, direction, reason, parsed, self.trail, packets);
        let Some(at) = self.teams.get_mut(&team) else {
            return;
        };
        // The mask serves nobody.
        if reason == DropReason::NoEngine {
            if !at.may_search(now) {
                return;
            }
            if let (Some(policy), Some(parsed)) = (drop.trail.policy, parsed) {
                drop.candidates = self.unserved(now, team, policy, parsed);
            }
        }
        if let Some(at) = self.teams.get_mut(&team) {
            at.last_drop = Some(drop);
        }
    }

    /// Remembers the drop of packets that nobody read.
    pub(crate) fn note_unread(
        &mut self,
        team: u32,
        direction: Way,
        reason: DropReason,
        member: Option<u32>,
        packets: u64,
    ) {
        if packets > 0 {
            self.trail = Trail {
                member,
                ..Trail::default()
            };
            self.note_drop(team, direction, reason, None, packets);
        }
    }

    /// Remembers the drop of a job of an SA: its first frame stands for it. `engine` had it last.
    pub(crate) fn note_job_drop(
        &mut self,
        reason: DropReason,
        request: &Request,
        engine: Option<EngineId>,
    ) {
        let (now, sa) = (self.now, request.flow);
        let (direction, policy) = match request.direction {
            Direction::Seal => (
                Way::Out,
                self.sas.outbound.get(&sa).and_then(|sa| sa.spec.policy),
            ),
            Direction::Open => (
                Way::In,
                self.sas.inbound.get(&sa).and_then(|sa| sa.spec.policy),
            ),
        };
        let trail = Trail {
            policy,
            sa: Some(sa),
            member: request.member,
            engine,
        };
        let Some(team) = self.teams.get_mut(&request.team) else {
            return;
        };
        let asked = matches!(
            reason,
            DropReason::NoEngine | DropReason::EngineFull | DropReason::EngineLost
        );
        if asked && !team.may_search(now) {
            return;
        }
        let packets = request.input.ops.len() as u64;
        let frame = request.input.frames.first();
        let parsed = frame.and_then(|frame| headers(frame.data()));
        let mut drop = LastDrop::new(now, direction, reason, parsed.as_ref(), trail, packets);
        if asked {
            drop.candidates = self.pool.explain_request(now, request);
        }
        if let Some(team) = self.teams.get_mut(&request.team) {
            team.last_drop = Some(drop);
        }
    }

    /// Counts and remembers the drop of a frame on its way to a member's device.
    pub(crate) fn drop_frame(&mut self, member: u32, reason: DropReason, frame: &TxFrame) {
        let packets = frame.packets();
        let Some(at) = self.members.get_mut(&member) else {
            return;
        };
        at.drops.count(reason, packets);
        let trail = Trail {
            member: Some(member),
            ..Trail::default()
        };
        if let Some(team) = self.teams.get_mut(&at.team) {
            let parsed = headers(&beginning(frame));
            let drop = LastDrop::new(self.now, Way::Out, reason, parsed.as_ref(), trail, packets);
            team.last_drop = Some(drop);
        }
    }

    /// The last packet of a team that was dropped.
    #[must_use]
    pub fn last_drop(&self, team: u32) -> Option<LastDrop> {
        let team = self.teams.get(&team)?;
        team.last_drop.clone()
    }
}
