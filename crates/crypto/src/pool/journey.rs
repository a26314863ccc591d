//! The journey of a job through the pool: given, back or not, again, ended.

use esprit_packet::{Buf, Pool as Buffers, Time};

use crate::engine::Engine;
use crate::grants::{APPLICATIONS, Class, EngineId};
use crate::health::Health;
use crate::job::Job;
use crate::placement::{Ask, Choice};
use crate::pool::flights::{Flight, Origin};
use crate::pool::report::{Done, LostReason, PoolEvent};
use crate::pool::{GIVE_UP, MAX_FAILURES, MISSES, Pool, QUANTUM, RETRY, Request, destination};
use crate::seats::SeatSet;

/// What came of an attempt to place a waiting job.
enum Placed {
    /// An engine has it, or has done it already: so many bytes on the worker itself.
    Yes(u64),
    /// There is no room for it now.
    No,
    /// It ended meanwhile.
    Gone,
}

/// A request as a job that no engine has had; it gets its ticket where it is kept.
fn first_attempt(request: Request, dst: Buf) -> Job {
    Job {
        ticket: 0,
        key: request.key,
        direction: request.direction,
        input: request.input,
        dst,
        attempt: 0,
        bad_icv: 0,
        failed: 0,
    }
}

impl Pool {
    /// A new job for a synchronous engine: it is done before this returns.
    pub(super) fn submit_now(
        &mut self,
        now: Time,
        request: Request,
        dst: Buf,
        choice: &Choice,
        ask: &Ask,
    ) -> u64 {
        let team = request.team;
        let seat = &mut self.seats[choice.seat];
        seat.count(choice, &ask.shape);
        let mut job = first_attempt(request, dst);
        seat.engine.work(&mut job);
        if job.failed == 0 {
            // In most cases a flight is never needed: nothing is kept of the job.
            seat.counters.bad_icv += u64::from(job.bad_icv.count_ones());
            let engine = seat.id;
            let ticket = self.flights.ticket();
            self.done.push(complete(ticket, engine, choice.class, job));
            return ticket;
        }
        let origin = Origin::new(now, team, ask);
        let ticket = self.flights.insert(Flight::new(&job, origin));
        job.ticket = ticket;
        self.returned(now, choice.seat, choice.class, job);
        ticket
    }

    /// A new job for any other engine: a flight is kept until it is back. Where the engine
    /// refuses, everything comes back.
    pub(super) fn submit_later(
        &mut self,
        now: Time,
        request: Request,
        dst: Buf,
        choice: &Choice,
        ask: &Ask,
    ) -> Result<u64, (Request, Buf)> {
        let Request {
            team, flow, weight, ..
        } = request;
        let mut job = first_attempt(request, dst);
        let flight = Flight::new(&job, Origin::new(now, team, ask));
        let ticket = self.flights.insert(flight);
        job.ticket = ticket;
        let seat = &mut self.seats[choice.seat];
        if let Err(job) = seat.engine.submit(now, job) {
            self.flights.remove(ticket);
            let request = Request {
                team,
                key: job.key,
                direction: job.direction,
                input: job.input,
                member: ask.member,
                flow,
                weight,
            };
            return Err((request, job.dst));
        }
        seat.count(choice, &ask.shape);
        let hot = self.board.at_mut(choice.seat);
        seat.begin(now, hot, ticket, 0, ask.memory, choice);
        Ok(ticket)
    }

    /// Takes what an engine has done.
    pub(super) fn collect(&mut self, now: Time, seat: usize) {
        if self.seats[seat].outstanding.is_empty() {
            return;
        }
        let mut back = core::mem::take(&mut self.scratch);
        self.seats[seat].engine.poll(now, &mut back);
        for job in back.drain(..) {
            self.returned(now, seat, Class::Secondary, job);
        }
        self.scratch = back;
    }

