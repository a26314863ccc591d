//! Order when flows move (row M13): the frames of a share that moved wait until what went before
//! them by its old member is out. Other flows do not feel it.

use std::collections::VecDeque;

use esprit_packet::{RxFrame, Time};

use crate::member::Member;
use crate::plan::BUCKETS;
use crate::route::Route;
use crate::worker::{Io, Worker};

/// The longest that frames wait because their flow moves. Before them are a full queue of their old
/// member's ([`MEMBER_FULL`](crate::worker::MEMBER_FULL), 581,376 bytes in frames of 1,514) and a
/// send buffer of the kernel's default size (212,992 bytes, net.core.wmem_default): 250 ms at 25 Mbit/s.
/// They would have waited as long behind it. A flow of a slower member may arrive out of order once.
const HOLD: Time = Time::from_millis(250);

/// Frames that wait at most: eight batches. At that the virtual NIC is not read.
pub(crate) const FRAMES: usize = 256;

/// While it waits, what went before is looked at so often: waking costs some microseconds, and
/// a frame of 64 KiB takes 500 at 1 Gbit/s.
const LOOK: Time = Time(500_000);

/// What waits because shares of a team moved.
#[derive(Debug)]
pub struct Hold {
    until: Time,
    look_at: Time,
    /// Shares that moved.
    moved: Vec<bool>,
    /// What has one SA only moved.
    single: bool,
    /// Members that they moved away from, with how far each device must have come.
    from: Vec<(u32, u64)>,
    /// Outbound SAs that had jobs, with how far each must have released. Known once the jobs of
    /// the batch at hand were given away.
    sas: Option<Vec<(u32, u64)>>,
    frames: VecDeque<RxFrame>,
    /// Flows, by their hash, of which frames wait.
    waiting: Box<[bool; BUCKETS]>,
}

impl Hold {
    /// What has to be out before flows may use `after`, if any move between members of which
    /// `member` knows the old one and it is alive. What a dead member had was moved with its flows.
    pub(crate) fn between<'a>(
        now: Time,
        before: &Route,
        after: &Route,
        member: impl Fn(u32) -> Option<&'a Member>,
    ) -> Option<Self> {
        let moved = after.moved_from(before);
        let from: Vec<(u32, u64)> = moved
            .from
            .into_iter()
            .filter_map(|id| Some((id, member(id).filter(|m| m.alive())?.pace.end())))
            .collect();
        (!from.is_empty()).then(|| Self {
            until: now + HOLD,
            look_at: now,
            moved: moved.shares,
            single: moved.single,
            from,
            sas: None,
            frames: VecDeque::new(),
            waiting: Box::new([false; BUCKETS]),
        })
    }

    /// When to look at it again.
    pub(crate) fn due(&self) -> Time {
        self.look_at.min(self.until)
    }

    /// Whether a frame of this flow, and of this share if it goes by one, has to wait: where its share
    /// moved, or it is `single` and that moved; and behind those of its flow that wait already,
    /// though a Plan since then, or a mask, has it go by another share or by none.
    pub(crate) fn holds(&self, hash: u32, share: Option<usize>, single: bool) -> bool {
        let moved = share.and_then(|share| self.moved.get(share));
        moved.copied().unwrap_or(false)
            || (single && self.single)
            || self.waiting[hash as usize % BUCKETS]
    }

    /// More shares moved meanwhile.
    pub(crate) fn extend(&mut self, more: Self) {
        self.moved.resize(more.moved.len(), false);
        for (moved, more) in self.moved.iter_mut().zip(&more.moved) {
            *moved |= more;
        }
        self.single |= more.single;
        self.until = more.until;
        self.from.extend(more.from);
        self.sas = None;
    }

    /// A frame of this flow waits.
    pub(crate) fn push(&mut self, hash: u32, frame: RxFrame) {
        self.waiting[hash as usize % BUCKETS] = true;
        self.frames.push_back(frame);
    }

    /// Whether as many wait as may.
    pub(crate) fn is_full(&self) -> bool {
        self.frames.len() >= FRAMES
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// How many packets they are.
    pub(crate) fn packets(&self) -> u64 {
        self.frames.iter().map(RxFrame::packets).sum()
    }

    /// What waits, in its order.
    pub(crate) fn into_frames(self) -> VecDeque<RxFrame> {
        self.frames
    }
}

impl Worker {
    /// Ends a team's wait where its reason is gone, and answers what waited. The Plan may have changed
    /// again meanwhile, so each frame is decided on anew.
    pub(crate) fn let_go(&mut self, now: Time, team: u32, io: &mut dyn Io) -> VecDeque<RxFrame> {
        let Some(hold) = self.teams.get_mut(&team).and_then(|at| at.hold.as_mut()) else {
            return VecDeque::new();
        };
        if now < hold.until && now < hold.look_at {
            return VecDeque::new();
        }
        hold.look_at = now + LOOK;
        let sas = hold.sas.get_or_insert_with(|| {
            let busy = self.sas.outbound.iter();
            busy.filter(|(_, sa)| sa.spec.team == team && !sa.release.is_empty())
                .map(|(&id, sa)| (id, sa.release.end()))
                .collect()
        });
        sas.retain(|(id, end)| {
            let sa = self.sas.outbound.get(id);
            sa.is_some_and(|sa| sa.release.start() < *end)
        });
        hold.from.retain(|(id, end)| {
            let unsent = io.member(*id).map_or(0, |port| port.unsent());
            let member = self.members.get(id).filter(|m| m.alive());
            member.is_some_and(|m| m.pace.done(unsent) < *end)
        });
        if now < hold.until && !(sas.is_empty() && hold.from.is_empty()) {
            return VecDeque::new();
        }
        let at = self.teams.get_mut(&team);
        at.and_then(|at| at.hold.take())
            .map(Hold::into_frames)
            .unwrap_or_default()
    }
}
