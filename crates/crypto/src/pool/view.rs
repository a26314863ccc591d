//! What the pool shows of itself, and what it would do: nothing here changes anything.

use std::collections::BTreeSet;

use esprit_packet::Time;

use crate::grants::{APPLICATIONS, Class, EngineId, Grant};
use crate::job::MAX_OPS;
use crate::key::{AeadKey, Algorithm, Direction};
use crate::placement::explain::{Known, candidates};
use crate::placement::lanes::granted;
use crate::placement::{Ask, Candidate};
use crate::pool::report::{EngineSnapshot, QueueLevel, Queues};
use crate::pool::{Pool, Request, Team};
use crate::seats::SeatSet;

/// A packet as most are where there are many: of the usual MTU, with its headers.
const TYPICAL_BYTES: u64 = 1400;

/// What a job costs besides its operations, on the worker: some 300 ns (`examples/inline_cost.rs`),
/// and as much again for its way through a device's queue.
const JOB_NS: u64 = 600;

/// That is to be one part in so many of a job at most: ten per cent.
const OVERHEAD_SHARE: u64 = 10;

/// Waiting jobs for which [`Pool::idles`] searches: those behind them wait for the same engines.
const JOBS_SEARCHED: usize = 16;

impl Pool {
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

    /// What waits for an engine, by class. What is done again, or checked, is not in it.
    #[must_use]
    pub fn queues(&self) -> Queues {
        let level = |class| {
            let (jobs, bytes) = self.queue.level(class);
            QueueLevel { jobs, bytes }
        };
        Queues {
            primary: level(Class::Primary),
            secondary: level(Class::Secondary),
            application: level(Class::Application),
        }
    }

    /// What placement would think of every engine for a job of `team` as `ask` has it, at `now`, in
    /// the order in which they are asked; those that may do nothing for it come last.
    #[must_use]
    pub fn explain(&self, now: Time, team: u32, ask: &Ask) -> Vec<Candidate> {
        let Some(of) = self.team(team) else {
            return Vec::new();
        };
        let mut grants = of.grants.engines.clone();
        let named: BTreeSet<u32> = grants.iter().map(|grant| grant.engine).collect();
        let others = self.seats.iter().map(|seat| seat.id.0);
        grants.extend(others.filter(|id| !named.contains(id)).map(Grant::none));
        self.candidates(now, of, &grants, ask)
    }

    /// The same for these grants of a team.
    pub(super) fn candidates(
        &self,
        now: Time,
        team: &Team,
        grants: &[Grant],
        ask: &Ask,
    ) -> Vec<Candidate> {
        let ask = Ask { now, ..*ask };
        candidates(grants, &team.lanes, &self.board, &ask, |engine| {
            let seat = self.seat_of(EngineId(engine))?;
            let at = &self.seats[seat];
            Some(Known {
                seat,
                capabilities: &at.capabilities,
                health: at.health(),
            })
        })
    }

    /// What placement would think of every engine for this very job.
    #[must_use]
    pub fn explain_request(&self, now: Time, request: &Request) -> Vec<Candidate> {
        let Ok(shape) = request.input.measure(request.direction) else {
            return Vec::new();
        };
        let ask = self.ask(now, request, shape);
        self.explain(now, request.team, &ask)
    }

    /// The same question, for a job with this key.
    #[must_use]
    pub fn with_key(&self, ask: &Ask, key: &AeadKey) -> Ask {
        Ask {
            holders: self.keys.holders(key.id()),
            crowded: self.keys.full(),
            lacking: self.limits.lacking(key.needs()),
            ..*ask
        }
    }

    /// Whether an engine that may do this task of an application is out of use, and could do it once it
    /// is back: it is being tested, or in a state in which it will be.
    #[must_use]
    pub fn may_come_back(&self, request: &Request) -> bool {
        let out = |engine| {
            self.seat_of(EngineId(engine)).is_none_or(|at| {
                let seat = &self.seats[at];
                let able = seat.rates.get(request.key.algorithm(), request.direction);
                able.is_some() && !seat.health().usable()
            })
        };
        self.team(APPLICATIONS).is_some_and(|team| {
            let mut grants = team.grants.engines.iter();
            grants.any(|grant| {
                let lets = grant.application.is_some() && granted(grant, request.direction);
                lets && out(grant.engine)
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

    /// An idle engine that some waiting job could have: none, if the pool conserves work (row M16).
    /// A job that waits behind another one of its flow is not asked about: it would leave behind
    /// that one, whoever did it before. For simulations: it searches for each of the first jobs
    /// that wait.
    #[must_use]
    pub fn idles(&self, now: Time) -> Option<EngineId> {
        let all = self.redo.iter().copied().chain(self.queue.heads());
        let waiting = all.filter_map(|ticket| self.flights.get(ticket));
        let unbegun = waiting.filter(|flight| flight.waits && flight.attempts == 0);
        unbegun.take(JOBS_SEARCHED).find_map(|job| {
            let never = job.never().and_then(|engine| self.seat_of(engine));
            let never = never.map_or(SeatSet::EMPTY, SeatSet::only);
            let ask = Ask {
                exclude: self.synchronous.union(&never),
                closed: SeatSet::EMPTY,
                ..self.ask_again(now, job)
            };
            let lanes = &self.team(job.origin.team)?.lanes;
            let choice = lanes
                .choose(&self.board, &ask, &mut SeatSet::default())
                .ok()?;
            let idle = self.seats[choice.seat].outstanding.is_empty();
            idle.then_some(self.seats[choice.seat].id)
        })
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
        if !self.queue.is_empty() {
            return MAX_OPS;
        }
        let each = cost.service_ns(1, TYPICAL_BYTES).max(1);
        let overhead = JOB_NS + hot.transfer_ns(0);
        let few = (overhead * OVERHEAD_SHARE).div_ceil(each);
        let meanwhile = work_ns / each;
        few.max(meanwhile).clamp(1, MAX_OPS as u64) as usize
    }
}