    /// An attempt is back; `class` is the use that it was where the engine is synchronous.
    fn returned(&mut self, now: Time, at: usize, class: Class, job: Job) {
        let seat = &mut self.seats[at];
        let engine = seat.id;
        let known = seat.end(now, self.board.at_mut(at), job.ticket, job.attempt);
        let class = known.map_or(class, |known| known.class);
        if known.is_none() && !seat.is_synchronous() {
            // Of an earlier life of the engine: nothing of ours waits for it.
            return;
        }
        seat.counters.failed += u64::from(job.failed.count_ones());
        seat.counters.bad_icv += u64::from(job.bad_icv.count_ones());
        let health = seat.health();
        let left = !health.usable();
        if left && seat.outstanding.is_empty() && health == Health::Hung {
            self.events.push(PoolEvent::Recovered { engine, health });
        }
        let Some(flight) = self.flights.get_mut(job.ticket) else {
            self.late(at);
            return;
        };
        let newest = flight.attempt == job.attempt && !flight.waits;
        if !newest {
            self.late(at);
        }
        if job.failed != 0 {
            self.failed(at, &job);
            if newest {
                self.again_after_failure(engine, job.ticket);
            }
            return;
        }
        // An engine that is left may say what is true, but it does not say it well: a wrong
        // ICV is believed only if nobody else is at it.
        if job.bad_icv != 0 {
            if left && !newest {
                return;
            }
            let suspect = self.seats[at].health() != Health::Ok;
            if suspect && newest && job.attempt == 0 && self.auditor.second_look(now) {
                self.again(engine, job.ticket);
                return;
            }
        }
        let seat = &mut self.seats[at];
        if let Some(op) = self.auditor.due(seat, &job) {
            seat.counters.audited += 1;
            if !self.auditor.agrees(&job, op) {
                seat.counters.wrong += 1;
                let ticket = job.ticket;
                self.events.push(PoolEvent::Wrong { engine, ticket });
                // The job itself first: it was accepted before those that the engine still has.
                if newest {
                    self.again(engine, ticket);
                }
                if self.seats[at].record.wrong() {
                    self.events.push(PoolEvent::Quarantined { engine });
                    self.leave(at);
                }
                return;
            }
        }
        if self.seats[at].record.good() {
            let health = self.judge(at);
            self.events.push(PoolEvent::Recovered { engine, health });
        }
        self.flights.remove(job.ticket);
        self.done.push(complete(job.ticket, engine, class, job));
    }

    fn failed(&mut self, at: usize, job: &Job) {
        let seat = &mut self.seats[at];
        let engine = seat.id;
        self.events.push(PoolEvent::Failed {
            engine,
            ticket: job.ticket,
            operations: job.failed.count_ones(),
        });
        let quarantined = seat.record.failed();
        self.judge(at);
        if quarantined {
            self.events.push(PoolEvent::Quarantined { engine });
            self.leave(at);
        }
    }

    /// Takes an engine's record over to where placement sees it.
    fn judge(&mut self, at: usize) -> Health {
        let health = self.seats[at].health();
        self.board.at_mut(at).usable = health.usable();
        health
    }

    /// A job came back that had been taken away.
    fn late(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        seat.counters.late += 1;
        let engine = seat.id;
        if let Some(PoolEvent::Late { engine: last, jobs }) = self.events.last_mut()
            && *last == engine
        {
            *jobs += 1;
        } else {
            self.events.push(PoolEvent::Late { engine, jobs: 1 });
        }
    }

    /// The engine's oldest job should have been back.
    pub(super) fn check_deadline(&mut self, now: Time, at: usize) {
        let seat = &mut self.seats[at];
        if seat.deadline().is_none_or(|at| at > now) || seat.excused(now) {
            return;
        }
        let Some(oldest) = seat.outstanding.front() else {
            return;
        };
        self.events.push(PoolEvent::Hung {
            engine: seat.id,
            ticket: oldest.ticket,
            expected_ns: oldest.expected_ns,
            waited_ns: now.since(oldest.since).0,
        });
        seat.record.hung();
        self.leave(at);
    }

    /// The engine is given nothing more, and what it has is done elsewhere. It keeps the
    /// buffers until it gives them back or is reset.
    fn leave(&mut self, at: usize) {
        self.judge(at);
        let seat = &self.seats[at];
        let engine = seat.id;
        let tickets: Vec<(u64, u8)> = seat
            .outstanding
            .iter()
            .map(|job| (job.ticket, job.attempt))
            .collect();
        self.take_away(engine, &tickets);
    }

    /// Those of an engine's attempts that are still the newest are to be made elsewhere.
    fn take_away(&mut self, engine: EngineId, attempts: &[(u64, u8)]) {
        for &(ticket, attempt) in attempts {
            let newest = self
                .flights
                .get_mut(ticket)
                .is_some_and(|flight| flight.attempt == attempt && !flight.waits);
            if newest {
                self.again(engine, ticket);
            }
        }
    }

    fn again_after_failure(&mut self, from: EngineId, ticket: u64) {
        let failures = self.flights.get_mut(ticket).map_or(0, |flight| {
            flight.failures += 1;
            flight.failures
        });
        if failures < MAX_FAILURES {
            self.again(from, ticket);
        } else if self.flights.remove(ticket).is_some() {
            let reason = LostReason::Failed;
            self.done.push(Done::Lost { ticket, reason });
        }
    }

    /// The job waits for another engine.
    fn again(&mut self, from: EngineId, ticket: u64) {
        let Some(flight) = self.flights.get_mut(ticket) else {
            return;
        };
        flight.waits = true;
        flight.from = Some(from);
        if let Some(seat) = self.seat_of(from) {
            self.seats[seat].counters.redone += 1;
        }
        self.waiting.push_back(ticket);
        self.retry_at = Some(Time::ZERO);
    }

