//! The pool: all verified engines, and the promise that an accepted job comes back once.
//!
//! | verb | when |
//! | --- | --- |
//! | [`Pool::submit`] | a job is to be done; it is placed, or waits, or is refused |
//! | [`Pool::poll`] | in every step, when an engine woke the worker, and at [`Pool::timeout`] |
//! | [`Pool::admit`], [`Pool::remove`], [`Pool::set_grants`], [`Pool::inject`] | between steps |
//! | [`Pool::snapshot`], [`Pool::queues`], [`Pool::levels`], [`Pool::explain`], [`Pool::preferred_ops`] | at any time |
//!
//! A job that was placed on a synchronous engine is back at the next `poll`, at the same `now`.
//! Every job that `submit` took ends in one [`Done`], and:
//!
//! - a job that no engine has room for waits (`queue.rs`), by class, with a fair share for each flow. No
//!   new job takes the room that it waits for (`place.rs`).
//! - an engine that does not answer by four times the expected time (and its own patience, at
//!   least 2 ms), half of that counted from when the worker looked, though its threads had a
//!   processor, is hung: it gets nothing more, and what it
//!   has is done elsewhere from the same input, before all that is new. Whichever attempt comes
//!   first is the job's end; the other only returns its buffer. After ten seconds in which no
//!   engine may do it, whoever waited for the packet has sent it again, and it is given up.
//! - what engines compute is looked at: by the worker (`audit.rs`), by another engine before
//!   it leaves (`check.rs`), and by jobs whose answer is known (`canary.rs`).
//! - an engine that is left comes back only through [`verify`](crate::verify::verify).
//!
//! Nothing here reads a clock: times are the caller's, and monotonic.

mod audit;
mod canary;
mod check;
mod flights;
mod journey;
mod keys;
mod level;
mod limits;
mod place;
mod queue;
mod report;
mod seat;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use esprit_packet::{Buf, Pool as Buffers, Time};

use crate::engine::{Engine, Fault, Wake};
use crate::grants::{APPLICATIONS, EngineId, Grants};
use crate::job::{Job, JobInput, Shape, memory};
use crate::key::{AeadKey, Direction};
use crate::placement::board::Board;
use crate::placement::lanes::Lanes;
use crate::placement::{Ask, Placer};
use crate::pool::audit::Auditor;
use crate::pool::canary::Canaries;
use crate::pool::flights::{Flight, Flights};
use crate::pool::keys::Keys;
use crate::pool::limits::Limits;
use crate::pool::place::WORKER_BYTES;
use crate::pool::queue::Queue;
use crate::pool::seat::Seat;
use crate::seats::{MAX_ENGINES, SeatSet};
use crate::verify::Verified;

pub use level::Level;
pub use place::GIVE_UP;
pub use report::{Done, EngineSnapshot, Found, LostReason, PoolEvent, QueueLevel, Queues, Reject};
pub use seat::Counters;

/// A job whose operations failed this often is not tried again.
const MAX_FAILURES: u8 = 4;

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
    /// Their places, by the engines' numbers.
    places: BTreeMap<EngineId, usize>,
    /// What placement reads of them.
    board: Board,
    /// Which keys they hold.
    keys: Keys,
    /// What they lack that an SA may need.
    limits: Limits,
    placer: Option<Box<dyn Placer>>,
    teams: Vec<Team>,
    flights: Flights,
    /// Tickets of flights that an engine had and none has now, in the order of their need.
    redo: VecDeque<u64>,
    /// What no engine has had yet.
    queue: Queue,
    /// Engines whose room is waited for, or whose turn is over.
    closed: SeatSet,
    /// Engines that have jobs.
    busy: SeatSet,
    /// Engines that do their jobs on the worker.
    synchronous: SeatSet,
    /// What the worker may do itself until the next poll, in bytes.
    worker_bytes: u64,
    /// When to look for room for them.
    retry_at: Option<Time>,
    done: Vec<Done>,
    events: Vec<PoolEvent>,
    scratch: Vec<Job>,
    auditor: Auditor,
    canaries: Canaries,
    wake: Arc<dyn Wake>,
}

