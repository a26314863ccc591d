//! The journey out: virtual NIC, policy, placement, numbers, seal, release, port.
//!
//! ```text
//! handle_host_frames   parse once -> policy: bypass | discard | protect
//! protect              SA by member -> numbers for all segments -> job
//! submit               the pool places the job on an engine
//!    ...               engines work side by side, in any order
//! handle_sealed        back in the SA's order -> outer headers -> the member's queue
//! ```
//!
//! In parallel: sealing. In order, per SA: numbering and release, both here, on the SA's home
//! worker. Nothing is sealed in place: the job reads the super-frame as the host wrote it, so
//! that another engine can do the same job again from the same bytes (rule 2).

use std::sync::Arc;

use esprit_crypto::{Direction, JobInput, MAX_OPS, Reject, Request};
use esprit_ipsec::esp;
use esprit_ipsec::seq::{SeqError, SeqRange};
use esprit_packet::buf::LARGE;
use esprit_packet::parse::{Parsed, parse_frame};
use esprit_packet::segment::segments;
use esprit_packet::vnet_hdr::NEEDS_CSUM;
use esprit_packet::{Pool as Buffers, RxFrame, Time, TxFrame};
use smallvec::SmallVec;

use crate::decide::{Fate, decide, wrap};
use crate::draft::{Draft, Sealing, Wrapping};
use crate::drops::{Trail, Way};
use crate::events::Event;
use crate::flight::Flight;
use crate::group::Group;
use crate::l2;
use crate::member::Member;
use crate::plan::Mac;
use crate::sa::{IN_FLIGHT, Ready};
use crate::verdict::DropReason;
use crate::worker::{MEMBER_FULL, Worker};

impl Worker {
    /// Frames that the host sent through the team's virtual NIC.
    pub(crate) fn handle_host_frames(&mut self, now: Time, team: u32, frames: &mut Vec<RxFrame>) {
        if let Some(at) = self.teams.get_mut(&team) {
            for frame in frames.iter() {
                let packets = frame.packets();
                at.tap.rx.count(packets, frame.buf.len() as u64);
            }
        }
        self.handle_frames(now, team, frames.drain(..));
    }

    /// Frames of the host that were counted already: new ones, or those that waited while their
    /// flows moved.
    pub(crate) fn handle_frames(
        &mut self,
        now: Time,
        team: u32,
        frames: impl IntoIterator<Item = RxFrame>,
    ) {
        let mut draft = core::mem::take(&mut self.draft);
        for frame in frames {
            let packets = frame.packets();
            self.trail = Trail::default();
            let parsed = parse_frame(frame.buf.data(), &frame.vnet).ok();
            let outcome = match &parsed {
                Some(parsed) => self.outbound(now, team, frame, parsed, &mut draft),
                None => Err(DropReason::Malformed),
            };
            if let Err(reason) = outcome {
                if let Some(at) = self.teams.get_mut(&team) {
                    at.drops.count(reason, packets);
                }
                self.note_drop(team, Way::Out, reason, parsed.as_ref(), packets);
            }
        }
        self.submit(now, &mut draft);
        self.draft = draft;
    }

    fn outbound(
        &mut self,
        now: Time,
        team_id: u32,
        mut frame: RxFrame,
        parsed: &Parsed,
        draft: &mut Draft,
    ) -> Result<(), DropReason> {
        let team = self.teams.get_mut(&team_id).ok_or(DropReason::NoPlan)?;
        if team.plan.is_none() {
            return Err(DropReason::NoPlan);
        }
        let decision = decide(team, parsed, frame.buf.data());
        self.trail.policy = decision.verdict.policy.map(|id| id.0);
        let fate = decision.fate?;
        if let Some(hash) = decision.hash
            && let Some(hold) = &mut team.hold
            && hold.holds(hash, decision.share, decision.single)
        {
            hold.push(hash, frame);
            return Ok(());
        }
        if let Fate::Pass(member) | Fate::Protect { member, .. } = fate
            && self
                .members
                .get(&member)
                .is_some_and(|at| at.tx.len() >= MEMBER_FULL)
        {
            // Before it has a number: what was accepted is not lost.
            self.trail.member = Some(member);
            return Err(DropReason::TxQueueFull);
        }
        let (packets, bytes) = (frame.packets(), frame.buf.len() as u64);
        if let Some(policy) = decision.verdict.policy
            && let Some(policy) = team.policies.get_mut(&policy.0)
        {
            policy.traffic.count(packets, bytes);
        }
        if let Some(sent) = decision.share.and_then(|at| team.shares.get_mut(at)) {
            *sent += bytes;
        }
        let (member, mac) = match fate {
            Fate::Protect { member, sa } => {
                self.trail.sa = Some(sa);
                self.trail.member = Some(member);
                return self.protect(now, sa, member, frame, parsed, draft);
            }
            Fate::ByReceiver(member) => {
                let mac = team.mac;
                let finished = frame.vnet.flags & NEEDS_CSUM == 0;
                match self.balance(now, team_id, frame.buf.data_mut(), finished) {
                    Some(member) => (member, self.members.get(&member).map(|m| m.mac)),
                    None => (member, Some(mac)),
                }
            }
            Fate::Pass(member) => (member, self.source_mac(team_id, member)),
        };
        let mac = mac.ok_or(DropReason::NoMember)?;
        // Its source address may have to change again if the member dies before it is sent,
        // so the addresses stand in the frame's own head.
        let head = SmallVec::from_slice(&frame.buf.data()[..l2::ADDRESSES]);
        frame.buf.pop_front(l2::ADDRESSES);
        let mut out = TxFrame::pass(frame);
        out.head = head;
        l2::set_source(&mut out.head, mac);
        self.queue(member, out);
        Ok(())
    }

