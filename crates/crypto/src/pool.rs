//! The pool: all verified engines, and the promise that an accepted job comes back once.
//!
//! | verb | when |
//! | --- | --- |
//! | [`Pool::submit`] | a job is to be done; it is placed at once or refused |
//! | [`Pool::poll`] | in every step, when an engine woke the worker, and at [`Pool::timeout`] |
//! | [`Pool::admit`], [`Pool::remove`], [`Pool::set_grants`], [`Pool::inject`] | between steps |
//! | [`Pool::snapshot`] | at any time |
//!
//! A job that was placed on a synchronous engine is back at the next `poll`, at the same `now`.
//! Every job that `submit` took ends in one [`Done`], and:
//!
//! - an engine that does not answer by four times the expected time (and its own patience, at
//!   least 2 ms), though its threads had a processor, is hung: it gets nothing more, and what it has is done elsewhere from the same
//!   input. Whichever attempt comes first is the job's end; the other only returns its buffer.
//! - a job that no engine has room for *now* waits, before all new ones. It is given up after
//!   ten seconds, when whoever waited for the packet has sent it again.
//! - an engine that is left comes back only through [`verify`](crate::verify::verify).
//!
//! Nothing here reads a clock: times are the caller's, and monotonic.

mod audit;
mod flights;
mod journey;
mod report;
mod seat;

use std::collections::VecDeque;
use std::sync::Arc;

use esprit_packet::{Buf, Pool as Buffers, Time};

use crate::engine::{Engine, Fault, Wake};
use crate::grants::{APPLICATIONS, EngineId, Grants};
use crate::job::{Job, JobInput, MAX_OPS, Shape, memory};
use crate::key::{AeadKey, Algorithm, Direction};
use crate::placement::board::Board;
use crate::placement::explain::{Known, candidates};
use crate::placement::lanes::Lanes;
use crate::placement::{Ask, Candidate, Choice, Placer, Verdict};
use crate::pool::audit::Auditor;
use crate::pool::flights::Flights;
use crate::pool::seat::Seat;
use crate::seats::{MAX_ENGINES, SeatSet};
use crate::verify::Verified;

pub use report::{Done, EngineSnapshot, LostReason, PoolEvent, Reject};
pub use seat::Counters;

/// A job that waits for an engine is given up after this: ten seconds, by when every transport
/// has sent its packets again several times.
const GIVE_UP: Time = Time(10_000_000_000);

/// A job whose operations failed this often is not tried again.
const MAX_FAILURES: u8 = 4;

/// While jobs wait for room, it is looked for at least this often: 1 ms.
const RETRY: Time = Time(1_000_000);

/// Waiting jobs that find no room in one poll before the rest is not asked: they mostly
/// wait for the same engines.
const MISSES: usize = 32;

/// Bytes that a poll redoes on the worker itself before it lets other work through: what
/// aws-lc does in some 100 µs.
const QUANTUM: u64 = 256 * 1024;

/// A packet as most are where there are many: of the usual MTU, with its headers.
const TYPICAL_BYTES: u64 = 1400;

/// What a job costs besides its operations, on the worker: some 300 ns (`examples/inline_cost.rs`),
/// and as much again for its way through a device's queue.
const JOB_NS: u64 = 600;

/// That is to be one part in so many of a job at most: ten per cent.
const OVERHEAD_SHARE: u64 = 10;

/// A job to be done.
#[derive(Clone, Debug)]
pub struct Request {
    /// Under whose grants; [`APPLICATIONS`] for tasks of no team.
    pub team: u32,
    /// With which key.
    pub key: Arc<AeadKey>,
    /// Seal or open.
    pub direction: Direction,
    /// From what.
    pub input: Arc<JobInput>,
    /// Whose traffic: that member's own engine comes first.
    pub member: Option<u32>,
    /// What it belongs to, an SA's number: flows of a class share what waits for an engine.
    pub flow: u32,
    /// The flow's share against others': 1, unless it is to have more; 0 counts as 1.
    pub weight: u16,
}

struct Team {
    id: u32,
    grants: Grants,
    lanes: Lanes,
}