    /// Takes an engine from its seat; what it has waits for others.
    pub(super) fn take_out(&mut self, id: EngineId) -> Option<Box<dyn Engine>> {
        let at = self.seat_of(id)?;
        let seat = self.seats.remove(at);
        self.board.remove(at);
        let attempts: Vec<(u64, u8)> = seat
            .outstanding
            .iter()
            .map(|job| (job.ticket, job.attempt))
            .collect();
        self.take_away(id, &attempts);
        self.compile();
        Some(seat.engine)
    }

    /// Looks for room for jobs that wait, oldest need first.
    pub(super) fn place_waiting(&mut self, now: Time, buffers: &Buffers) {
        let mut misses = 0;
        let mut bytes = 0;
        self.retry_at = None;
        for _ in 0..self.waiting.len() {
            let Some(ticket) = self.waiting.pop_front() else {
                break;
            };
            match self.place_again(now, buffers, ticket) {
                Placed::Yes(here) => bytes += here,
                Placed::Gone => {}
                Placed::No => {
                    misses += 1;
                    if !self.give_up(now, ticket) {
                        self.waiting.push_back(ticket);
                    }
                }
            }
            if bytes >= QUANTUM {
                self.retry_at = Some(now);
                return;
            }
            if misses >= MISSES {
                break;
            }
        }
        if !self.waiting.is_empty() {
            self.retry_at = Some(now + RETRY);
        }
    }

    fn place_again(&mut self, now: Time, buffers: &Buffers, ticket: u64) -> Placed {
        let Some(flight) = self.flights.get_mut(ticket).filter(|flight| flight.waits) else {
            return Placed::Gone;
        };
        let origin = flight.origin;
        let from = flight.from;
        let (input, direction) = (flight.input.clone(), flight.direction);
        let mut job = Job {
            ticket,
            key: flight.key.clone(),
            direction,
            attempt: flight.attempt.saturating_add(1),
            bad_icv: 0,
            failed: 0,
            input,
            dst: match destination(buffers, &flight.input, direction, &origin.shape) {
                Some(dst) => dst,
                None => return Placed::No,
            },
        };
        let mut ask = Ask {
            now,
            algorithm: job.key.algorithm(),
            direction,
            shape: origin.shape,
            memory: origin.memory,
            member: origin.member,
            application: origin.team == APPLICATIONS,
            exclude: from
                .and_then(|from| self.seat_of(from))
                .map_or(SeatSet::EMPTY, SeatSet::only),
            closed: SeatSet::EMPTY,
        };
        let mut spared = ask.exclude;
        loop {
            let choice = match self.choose(origin.team, &ask, &mut SeatSet::default()) {
                Ok(choice) => choice,
                // Nobody else may or has room: the one that failed at it, if it is still usable.
                Err(_) if !spared.is_empty() => {
                    for seat in spared.iter() {
                        ask.exclude.remove(seat);
                    }
                    spared = SeatSet::EMPTY;
                    continue;
                }
                Err(_) => return Placed::No,
            };
            let seat = &mut self.seats[choice.seat];
            let (attempt, to) = (job.attempt, seat.id);
            let done = if seat.is_synchronous() {
                seat.engine.work(&mut job);
                Some(job)
            } else if let Err(refused) = seat.engine.submit(now, job) {
                job = refused;
                ask.exclude.insert(choice.seat);
                continue;
            } else {
                let hot = self.board.at_mut(choice.seat);
                seat.begin(now, hot, ticket, attempt, origin.memory, &choice);
                None
            };
            seat.count(&choice, &origin.shape);
            if let Some(flight) = self.flights.get_mut(ticket) {
                flight.attempt = attempt;
                flight.waits = false;
            }
            self.tell_redone(from, to);
            return match done {
                Some(job) => {
                    self.returned(now, choice.seat, choice.class, job);
                    Placed::Yes(origin.shape.bytes)
                }
                None => Placed::Yes(0),
            };
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

    /// Whether a job has waited too long; then it has ended.
    fn give_up(&mut self, now: Time, ticket: u64) -> bool {
        let old = self
            .flights
            .get_mut(ticket)
            .is_none_or(|flight| now.since(flight.origin.accepted) >= GIVE_UP);
        if old && self.flights.remove(ticket).is_some() {
            let reason = LostReason::NoEngine;
            self.done.push(Done::Lost { ticket, reason });
        }
        old
    }
}

fn complete(ticket: u64, engine: EngineId, class: Class, job: Job) -> Done {
    Done::Complete {
        ticket,
        engine,
        dst: job.dst,
        bad_icv: job.bad_icv,
        input: job.input,
        attempts: job.attempt + 1,
        class,
    }
}