    /// Numbers the segments of `frame` and adds them to the job in the making.
    fn protect(
        &mut self,
        now: Time,
        sa_id: u32,
        member: u32,
        frame: RxFrame,
        parsed: &Parsed,
        draft: &mut Draft,
    ) -> Result<(), DropReason> {
        if draft.sa != sa_id || draft.member != member {
            self.submit(now, draft);
        }
        let sa = self.sas.outbound.get(&sa_id).filter(|sa| !sa.deleted);
        let sa = sa.ok_or(DropReason::NoSa)?;
        let (eth, outer) = wrap(sa, parsed, frame.buf.data())?;
        let wrapping = Wrapping::of(sa, parsed);

        let packets = frame.packets() as usize;
        if draft.ops.len() + packets > draft.limit
            || draft.dst as usize + frame.buf.len() + packets * OVERHEAD > LARGE
        {
            self.submit(now, draft);
        }
        if draft.ops.is_empty() {
            draft.limit = self.seal_size(sa_id, member);
        }
        let mut cut = core::mem::take(&mut draft.segments);
        cut.clear();
        let from = draft.headers.len();
        let result = segments(
            frame.buf.data(),
            parsed,
            &frame.vnet,
            &mut draft.headers,
            esp::PREFIX_LEN,
            esp::TRAILER_MAX,
            &mut cut,
        );
        if result.is_err() {
            draft.headers.truncate(from);
            draft.segments = cut;
            return Err(DropReason::Segmentation);
        }
        // All numbers of a super-frame at once: it goes whole or not at all.
        let numbers = match self.reserve(now, sa_id, cut.len() as u32) {
            Ok(numbers) => numbers,
            Err(reason) => {
                draft.headers.truncate(from);
                draft.segments = cut;
                return Err(reason);
            }
        };
        let mut shared = Some(frame.buf.share());
        draft.sa = sa_id;
        draft.member = member;
        draft.begin(member, eth, outer);
        for (segment, seq) in cut.iter().zip(numbers.iter()) {
            if draft.ops.len() >= draft.limit {
                // More segments than a job holds: the rest of the headers go with the next.
                let headers = draft.headers.clone();
                let frame = draft.frames.last().cloned();
                let group = draft.meta.groups.last().map(Group::another);
                self.submit(now, draft);
                draft.limit = self.seal_size(sa_id, member);
                draft.headers = headers;
                draft.frames.extend(frame);
                draft.meta.groups.extend(group);
                draft.sa = sa_id;
                draft.member = member;
            }
            if let Some(frame) = shared.take() {
                draft.frames.push(frame);
            }
            draft.add(&wrapping, segment, seq);
        }
        draft.segments = cut;
        Ok(())
    }

    fn seal_size(&self, sa: u32, member: u32) -> usize {
        self.sas.outbound.get(&sa).map_or(MAX_OPS, |sa| {
            self.job_size(sa.spec.team, member, &sa.key, Direction::Seal)
        })
    }

    /// `count` sequence numbers in a row, or none.
    fn reserve(&mut self, now: Time, sa_id: u32, count: u32) -> Result<SeqRange, DropReason> {
        let sa = self.sas.outbound.get_mut(&sa_id).ok_or(DropReason::NoSa)?;
        let numbers = match sa.seq.reserve(count) {
            Ok(numbers) => numbers,
            Err(SeqError::NotGranted) => return Err(DropReason::SaNotGranted),
            Err(SeqError::Exhausted) => {
                if !sa.exhausted {
                    sa.exhausted = true;
                    self.events.push(now, Event::SaExhausted { sa: sa_id });
                }
                return Err(DropReason::SaExhausted);
            }
        };
        if sa.seq.needs_grant()
            && let Some(next) = sa.seq.next()
        {
            self.events.push(now, Event::SaGrant { sa: sa_id, next });
        }
        Ok(numbers)
    }