impl Pool {
    /// An empty pool. `wake` is what engines for it are to be made with.
    #[must_use]
    pub fn new(wake: Arc<dyn Wake>) -> Self {
        Self {
            seats: Vec::new(),
            places: BTreeMap::new(),
            board: Board::default(),
            keys: Keys::default(),
            limits: Limits::default(),
            placer: None,
            teams: Vec::new(),
            flights: Flights::default(),
            redo: VecDeque::new(),
            queue: Queue::default(),
            closed: SeatSet::EMPTY,
            busy: SeatSet::EMPTY,
            synchronous: SeatSet::EMPTY,
            worker_bytes: WORKER_BYTES,
            retry_at: None,
            done: Vec::new(),
            events: Vec::new(),
            scratch: Vec::new(),
            auditor: Auditor::default(),
            canaries: Canaries::default(),
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
        self.keys.push(&seat.capabilities);
        self.seats.push(seat);
        self.reseated();
        self.retry_at = Some(Time::ZERO);
        self.canaries.due = Time::ZERO;
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
        let lanes = compile(&self.places, &self.seats, &grants);
        self.teams.push(Team {
            id: team,
            grants,
            lanes,
        });
        // What was closed may be open to what waits.
        self.closed = SeatSet::EMPTY;
        self.spend(0);
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
    /// The request back, with the reason, where no engine may do it, or as much waits as may.
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
        let mut ask = self.ask(now, &request, shape);
        let mut line = None;
        if !self.queue.is_empty() {
            let own = self.line_of(&request, &ask);
            if self.queue.waits(own.0, &own.1) {
                let ticket = self.enqueue(now, request, &ask, own)?;
                return Ok((ticket, None));
            }
            line = Some(own);
        }
        let mut full = SeatSet::EMPTY;
        let mut dst = None;
        loop {
            let choice = match self.choose(request.team, &ask, &mut full) {
                Ok(choice) => choice,
                Err(Reject::Full) => break,
                Err(reject) => return Err((request, reject)),
            };
            if self.flights.is_full() {
                return Err((request, Reject::Full));
            }
            let ready = dst
                .take()
                .or_else(|| destination(buffers, &request.input, request.direction, &shape));
            let Some(ready) = ready else {
                return Err((request, Reject::NoMemory));
            };
            let seat = choice.seat;
            let engine = Some(self.seats[seat].id);
            if self.seats[seat].is_synchronous() {
                let ticket = self.submit_now(now, buffers, &request, ready, &choice, &ask);
                return Ok((ticket, engine));
            }
            match self.submit_later(now, &request, ready, &choice, &ask) {
                Ok(ticket) => return Ok((ticket, engine)),
                Err(buffer) => dst = Some(buffer),
            }
            // Full in a way that its declared bounds do not show: the next one.
            ask.closed.insert(seat);
            full.insert(seat);
        }
        let own = line.unwrap_or_else(|| self.line_of(&request, &ask));
        let ticket = self.enqueue(now, request, &ask, own)?;
        self.closed = self.closed.union(&full);
        Ok((ticket, None))
    }

    /// What placement is asked about a request.
    fn ask(&self, now: Time, request: &Request, shape: Shape) -> Ask {
        Ask {
            shape,
            memory: memory(&request.input, shape.dst_len),
            member: request.member,
            application: request.team == APPLICATIONS,
            ..self.ask_by_key(now, &request.key, request.direction)
        }
    }

    /// What it is asked about a job that waits.
    fn ask_again(&self, now: Time, flight: &Flight) -> Ask {
        let origin = &flight.origin;
        Ask {
            shape: origin.shape,
            memory: origin.memory,
            member: origin.member,
            application: origin.team == APPLICATIONS,
            ..self.ask_by_key(now, &flight.key, flight.direction)
        }
    }

    /// As much of either as the key says.
    fn ask_by_key(&self, now: Time, key: &AeadKey, direction: Direction) -> Ask {
        let ask = Ask::new(now, key.algorithm(), direction, None, 0, 0);
        Ask {
            closed: self.closed,
            ..self.with_key(&ask, key)
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
        self.worker_bytes = WORKER_BYTES;
        for seat in self.busy.iter() {
            self.collect(now, buffers, seat);
        }
        for seat in self.busy.iter() {
            self.check_deadline(now, seat);
            self.see_late(now, seat);
        }
        if now >= self.canaries.due {
            self.send_canaries(now);
        }
        if self.redo.is_empty() && self.queue.is_empty() {
            self.closed = SeatSet::EMPTY;
        } else {
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
        let waiting = !(self.redo.is_empty() && self.queue.is_empty());
        let retry = self.retry_at.filter(|_| waiting);
        let canary = (self.canaries.due < Time::NEVER).then_some(self.canaries.due);
        let mut first = retry.into_iter().chain(canary).min();
        for seat in self.busy.iter() {
            let seat = &self.seats[seat];
            for at in [seat.deadline(), seat.engine.next()].into_iter().flatten() {
                first = Some(first.map_or(at, |first| first.min(at)));
            }
        }
        first
    }

    /// Lets somebody else choose among the engines that may do a job and have room; with `None`
    /// the formula does.
    pub fn set_placer(&mut self, placer: Option<Box<dyn Placer>>) {
        self.placer = placer;
    }

    fn seat_of(&self, id: EngineId) -> Option<usize> {
        self.places.get(&id).copied()
    }

    /// Engines have come or gone, and others stand where they stood.
    fn reseated(&mut self) {
        self.places.clear();
        self.busy = SeatSet::EMPTY;
        self.synchronous = SeatSet::EMPTY;
        self.closed = SeatSet::EMPTY;
        for (at, seat) in self.seats.iter().enumerate() {
            self.places.insert(seat.id, at);
            if !seat.outstanding.is_empty() {
                self.busy.insert(at);
            }
            if seat.is_synchronous() {
                self.synchronous.insert(at);
            }
        }
        self.limits = Limits::of(self.seats.iter().map(|seat| &seat.capabilities));
        self.spend(0);
        for team in &mut self.teams {
            team.lanes = compile(&self.places, &self.seats, &team.grants);
        }
    }

    fn team(&self, team: u32) -> Option<&Team> {
        self.teams.iter().find(|at| at.id == team)
    }
}

/// Grants name engines by number; placement wants seats.
fn compile(places: &BTreeMap<EngineId, usize>, seats: &[Seat], grants: &Grants) -> Lanes {
    Lanes::compile(grants, |engine| {
        let at = *places.get(&EngineId(engine))?;
        Some((at, &seats[at].capabilities))
    })
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