/// All verified engines of the host, and what they have. Lives on one thread.
pub struct Pool {
    seats: Vec<Seat>,
    /// What placement reads of them.
    board: Board,
    placer: Option<Box<dyn Placer>>,
    teams: Vec<Team>,
    flights: Flights,
    /// Tickets of flights that no engine has, in the order of their need.
    waiting: VecDeque<u64>,
    /// When to look for room for them.
    retry_at: Option<Time>,
    done: Vec<Done>,
    events: Vec<PoolEvent>,
    scratch: Vec<Job>,
    auditor: Auditor,
    wake: Arc<dyn Wake>,
}

impl Pool {
    /// An empty pool. `wake` is what engines for it are to be made with.
    #[must_use]
    pub fn new(wake: Arc<dyn Wake>) -> Self {
        Self {
            seats: Vec::new(),
            board: Board::default(),
            placer: None,
            teams: Vec::new(),
            flights: Flights::default(),
            waiting: VecDeque::new(),
            retry_at: None,
            done: Vec::new(),
            events: Vec::new(),
            scratch: Vec::new(),
            auditor: Auditor::default(),
            wake,
        }
    }

    /// Wakes the worker that this pool lives on; engines are made with it.
    #[must_use]
    pub fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.wake)
    }

    /// Takes an engine in, under the number `id`; one that has that number already is put out
    /// first. It works once grants name it.
    ///
    /// # Panics
    /// Beyond [`MAX_ENGINES`].
    pub fn admit(&mut self, id: EngineId, verified: Verified) {
        drop(self.take_out(id));
        assert!(self.seats.len() < MAX_ENGINES, "too many engines");
        let seat = Seat::new(id, verified);
        self.board.push(&seat.capabilities, &seat.rates);
        self.seats.push(seat);
        self.compile();
        self.retry_at = Some(Time::ZERO);
    }

    /// Puts an engine out. Jobs that it has are done elsewhere; those inside it never count
    /// again. The engine comes back for a reset and a new verification.
    pub fn remove(
        &mut self,
        now: Time,
        id: EngineId,
        buffers: &Buffers,
    ) -> Option<Box<dyn Engine>> {
        let engine = self.take_out(id)?;
        self.place_waiting(now, buffers);
        Some(engine)
    }

    /// Makes a simulated engine fail. Answers whether there is one that can.
    pub fn inject(&mut self, id: EngineId, fault: Fault) -> bool {
        self.seat_of(id)
            .is_some_and(|seat| self.seats[seat].engine.inject(fault))
    }

    /// Puts a team's grants in force, from the next job on.
    pub fn set_grants(&mut self, team: u32, grants: Grants) {
        self.teams.retain(|at| at.id != team);
        self.teams.push(Team {
            id: team,
            grants,
            lanes: Lanes::default(),
        });
        self.compile();
        self.retry_at = Some(Time::ZERO);
    }

    /// Forgets a team's grants: no engine may work for it.
    pub fn remove_grants(&mut self, team: u32) {
        self.teams.retain(|at| at.id != team);
    }

    /// Places a job on an engine. Answers its ticket and the engine, none while it waits for one;
    /// its end comes by [`Pool::poll`].
    ///
    /// # Errors
    /// The request back, with the reason, where it cannot be placed now.
    ///
    /// # Panics
    /// Where the input does not hold together ([`JobInput::measure`]): an error of whoever made
    /// it, never of a packet.
    pub fn submit(
        &mut self,
        now: Time,
        buffers: &Buffers,
        request: Request,
    ) -> Result<(u64, Option<EngineId>), (Request, Reject)> {
        let shape = match request.input.measure(request.direction) {
            Ok(shape) => shape,
            Err(bad) => panic!("{bad}"),
        };
        let mut ask = Ask {
            now,
            algorithm: request.key.algorithm(),
            direction: request.direction,
            shape,
            memory: memory(&request.input, shape.dst_len),
            member: request.member,
            application: request.team == APPLICATIONS,
            exclude: SeatSet::EMPTY,
            closed: SeatSet::EMPTY,
        };
        let mut full = SeatSet::EMPTY;
        let mut choice = match self.choose(request.team, &ask, &mut full) {
            Ok(choice) => choice,
            Err(reject) => return Err((request, reject)),
        };
        if self.flights.is_full() {
            return Err((request, Reject::Full));
        }
        let Some(mut dst) = destination(buffers, &request.input, request.direction, &shape) else {
            return Err((request, Reject::NoMemory));
        };
        let mut request = request;
        loop {
            let seat = choice.seat;
            if self.seats[seat].is_synchronous() {
                let ticket = self.submit_now(now, request, dst, &choice, &ask);
                return Ok((ticket, Some(self.seats[seat].id)));
            }
            (request, dst) = match self.submit_later(now, request, dst, &choice, &ask) {
                Ok(ticket) => return Ok((ticket, Some(self.seats[seat].id))),
                Err(refused) => refused,
            };
            // Full in a way that its declared bounds do not show: the next one.
            ask.exclude.insert(seat);
            choice = match self.choose(request.team, &ask, &mut full) {
                Ok(choice) => choice,
                Err(_) => return Err((request, Reject::Full)),
            };
        }
    }

    /// Appends ended jobs to `out` and what happened to `events`.
    pub fn poll(
        &mut self,
        now: Time,
        buffers: &Buffers,
        out: &mut Vec<Done>,
        events: &mut Vec<PoolEvent>,
    ) {
        for seat in 0..self.seats.len() {
            self.collect(now, seat);
        }
        for seat in 0..self.seats.len() {
            self.check_deadline(now, seat);
        }
        if !self.waiting.is_empty() {
            self.place_waiting(now, buffers);
        }
        out.append(&mut self.done);
        events.append(&mut self.events);
    }

    /// When `poll` is to be called at the latest, though nothing woke the worker; a time that
    /// has passed means at once. It may change with every other call.
    #[must_use]
    pub fn timeout(&self) -> Option<Time> {
        if !self.done.is_empty() {
            return Some(Time::ZERO);
        }
        let mut first = self.retry_at.filter(|_| !self.waiting.is_empty());
        for seat in &self.seats {
            if seat.outstanding.is_empty() {
                continue;
            }
            for at in [seat.deadline(), seat.engine.next()].into_iter().flatten() {
                first = Some(first.map_or(at, |first| first.min(at)));
            }
        }
        first
    }

    /// Jobs accepted and not yet ended, those among them that no engine has included. Jobs on
    /// the worker's own engine have always ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Every engine, as it is now.
    #[must_use]
    pub fn snapshot(&self, now: Time) -> Vec<EngineSnapshot> {
        self.seats
            .iter()
            .enumerate()
            .map(|(at, seat)| EngineSnapshot {
                engine: seat.id.0,
                health: seat.health(),
                outstanding: seat.outstanding.len(),
                backlog_ns: self.board.at(at).backlog_ns(now),
                memory: self.board.at(at).memory,
                counters: seat.counters,
                capabilities: seat.capabilities.clone(),
                rates: seat.rates.lines(),
            })
            .collect()
    }

    /// What placement would think of every engine for a job of `team` as `ask` has it, at `now`, in
    /// the order in which they are asked.
    #[must_use]
    pub fn explain(&self, now: Time, team: u32, ask: &Ask) -> Vec<Candidate> {
        let ask = Ask { now, ..*ask };
        let Some(team) = self.team(team) else {
            return Vec::new();
        };
        candidates(&team.grants, &team.lanes, &self.board, &ask, |engine| {
            let seat = self.seat_of(EngineId(engine))?;
            let at = &self.seats[seat];
            Some(Known {
                seat,
                capabilities: &at.capabilities,
                health: at.health(),
            })
        })
    }

    /// The engine that a job would be placed on now: [`Pool::submit`]'s search, without the job.
    #[must_use]
    pub fn would_place(&self, team: u32, ask: &Ask) -> Option<EngineId> {
        let team = self.team(team)?;
        let choice = team.lanes.choose(&self.board, ask, &mut SeatSet::default());
        choice.ok().map(|choice| self.seats[choice.seat].id)
    }

    /// Lets somebody else choose among the engines that may do a job and have room; with `None`
    /// the formula does.
    pub fn set_placer(&mut self, placer: Option<Box<dyn Placer>>) {
        self.placer = placer;
    }

    /// How many operations a job of `member` should hold now: few while an engine is idle, so that
    /// the first packets are back soon, and as many as come while the engines are at work
    /// before it, [`MAX_OPS`] at most.
    #[must_use]
    pub fn preferred_ops(
        &self,
        team: u32,
        member: Option<u32>,
        algorithm: Algorithm,
        direction: Direction,
    ) -> usize {
        let mut ask = Ask::new(Time::ZERO, algorithm, direction, member, 1, TYPICAL_BYTES);
        ask.application = team == APPLICATIONS;
        let found = self
            .team(team)
            .and_then(|team| team.lanes.least(&self.board, &ask));
        let Some((work_ns, hot, cost)) = found else {
            return MAX_OPS;
        };
        if !self.waiting.is_empty() {
            return MAX_OPS;
        }
        let each = cost.service_ns(1, TYPICAL_BYTES).max(1);
        let overhead = JOB_NS + hot.transfer_ns(0);
        let few = (overhead * OVERHEAD_SHARE).div_ceil(each);
        let meanwhile = work_ns / each;
        few.max(meanwhile).clamp(1, MAX_OPS as u64) as usize
    }

    fn seat_of(&self, id: EngineId) -> Option<usize> {
        self.seats.iter().position(|seat| seat.id == id)
    }

    /// Grants name engines by number; placement wants seats.
    fn compile(&mut self) {
        for team in &mut self.teams {
            team.lanes = Lanes::compile(&team.grants, |engine| {
                let at = self.seats.iter().position(|seat| seat.id.0 == engine)?;
                Some((at, &self.seats[at].capabilities))
            });
        }
    }

    fn team(&self, team: u32) -> Option<&Team> {
        self.teams.iter().find(|at| at.id == team)
    }

    /// An engine for a job; seats that may do it and have no room are put into `full`.
    fn choose(&mut self, team: u32, ask: &Ask, full: &mut SeatSet) -> Result<Choice, Reject> {
        if self.placer.is_some() {
            return self.ask_placer(team, ask);
        }
        let team = self.team(team).ok_or(Reject::NoEngine)?;
        team.lanes.choose(&self.board, ask, full)
    }

    fn ask_placer(&mut self, team: u32, ask: &Ask) -> Result<Choice, Reject> {
        let all = self.explain(ask.now, team, ask);
        let could = |verdict| {
            matches!(
                verdict,
                Verdict::Chosen | Verdict::Dearer | Verdict::LaterTier | Verdict::BeyondSpill
            )
        };
        let wait = |verdict| matches!(verdict, Verdict::Full | Verdict::NoHeadroom);
        if !all.iter().any(|at| could(at.verdict) || wait(at.verdict)) {
            return Err(Reject::NoEngine);
        }
        let mut open: Vec<Candidate> = Vec::with_capacity(all.len());
        for candidate in all.into_iter().filter(|at| could(at.verdict)) {
            // An engine that could do it as primary use is not offered again as secondary.
            if open.iter().all(|at| at.engine != candidate.engine) {
                open.push(candidate);
            }
        }
        let engine = match &mut self.placer {
            Some(placer) if !open.is_empty() => placer.place(ask, &open),
            Some(_) | None => None,
        };
        let picked = engine.and_then(|engine| open.into_iter().find(|at| at.engine == engine));
        let picked = picked.ok_or(Reject::Full)?;
        Ok(Choice {
            seat: self.seat_of(picked.engine).ok_or(Reject::NoEngine)?,
            class: picked.class,
            service_ns: picked.service_ns,
            expected_ns: picked.cost_ns - picked.bias_ns,
        })
    }
}

/// A buffer for a job's output, with nothing of its last user in it that no operation
/// overwrites.
fn destination(
    buffers: &Buffers,
    input: &JobInput,
    direction: Direction,
    shape: &Shape,
) -> Option<Buf> {
    let mut dst = buffers.get(shape.dst_len)?;
    dst.set_len(shape.dst_len);
    if shape.gaps {
        input.clear_gaps(direction, dst.data_mut());
    }
    Some(dst)
}