    /// Gives the job in the making to the pool, and starts the next.
    fn submit(&mut self, now: Time, draft: &mut Draft) {
        draft.dst = 0;
        if draft.ops.is_empty() {
            draft.frames.clear();
            draft.headers.clear();
            return;
        }
        let next = self.spares.input();
        let input = Arc::new(JobInput {
            frames: core::mem::replace(&mut draft.frames, next.frames),
            headers: core::mem::replace(&mut draft.headers, next.headers),
            ops: core::mem::replace(&mut draft.ops, next.ops),
        });
        let meta = core::mem::take(&mut draft.meta);
        let Some(sa) = self.sas.outbound.get_mut(&draft.sa) else {
            return;
        };
        let packets = meta.packets();
        let request = Request {
            team: sa.spec.team,
            key: Arc::clone(&sa.key),
            direction: Direction::Seal,
            input,
            member: Some(draft.member),
            flow: draft.sa,
            weight: sa.spec.weight,
        };
        let waiting = sa.release.len();
        match place(&mut self.pool, now, &self.buffers, waiting, request) {
            Ok(ticket) => {
                let place = sa.release.push(meta);
                self.flights.insert(ticket, Flight::Seal(draft.sa, place));
            }
            Err((request, refused)) => {
                sa.drops.count(refused, packets);
                self.note_job_drop(refused, &request, None);
            }
        }
    }

    /// Sealed jobs of an SA whose turn has come: outer headers on, and to the member.
    pub(crate) fn handle_sealed(&mut self, sa_id: u32) {
        while let Some(sa) = self.sas.outbound.get_mut(&sa_id)
            && let Some(ready) = sa.release.peek()
        {
            // What was accepted is not lost to a full queue: an engine that was found hung, or
            // healed, gives back more at once than a member's queue holds.
            let full = |group: &Group| self.members.get(&group.member).is_some_and(Member::is_full);
            if ready.meta.groups.first().is_some_and(full) {
                self.stalled.insert(sa_id);
                return;
            }
            let Some(ready) = sa.release.pop() else {
                return;
            };
            let id = sa.ip_id;
            sa.ip_id = sa.ip_id.wrapping_add(ready.meta.packets as u16);
            sa.traffic
                .count(u64::from(ready.meta.packets), ready.dst.len() as u64);
            let team = sa.spec.team;
            self.emit(team, id, ready);
        }
        if let Some(sa) = self.sas.outbound.get(&sa_id)
            && sa.deleted
            && sa.release.is_empty()
        {
            self.sas.outbound.remove(&sa_id);
        }
    }

    fn emit(&mut self, team_id: u32, mut id: u16, ready: Ready<Sealing>) {
        let bytes = ready.dst.len() as u64;
        // All packets of a job are of one member's flows.
        let Some(own) = ready.meta.groups.first().map(|group| group.member) else {
            return;
        };
        let Some((own, mac)) = self.sender(team_id, own) else {
            let packets = ready.meta.packets();
            if let Some(team) = self.teams.get_mut(&team_id) {
                team.drops.count(DropReason::PortDown, packets);
            }
            self.trail = Trail {
                member: Some(own),
                engine: Some(ready.engine),
                ..Trail::default()
            };
            self.note_drop(team_id, Way::Out, DropReason::PortDown, None, packets);
            return;
        };
        // Direct delivery: the engine's own member sends it, with the requester's address.
        let member = match self.teams.get(&team_id) {
            Some(team) => self.deliverer(team, own, ready.engine, bytes),
            None => own,
        };
        if member != own
            && let Some(other) = self.members.get_mut(&member)
        {
            other.direct += ready.meta.packets();
        }
        let sealed = ready.dst.share();
        for group in ready.meta.groups {
            if group.outer.is_udp() && group.count > 1 {
                let frame = group.frame(mac, id, group.start, group.bytes(), &sealed);
                self.queue(member, frame);
            } else {
                for n in 0..group.count {
                    let start = group.start + n * group.each;
                    let len = if n + 1 == group.count {
                        group.last
                    } else {
                        group.each
                    };
                    let at = id.wrapping_add(n as u16);
                    let frame = group.frame(mac, at, start, len, &sealed);
                    self.queue(member, frame);
                }
            }
            id = id.wrapping_add(group.count as u16);
        }
    }

    /// Who sends for `member`, and with which source address: where it was removed while engines
    /// worked for it, its heir, as for a member that was lost.
    fn sender(&self, team: u32, member: u32) -> Option<(u32, Mac)> {
        let member = if self.members.contains_key(&member) {
            member
        } else {
            self.teams.get(&team)?.heir(member)?
        };
        Some((member, self.source_mac(team, member)?))
    }
}

/// Bytes that ESP adds to a segment at most, its own headers included: inner headers 60 + 60,
/// SPI and number 8, IV 8, trailer 5, ICV 16.
const OVERHEAD: usize = 160;

/// Gives a job of an SA, of which so many wait for their turn, to the pool; answers its ticket, or
/// gives it back with the reason.
pub(crate) fn place(
    pool: &mut esprit_crypto::Pool,
    now: Time,
    buffers: &Buffers,
    waiting: usize,
    request: Request,
) -> Result<u64, (Request, DropReason)> {
    if waiting >= IN_FLIGHT {
        return Err((request, DropReason::EngineFull));
    }
    match pool.submit(now, buffers, request) {
        Ok((ticket, _)) => Ok(ticket),
        Err((request, Reject::NoEngine)) => Err((request, DropReason::NoEngine)),
        Err((request, Reject::Full)) => Err((request, DropReason::EngineFull)),
        Err((request, Reject::NoMemory)) => Err((request, DropReason::NoMemory)),
    }
}
