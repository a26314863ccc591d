//! The journey in: port, roles, ESP or plain, open, replay window, policy, virtual NIC.
//!
//! ```text
//! handle_member_frames  whose frame is it? may this member accept it? -> parse
//! plain                 policy: bypass goes up, protect and discard do not
//! sealed                SPI -> SA -> replay pre-check -> job -> the pool
//!    ...                engines work side by side, in any order
//! handle_opened         (opened.rs) in order of arrival: ICV -> replay commit -> trailer -> inner packet
//!                       -> inbound policy -> coalesce -> virtual NIC
//! ```
//!
//! In parallel: opening. In order, per SA: the replay window, which has this one writer, and
//! delivery. The received frame is kept until its job is done, so that another engine can
//! open it again.

use std::sync::Arc;

use esprit_crypto::{Direction, JobInput, Op, Request};
use esprit_ipsec::esp;
use esprit_ipsec::replay::ReplayDrop;
use esprit_ipsec::sad::Mode;
use esprit_ipsec::spd::Action;
use esprit_packet::buf::LARGE;
use esprit_packet::parse::{Fragment, Net, Parsed, parse_frame};
use esprit_packet::{RxFrame, SharedBuf, Time, TxFrame};
use smallvec::SmallVec;

use crate::decide::discarded;
use crate::drops::{Trail, Way};
use crate::flight::Flight;
use crate::l2;
use crate::member::Member;
use crate::outbound::place;
use crate::probing::Heard;
use crate::verdict::DropReason;
use crate::worker::Worker;

/// IP protocol numbers (IANA).
const ESP: u8 = 50;
const UDP: u8 = 17;

/// One packet being opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) seq: u64,
    /// Which of the job's frames it came in.
    pub(crate) frame: u16,
    /// Where that frame's layer 3 begins, and how long its header is.
    pub(crate) l3: u16,
    pub(crate) l3_len: u16,
    /// Which packet of its super-frame it was.
    pub(crate) nth: u16,
    /// Bytes of ESP.
    pub(crate) esp_len: u32,
    /// Where its plaintext goes in the job's output.
    pub(crate) dst: u32,
}

/// What is known of a job while its packets are opened.
#[derive(Debug, Default)]
pub struct Opening {
    pub(crate) packets: Vec<Packet>,
    pub(crate) input: Option<Arc<JobInput>>,
    /// The member that heard them.
    pub(crate) member: u32,
}

impl Opening {
    /// How many packets.
    pub(crate) fn packets(&self) -> u64 {
        self.packets.len() as u64
    }
}

/// A job in the making: packets of one SA, gathered from one batch of frames.
#[derive(Default)]
pub(crate) struct OpenDraft {
    sa: u32,
    member: u32,
    frames: SmallVec<[SharedBuf; 4]>,
    ops: Vec<Op>,
    packets: Vec<Packet>,
    dst: u32,
    /// Packets that it is to hold, as the engines stand.
    limit: usize,
}

impl OpenDraft {
    /// What the frame's packets are to be numbered with, once one of them is in the job.
    fn index_of(&self, frame: &SharedBuf) -> u16 {
        let held = self.frames.last().is_some_and(|last| last.same(frame));
        (self.frames.len() - usize::from(held)) as u16
    }

    /// Whether it takes one more packet, whose output has to begin at `room` at the latest.
    fn takes(&self, room: u32) -> bool {
        self.ops.len() < self.limit && self.dst <= room
    }

    /// Adds a packet of `frame`, whose number is [`OpenDraft::index_of`].
    fn push(&mut self, frame: &SharedBuf, op: Op, packet: Packet) {
        if self.frames.len() <= usize::from(op.frame) {
            self.frames.push(frame.clone());
        }
        self.dst = op.dst + op.out_len(Direction::Open) as u32;
        self.ops.push(op);
        self.packets.push(packet);
    }
}

/// The ESP packets of a received frame, several where it is a UDP super-frame.
struct EspPackets<'a> {
    frame: &'a SharedBuf,
    /// Where the next begins, and where the last ends.
    at: u32,
    end: u32,
    /// Bytes of each but the last.
    each: u32,
    /// How many were passed.
    nth: u16,
}

