//! Jobs that wait get engines: those that are done again before all, then class by class.
//!
//! While a job waits for room, the engines that it could go to are *closed* to all that come
//! after it: nobody takes the room it waits for. An engine that is idle is never closed, since the first
//! that may use it does; so a job waits only for engines that are at work.

use esprit_packet::buf::{LARGE, SMALL};
use esprit_packet::{Pool as Buffers, Time};

use crate::grants::{APPLICATIONS, Class, EngineId};
use crate::job::Job;
use crate::job::JobInput;
use crate::placement::{Ask, Candidate, Choice, Verdict};
use crate::pool::flights::{Flight, Origin, Task};
use crate::pool::queue::{self, GroupKey, LEAST_BYTES, Waiting};
use crate::pool::report::{LostReason, PoolEvent, Reject};
use crate::pool::{Pool, Request, destination};
use crate::seats::SeatSet;

/// A job that no engine may do is given up after this: ten seconds, by when every transport
/// has sent its packets again several times.
pub const GIVE_UP: Time = Time(10_000_000_000);

/// While jobs wait for room, it is looked for at least this often: 1 ms.
const RETRY: Time = Time(1_000_000);

/// Waiting jobs that find no room in one poll before the rest is not asked, unless an engine is
/// idle: they mostly wait for the same engines.
const MISSES: usize = 32;

/// Bytes that the worker seals and opens itself between two polls before it lets other work
/// through: what two ports bring in a turn, both ways, and some 100 µs of aws-lc.
pub(super) const WORKER_BYTES: u64 = 512 * 1024;

/// What came of an attempt to place a waiting job.
enum Placed {
    /// An engine has it, or has done it already.
    Yes,
    /// There is no room for it now.
    Full,
    /// No engine may do it.
    Nobody,
    /// There is no buffer for its output.
    NoMemory,
    /// It ended meanwhile.
    Gone,
}

/// What an input's frames hold of the buffers.
fn held(input: &JobInput) -> u64 {
    let of = |len: usize| {
        if len <= SMALL {
            LEAST_BYTES
        } else {
            LARGE as u64
        }
    };
    let frames = input.frames.iter().map(|frame| of(frame.len())).sum();
    LEAST_BYTES.max(frames)
}

impl Pool {
    /// The class and group that a new job would wait in.
    pub(super) fn line_of(&self, request: &Request, ask: &Ask) -> (Class, GroupKey) {
        let key = GroupKey {
            team: request.team,
            member: request.member,
            algorithm: ask.algorithm,
            direction: ask.direction,
        };
        let own = self
            .team(request.team)
            .is_some_and(|team| team.lanes.own_engine(&self.board, ask));
        let class = match (ask.application, own) {
            (true, _) => Class::Application,
            (false, true) => Class::Primary,
            (false, false) => Class::Secondary,
        };
        (class, key)
    }

    /// A new job waits for an engine.
    pub(super) fn enqueue(
        &mut self,
        now: Time,
        request: Request,
        ask: &Ask,
        (class, key): (Class, GroupKey),
    ) -> Result<u64, (Request, Reject)> {
        let bytes = held(&request.input);
        if self.flights.is_full() || !self.queue.has_room(class, &key, request.flow, bytes) {
            return Err((request, Reject::Full));
        }
        let origin = Origin::new(now, &request, ask);
        let mut flight = Flight::waiting(
            &request.key,
            request.direction,
            &request.input,
            origin,
            Task::Work,
        );
        flight.waits = true;
        let ticket = self.flights.insert(flight);
        let waiting = Waiting {
            ticket,
            cost: queue::cost(ask.shape.packets, ask.shape.bytes),
            bytes,
        };
        self.queue
            .push(class, &key, (request.flow, request.weight), waiting);
        if self.retry_at.is_none() {
            self.retry_at = Some(now + RETRY);
        }
        Ok(ticket)
    }

