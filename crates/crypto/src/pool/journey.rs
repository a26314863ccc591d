//! The journey of a job through the pool: given, back or not, ended. What comes between is in
//! [`place`](super::place): waiting for an engine, for the first time or again.

use esprit_packet::{Buf, Pool as Buffers, Time};

use crate::engine::Engine;
use crate::grants::{Class, EngineId};
use crate::health::Health;
use crate::job::Job;
use crate::placement::{Ask, Choice};
use crate::pool::flights::{Flight, Origin, Task};
use crate::pool::report::{Done, Found, LostReason, PoolEvent};
use crate::pool::{MAX_FAILURES, Pool, Request};

/// A request as a job that no engine has had; it gets its ticket where it is kept.
fn first_attempt(request: &Request, dst: Buf) -> Job {
    Job {
        ticket: 0,
        key: request.key.clone(),
        direction: request.direction,
        input: request.input.clone(),
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
        buffers: &Buffers,
        request: &Request,
        dst: Buf,
        choice: &Choice,
        ask: &Ask,
    ) -> u64 {
        let seat = &mut self.seats[choice.seat];
        seat.count(choice, &ask.shape);
        let mut job = first_attempt(request, dst);
        seat.engine.work(&mut job);
        self.spend(ask.shape.bytes);
        if job.failed == 0 && !self.to_be_checked(choice.seat, request.team, &job) {
            // In most cases a flight is never needed: nothing is kept of the job.
            let seat = &mut self.seats[choice.seat];
            seat.back(&job);
            let engine = seat.id;
            let ticket = self.flights.ticket();
            self.done.push(Done::Complete {
                ticket,
                engine,
                dst: job.dst,
                bad_icv: job.bad_icv,
                input: job.input,
                attempts: 1,
                class: choice.class,
            });
            return ticket;
        }
        let origin = Origin::new(now, request, ask);
        let ticket = self.flights.insert(Flight::new(&job, origin));
        job.ticket = ticket;
        self.returned(now, buffers, choice.seat, choice.class, job);
        ticket
    }

    /// A new job for any other engine: a flight is kept until it is back. Where the engine
    /// refuses, the buffer comes back.
    pub(super) fn submit_later(
        &mut self,
        now: Time,
        request: &Request,
        dst: Buf,
        choice: &Choice,
        ask: &Ask,
    ) -> Result<u64, Buf> {
        let mut job = first_attempt(request, dst);
        let flight = Flight::new(&job, Origin::new(now, request, ask));
        let ticket = self.flights.insert(flight);
        job.ticket = ticket;
        let seat = &mut self.seats[choice.seat];
        if let Err(job) = seat.engine.submit(now, job) {
            self.flights.remove(ticket);
            return Err(job.dst);
        }
        seat.count(choice, &ask.shape);
        let mut hot = self.board.at_mut(choice.seat);
        seat.begin(now, &mut hot, ticket, 0, ask.memory, choice);
        self.keys.used(choice.seat, request.key.id());
        self.busy.insert(choice.seat);
        Ok(ticket)
    }

    /// Takes what an engine has done.
    pub(super) fn collect(&mut self, now: Time, buffers: &Buffers, seat: usize) {
        let mut back = core::mem::take(&mut self.scratch);
        self.seats[seat].engine.poll(now, &mut back);
        for job in back.drain(..) {
            self.returned(now, buffers, seat, Class::Secondary, job);
        }
        self.scratch = back;
        if self.seats[seat].outstanding.is_empty() {
            self.busy.remove(seat);
        }
    }

    /// An attempt is back; `class` is the use that it was where the engine is synchronous.
    pub(super) fn returned(
        &mut self,
        now: Time,
        buffers: &Buffers,
        at: usize,
        class: Class,
        job: Job,
    ) {
        let seat = &mut self.seats[at];
        let engine = seat.id;
        let known = seat.end(now, &mut self.board.at_mut(at), job.ticket, job.attempt);
        let class = known.map_or(class, |known| known.class);
        if known.is_none() && !seat.is_synchronous() {
            // Of an earlier life of the engine: nothing of ours waits for it.
            return;
        }
        let health = seat.health();
        let left = !health.usable();
        if left && seat.outstanding.is_empty() && health == Health::Hung {
            self.events.push(PoolEvent::Recovered { engine, health });
        }
        let Some(flight) = self.flights.get(job.ticket) else {
            self.late(at);
            return;
        };
        let (newest, checked) = (flight.awaits(job.attempt), flight.checked);
        let (team, flow) = (flight.origin.team, flight.origin.flow);
        if let Task::Canary(number) = flight.task {
            self.answered(at, number, &job);
            return;
        }
        let opens_to_check = matches!(flight.task, Task::Check(_));
        if !newest {
            self.late(at);
        }
        let turn = self.seats[at].back(&job);
        if job.failed != 0 {
            self.failed(at, &job);
            if newest {
                self.again_after_failure(engine, job.ticket);
            }
            return;
        }
        // Another attempt came first, and is being looked at.
        if checked {
            return;
        }
        if opens_to_check {
            // Of a checker that was left only its own word would speak for it.
            if newest && !left {
                self.opened(buffers, at, job);
            }
            return;
        }
        // An engine that is left may say what is true, but it does not say it well: a wrong
        // ICV is believed only if nobody else is at it.
        if job.bad_icv != 0 {
            if left && !newest {
                return;
            }
            let suspect = health != Health::Ok;
            let first = newest && job.attempt == 0;
            if suspect && first && self.auditor.second_look(now, flow) {
                self.seats[at].counters.second_looks += 1;
                self.again(engine, job.ticket);
                return;
            }
        }
        if self.to_be_checked(at, team, &job) {
            self.check(now, at, class, job);
            return;
        }
        if let Some(evidence) = self.auditor.look(&mut self.seats[at], turn, &job) {
            // The job itself first: it was accepted before those that the engine still has.
            if newest {
                self.again(engine, job.ticket);
            }
            self.convict(at, job.ticket, evidence, Found::Audit, None);
            return;
        }
        if self.seats[at].record.good() {
            let health = self.judge(at);
            self.events.push(PoolEvent::Recovered { engine, health });
        }
        if let Some(flight) = self.flights.remove(job.ticket) {
            let mut end = ended(job.ticket, engine, class, flight, job.dst);
            if let Done::Complete { bad_icv, .. } = &mut end {
                *bad_icv = job.bad_icv;
            }
            self.done.push(end);
        }
    }

    /// An engine could not do operations of a job.
    pub(super) fn failed(&mut self, at: usize, job: &Job) {
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
    pub(super) fn judge(&mut self, at: usize) -> Health {
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
        if self.seats[at].deadline().is_none_or(|at| at > now) {
            return;
        }
        let usable = |seat: &&crate::pool::seat::Seat| seat.health().usable();
        let last = self.seats.iter().filter(usable).count() == 1;
        let seat = &mut self.seats[at];
        if seat.excused(now, last) {
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

    /// The engine's oldest job is late: what it has is expected later by as much again, so that an
    /// engine that stopped gets little more until it counts as hung.
    pub(super) fn see_late(&mut self, now: Time, at: usize) {
        if let Some(late) = self.seats[at].late(now) {
            self.board.at_mut(at).late(now, late);
        }
    }

    /// The engine is given nothing more, and what it has is done elsewhere. It keeps the
    /// buffers until it gives them back or is reset.
    pub(super) fn leave(&mut self, at: usize) {
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
                .get(ticket)
                .is_some_and(|flight| flight.awaits(attempt));
            if newest {
                self.again(engine, ticket);
            }
        }
    }

    fn again_after_failure(&mut self, from: EngineId, ticket: u64) {
        let Some(flight) = self.flights.get_mut(ticket) else {
            return;
        };
        flight.failures += 1;
        let check = matches!(flight.task, Task::Check(_));
        if flight.failures < MAX_FAILURES || check {
            self.again(from, ticket);
        } else if let Some(mut flight) = self.flights.remove(ticket) {
            flight.from = Some(from);
            self.done.push(flight.lost(ticket, LostReason::Failed));
        }
    }

    /// The job waits for another engine, before all that no engine has had.
    pub(super) fn again(&mut self, from: EngineId, ticket: u64) {
        let Some(flight) = self.flights.get_mut(ticket) else {
            return;
        };
        if matches!(flight.task, Task::Canary(_)) {
            // The engine's own matter.
            self.flights.remove(ticket);
            return;
        }
        flight.waits = true;
        flight.from = Some(from);
        if let Some(seat) = self.seat_of(from) {
            self.seats[seat].counters.redone += 1;
        }
        self.redo.push_back(ticket);
        self.retry_at = Some(Time::ZERO);
    }

    /// Takes an engine from its seat; what it has waits for others.
    pub(super) fn take_out(&mut self, id: EngineId) -> Option<Box<dyn Engine>> {
        let at = self.seat_of(id)?;
        let seat = self.seats.remove(at);
        self.board.remove(at);
        self.keys.remove(at);
        let attempts: Vec<(u64, u8)> = seat
            .outstanding
            .iter()
            .map(|job| (job.ticket, job.attempt))
            .collect();
        self.reseated();
        self.take_away(id, &attempts);
        Some(seat.engine)
    }
}

/// The end of a job that was done.
pub(super) fn ended(ticket: u64, engine: EngineId, class: Class, flight: Flight, dst: Buf) -> Done {
    Done::Complete {
        ticket,
        engine,
        dst,
        bad_icv: 0,
        input: flight.input,
        attempts: flight.attempts,
        class,
    }
}