impl<'a> EspPackets<'a> {
    /// Whether there is one; a frame has one at least, though it be empty.
    const fn any(&self) -> bool {
        self.at < self.end || self.nth == 0
    }

    /// The bytes of the next.
    fn bytes(&self) -> &'a [u8] {
        let end = self.end.min(self.at + self.each);
        &self.frame.data()[self.at as usize..end as usize]
    }

    /// Passes it.
    const fn pass(&mut self) {
        self.at += self.each;
        self.nth = self.nth.saturating_add(1);
    }
}

impl Worker {
    /// Frames that a member heard on the wire.
    pub(crate) fn handle_member_frames(
        &mut self,
        now: Time,
        member: u32,
        frames: &mut Vec<RxFrame>,
    ) {
        let mut draft = core::mem::take(&mut self.opening);
        for frame in frames.drain(..) {
            let packets = frame.packets();
            let bytes = frame.buf.len() as u64;
            let outcome = match self.hear(member, frame.buf.data()) {
                // Probes are no traffic.
                Heard::Probe => continue,
                Heard::Forged => Err(DropReason::ProbeRefused),
                Heard::Frame => self.inbound(now, member, frame, &mut draft),
            };
            if let Some(at) = self.members.get_mut(&member) {
                at.port.rx.count(packets, bytes);
                match outcome {
                    Ok(()) => at.strange = true,
                    Err(reason) => {
                        at.drops.count(reason, packets);
                        // Whatever it is, somebody else sent it.
                        at.strange |= reason != DropReason::Looped;
                    }
                }
            }
        }
        self.submit_open(now, &mut draft);
        self.opening = draft;
    }

    fn inbound(
        &mut self,
        now: Time,
        member_id: u32,
        frame: RxFrame,
        draft: &mut OpenDraft,
    ) -> Result<(), DropReason> {
        let team = self.accept(member_id, frame.buf.data())?;
        self.trail = Trail {
            member: Some(member_id),
            ..Trail::default()
        };
        let packets = frame.packets();
        let parsed = parse_frame(frame.buf.data(), &frame.vnet).ok();
        let outcome = match &parsed {
            None => Err(DropReason::Malformed),
            Some(parsed)
                if matches!(parsed.net, Net::Ipv4)
                    && !parsed.header_checksum_ok(frame.buf.data()) =>
            {
                Err(DropReason::HeaderChecksum)
            }
            Some(parsed) if self.is_esp(parsed, frame.buf.data()) => {
                self.sealed(now, member_id, team, frame, parsed, draft)
            }
            Some(parsed) => self.plain(team, frame, parsed),
        };
        if let Err(reason) = outcome {
            self.note_drop(team, Way::In, reason, parsed.as_ref(), packets);
        }
        outcome
    }

    /// Whether this member may take a frame with these addresses; answers its team.
    fn accept(&self, member_id: u32, frame: &[u8]) -> Result<u32, DropReason> {
        let member = self.members.get(&member_id).ok_or(DropReason::NotForUs)?;
        let team = self.teams.get(&member.team).ok_or(DropReason::NoPlan)?;
        if team.plan.is_none() {
            return Err(DropReason::NoPlan);
        }
        if frame.len() < l2::ADDRESSES + 2 {
            return Err(DropReason::Malformed);
        }
        let (to, from) = (l2::destination(frame), l2::source(frame));
        if team.doors.is_own(from) {
            return Err(DropReason::Looped);
        }
        let former = team.former == Some(member_id);
        // The switch has not been told of the new receiver yet: what came there was flooded, and the
        // one of before has it too.
        let alive = |id: u32| self.members.get(&id).is_some_and(Member::alive);
        let flooded = !to.is_group() && !former && team.former.is_some_and(alive);
        // What switches may have learnt anywhere is taken by whoever carries.
        let roams = || member.carry && member.accept && member.alive() && team.doors.roams(to);
        if to.is_group() || to == team.mac {
            return match team.route.receiver {
                Some(receiver) if receiver == member_id && !flooded => Ok(team.id),
                // Of what was sent to all, the receiver has a copy.
                Some(_) | None if !to.is_group() && (former || roams()) => Ok(team.id),
                Some(_) | None => Err(DropReason::Duplicate),
            };
        }
        if (to == member.mac && member.accept && member.alive()) || roams() {
            return Ok(team.id);
        }
        Err(DropReason::NotForUs)
    }