    /// The worker has done so many bytes itself.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.worker_bytes = self.worker_bytes.saturating_sub(bytes);
        if self.worker_bytes == 0 {
            self.closed = self.closed.union(&self.synchronous);
        }
    }

    /// Looks for engines for all that waits.
    pub(super) fn place_waiting(&mut self, now: Time, buffers: &Buffers) {
        self.retry_at = None;
        self.closed = SeatSet::EMPTY;
        self.spend(0);
        if self.place_redone(now, buffers) {
            self.place_queued(now, buffers);
        }
        if self.redo.is_empty() && self.queue.is_empty() {
            return;
        }
        // Where it was the worker's own turn that ended, it goes on as soon as it can.
        let soon = self.worker_bytes == 0;
        let mut at = if soon { now } else { now + RETRY };
        // An engine that is soon idle is given applications' work before it is.
        if self.queue.level(Class::Application).0 > 0
            && let Some(team) = self.team(APPLICATIONS)
            && let Some(opens) = team.lanes.opens_beside(&self.board, now)
        {
            at = at.min(opens);
        }
        self.retry_at = Some(at);
    }

    /// Answers whether there is memory for more.
    fn place_redone(&mut self, now: Time, buffers: &Buffers) -> bool {
        let mut misses = 0;
        for _ in 0..self.redo.len() {
            let Some(ticket) = self.redo.pop_front() else {
                break;
            };
            match self.place_again(now, buffers, ticket) {
                Placed::Yes | Placed::Gone => continue,
                Placed::Full => {}
                Placed::Nobody if self.end_without(now, buffers, ticket) => continue,
                Placed::Nobody => {}
                Placed::NoMemory => {
                    self.redo.push_front(ticket);
                    return false;
                }
            }
            self.redo.push_back(ticket);
            misses += 1;
            if misses >= MISSES && !self.has_idle() {
                break;
            }
        }
        true
    }

    fn place_queued(&mut self, now: Time, buffers: &Buffers) {
        if self.queue.is_empty() {
            return;
        }
        self.queue.begin();
        let (mut misses, mut passed) = (0, 0);
        for class in Class::ALL {
            while let Some(ticket) = self.queue.next(class) {
                match self.place_again(now, buffers, ticket) {
                    Placed::Yes | Placed::Gone => self.queue.took(class),
                    Placed::Nobody if self.end_without(now, buffers, ticket) => {
                        self.queue.took(class);
                    }
                    Placed::Full | Placed::Nobody => {
                        // An engine may be idle, and have headroom or memory for a shorter one.
                        if passed < MISSES && self.has_idle() {
                            self.queue.pass(class);
                            passed += 1;
                        } else {
                            self.queue.block(class);
                        }
                        misses += 1;
                        if misses >= MISSES && !self.has_idle() {
                            return;
                        }
                    }
                    Placed::NoMemory => return,
                }
            }
        }
    }

    /// Whether an engine that may be given jobs has none.
    fn has_idle(&self) -> bool {
        let idle = |seat: usize| self.board.at(seat).usable && !self.busy.has(seat);
        (0..self.seats.len()).any(|seat| idle(seat) && !self.closed.has(seat))
    }

    fn place_again(&mut self, now: Time, buffers: &Buffers, ticket: u64) -> Placed {
        let Some(flight) = self.flights.get(ticket).filter(|flight| flight.waits) else {
            return Placed::Gone;
        };
        let origin = flight.origin;
        let (from, attempt) = (flight.from, flight.attempts);
        let never = flight.never();
        let mut ask = self.ask_again(now, flight);
        let (key, direction) = (flight.key.clone(), flight.direction);
        let input = flight.input.clone();
        let seats = |id: Option<EngineId>| {
            id.and_then(|id| self.seat_of(id))
                .map_or(SeatSet::EMPTY, SeatSet::only)
        };
        let (never, mut spared) = (seats(never), seats(from));
        ask.exclude = never.union(&spared);
        let mut dst = None;
        loop {
            let mut full = SeatSet::EMPTY;
            let choice = match self.choose(origin.team, &ask, &mut full) {
                Ok(choice) => choice,
                // Nobody else may or has room: the one that failed at it, if it is still usable.
                Err(_) if !spared.is_empty() => {
                    ask.exclude = never;
                    spared = SeatSet::EMPTY;
                    continue;
                }
                Err(Reject::Full) => {
                    self.closed = self.closed.union(&full);
                    return Placed::Full;
                }
                Err(Reject::NoEngine | Reject::NoMemory) => return Placed::Nobody,
            };
            let ready = dst
                .take()
                .or_else(|| destination(buffers, &input, direction, &origin.shape));
            let Some(ready) = ready else {
                return Placed::NoMemory;
            };
            let mut job = Job {
                ticket,
                key: key.clone(),
                direction,
                attempt,
                bad_icv: 0,
                failed: 0,
                input: input.clone(),
                dst: ready,
            };
            let seat = &mut self.seats[choice.seat];
            let to = seat.id;
            let done = if seat.is_synchronous() {
                seat.engine.work(&mut job);
                Some(job)
            } else if let Err(refused) = seat.engine.submit(now, job) {
                dst = Some(refused.dst);
                ask.closed.insert(choice.seat);
                self.closed.insert(choice.seat);
                continue;
            } else {
                let mut hot = self.board.at_mut(choice.seat);
                seat.begin(now, &mut hot, ticket, attempt, origin.memory, &choice);
                self.keys.used(choice.seat, key.id());
                self.busy.insert(choice.seat);
                None
            };
            self.seats[choice.seat].count(&choice, &origin.shape);
            if let Some(flight) = self.flights.get_mut(ticket) {
                flight.attempts = attempt.saturating_add(1);
                flight.waits = false;
            }
            self.tell_redone(from, to);
            if let Some(job) = done {
                self.spend(origin.shape.bytes);
                self.returned(now, buffers, choice.seat, choice.class, job);
            }
            return Placed::Yes;
        }
    }

    fn tell_redone(&mut self, from: Option<EngineId>, to: EngineId) {
        let Some(from) = from else {
            return;
        };
        if let Some(PoolEvent::Redone {
            from: last_from,
            to: last_to,
            jobs,
        }) = self.events.last_mut()
            && *last_from == from
            && *last_to == to
        {
            *jobs += 1;
        } else {
            self.events.push(PoolEvent::Redone { from, to, jobs: 1 });
        }
    }

    /// No engine may do a job: the worker itself sees to a check, in its own time, and any other
    /// has ended once it has waited too long. Answers whether it has ended.
    fn end_without(&mut self, now: Time, buffers: &Buffers, ticket: u64) -> bool {
        let Some(flight) = self.flights.get(ticket) else {
            return true;
        };
        if matches!(flight.task, Task::Check(_)) {
            if self.worker_bytes == 0 {
                return false;
            }
            let bytes = self.check_here(buffers, ticket);
            self.spend(bytes);
            return true;
        }
        let old = now.since(flight.origin.accepted) >= GIVE_UP;
        if old && let Some(flight) = self.flights.remove(ticket) {
            self.done.push(flight.lost(ticket, LostReason::NoEngine));
        }
        old
    }

    /// An engine for a job; seats that may do it and have no room are put into `full`.
    pub(super) fn choose(
        &mut self,
        team: u32,
        ask: &Ask,
        full: &mut SeatSet,
    ) -> Result<Choice, Reject> {
        if self.placer.is_some() {
            return self.ask_placer(team, ask);
        }
        let team = self.team(team).ok_or(Reject::NoEngine)?;
        team.lanes.choose(&self.board, ask, full)
    }

    /// Lets a [`Placer`](crate::placement::Placer) choose among those that the formula would choose
    /// among: what the Plan keeps for later, or for nobody, is not its to open.
    fn ask_placer(&mut self, team: u32, ask: &Ask) -> Result<Choice, Reject> {
        let Some(of) = self.team(team) else {
            return Err(Reject::NoEngine);
        };
        let all = self.candidates(ask.now, of, &of.grants.engines, ask);
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
        // Where nobody keeps within the limit, the formula takes the cheapest of all.
        let limit = |class| self.team(team).map_or(0, |team| team.lanes.spill_ns(class));
        let late = !all.iter().any(|at| {
            let kept = at.cost_ns - at.bias_ns <= limit(at.class);
            kept && matches!(at.verdict, Verdict::Chosen | Verdict::Dearer)
        });
        let offered = |at: &Candidate| {
            matches!(at.verdict, Verdict::Chosen | Verdict::Dearer)
                || (late && at.verdict == Verdict::BeyondSpill)
        };
        let mut open: Vec<Candidate> = Vec::with_capacity(all.len());
        for candidate in all.into_iter().filter(offered) {
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
            service_ns: picked.service_ns + picked.key_ns,
            expected_ns: picked.cost_ns - picked.bias_ns,
        })
    }
}