    /// Whether a packet is ours to open: ESP, or UDP to a port that an inbound SA listens on.
    /// IKE shares that port; its packets begin with four zero bytes (RFC 3948 section 2.2).
    fn is_esp(&self, parsed: &Parsed, frame: &[u8]) -> bool {
        if !matches!(parsed.net, Net::Ipv4 | Net::Ipv6) || self.sas.sad.is_empty() {
            return false;
        }
        match (parsed.protocol, parsed.ports) {
            (ESP, _) => true,
            (UDP, Some((_, to))) if self.sas.sad.listens(to) => {
                let payload = parsed.payload as usize;
                frame
                    .get(payload..payload + 4)
                    .is_none_or(|marker| marker != [0; 4])
            }
            _ => false,
        }
    }

    /// A packet that came unprotected: up, if policy lets it.
    fn plain(
        &mut self,
        team_id: u32,
        mut frame: RxFrame,
        parsed: &Parsed,
    ) -> Result<(), DropReason> {
        if matches!(parsed.net, Net::Arp) || parsed.is_neighbour_discovery() {
            self.learn(team_id, frame.buf.data());
        }
        let team = self.teams.get_mut(&team_id).ok_or(DropReason::NoPlan)?;
        match parsed.net {
            Net::Ipv4 | Net::Ipv6 => {
                let verdict = team.spd.lookup_in(parsed, frame.buf.data());
                self.trail.policy = verdict.policy.map(|id| id.0);
                match verdict.action {
                    Action::Bypass => {
                        let packets = frame.packets();
                        if let Some(policy) =
                            verdict.policy.and_then(|id| team.policies.get_mut(&id.0))
                        {
                            policy.traffic.count(packets, frame.buf.len() as u64);
                        }
                    }
                    Action::Protect => return Err(DropReason::PlaintextRefused),
                    Action::Discard => return Err(discarded(verdict.rule)),
                }
            }
            Net::Encapsulated(_) if team.spd.protects() => return Err(DropReason::Encapsulated),
            Net::Arp | Net::Other(_) | Net::Encapsulated(_) => {}
        }
        if !l2::destination(frame.buf.data()).is_group() {
            // What came to a member's own address is the team's: its stack knows only that.
            l2::set_destination(frame.buf.data_mut(), team.mac);
        }
        team.up.push_back(TxFrame::pass(frame));
        Ok(())
    }

    /// ESP packets of one frame (several in a UDP super-frame) on their way to an engine.
    fn sealed(
        &mut self,
        now: Time,
        member: u32,
        team: u32,
        frame: RxFrame,
        parsed: &Parsed,
        draft: &mut OpenDraft,
    ) -> Result<(), DropReason> {
        if parsed.fragment != Fragment::Whole {
            return Err(DropReason::FragmentDiscard);
        }
        let udp = parsed.protocol == UDP;
        let start = if udp {
            parsed.payload
        } else {
            u32::from(parsed.l4)
        };
        let end = parsed.end;
        if udp && end.saturating_sub(start) == 1 {
            return Err(DropReason::Keepalive);
        }
        let each = match frame.vnet.gso_size {
            size if udp && frame.vnet.is_gso() && size > 0 => u32::from(size),
            _ => end.saturating_sub(start).max(1),
        };
        let shared = frame.buf.share();
        let mut packets = EspPackets {
            frame: &shared,
            at: start,
            end,
            each,
            nth: 0,
        };
        while packets.any() {
            if let Err(reason) = self.open(now, member, parsed, &mut packets, draft) {
                packets.pass();
                self.drop_on_member(member, reason, 1);
                self.note_drop(team, Way::In, reason, Some(parsed), 1);
            }
        }
        Ok(())
    }

    /// Adds packets to the job in the making while they are of one SA and it has room: the packets of a
    /// super-frame mostly are, and the SA is looked for once.
    ///
    /// # Errors
    /// The next packet is to be dropped, on the member's account.
    fn open(
        &mut self,
        now: Time,
        member: u32,
        parsed: &Parsed,
        packets: &mut EspPackets<'_>,
        draft: &mut OpenDraft,
    ) -> Result<(), DropReason> {
        let header = |bytes| esp::parse_packet(bytes).map_err(|_| DropReason::EspMalformed);
        let first = header(packets.bytes())?;
        let found = self.sas.sad.lookup(first.spi, parsed.dst);
        let sa_id = found.ok_or(DropReason::NoSa)?.0;
        // In transport mode the outer IP header goes before the plaintext again.
        let outer_len = parsed.l4 - parsed.l3;
        let most = packets.bytes().len() + usize::from(outer_len);
        let room = LARGE.saturating_sub(most) as u32;
        if draft.sa != sa_id || draft.member != member || !draft.takes(room) {
            self.submit_open(now, draft);
        }
        if draft.ops.is_empty() {
            let sa = self.sas.inbound.get(&sa_id).ok_or(DropReason::NoSa)?;
            draft.limit = self.job_size(sa.spec.team, member, &sa.key, Direction::Open);
        }
        let sa = self.sas.inbound.get_mut(&sa_id).ok_or(DropReason::NoSa)?;
        let l3_len = match sa.spec.mode {
            Mode::Tunnel => 0,
            Mode::Transport => u32::from(outer_len),
        };
        let frame = draft.index_of(packets.frame);
        draft.sa = sa_id;
        draft.member = member;
        while packets.any() && draft.takes(room) {
            let bytes = packets.bytes();
            let header = header(bytes)?;
            if header.spi != first.spi {
                break;
            }
            let seq = match sa.replay.check(header.seq_lo) {
                Ok(seq) => seq,
                Err(drop) => {
                    let (reason, team) = (replayed(drop), sa.spec.team);
                    sa.drops.count(reason, 1);
                    self.trail.policy = sa.spec.policy;
                    self.trail.sa = Some(sa_id);
                    self.note_drop(team, Way::In, reason, Some(parsed), 1);
                    packets.pass();
                    break;
                }
            };
            let (aad, aad_len) = esp::aad(header.spi, seq, sa.spec.esn);
            let dst = draft.dst + l3_len;
            let op = Op {
                nonce: esp::nonce(sa.salt, header.iv),
                aad,
                aad_len,
                long_aad: (0, 0),
                frame,
                prefix: (0, 0),
                head: (0, 0),
                tail: (0, 0),
                body: (
                    packets.at + esp::PREFIX_LEN as u32,
                    packets.at + bytes.len() as u32,
                ),
                dst,
            };
            let packet = Packet {
                seq,
                frame,
                l3: parsed.l3,
                l3_len: outer_len,
                nth: packets.nth,
                esp_len: bytes.len() as u32,
                dst,
            };
            draft.push(packets.frame, op, packet);
            packets.pass();
        }
        Ok(())
    }

    fn submit_open(&mut self, now: Time, draft: &mut OpenDraft) {
        draft.dst = 0;
        if draft.packets.is_empty() {
            draft.frames.clear();
            draft.ops.clear();
            return;
        }
        let next = self.spares.input();
        let input = Arc::new(JobInput {
            frames: core::mem::replace(&mut draft.frames, next.frames),
            headers: next.headers,
            ops: core::mem::replace(&mut draft.ops, next.ops),
        });
        let packets = core::mem::replace(&mut draft.packets, self.spares.packets());
        let Some(sa) = self.sas.inbound.get_mut(&draft.sa) else {
            return;
        };
        let count = packets.len() as u64;
        let request = Request {
            team: sa.spec.team,
            key: Arc::clone(&sa.key),
            direction: Direction::Open,
            input: Arc::clone(&input),
            member: Some(draft.member),
            flow: draft.sa,
            weight: sa.spec.weight,
        };
        let waiting = sa.release.len();
        match place(&mut self.pool, now, &self.buffers, waiting, request) {
            Ok(ticket) => {
                let place = sa.release.push(Opening {
                    packets,
                    input: Some(input),
                    member: draft.member,
                });
                self.flights.insert(ticket, Flight::Open(draft.sa, place));
            }
            Err((request, refused)) => {
                sa.drops.count(refused, count);
                self.note_job_drop(refused, &request, None);
            }
        }
    }
}

pub(crate) fn replayed(drop: ReplayDrop) -> DropReason {
    match drop {
        ReplayDrop::Duplicate => DropReason::ReplayDuplicate,
        ReplayDrop::TooOld | ReplayDrop::Zero => DropReason::ReplayTooOld,
    }
}
