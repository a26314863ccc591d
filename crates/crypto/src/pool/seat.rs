//! An engine in the pool, with all that the pool knows of it.

use std::collections::VecDeque;

use esprit_packet::Time;
use serde::Serialize;

use crate::engine::{Capabilities, Engine};
use crate::grants::{Class, EngineId};
use crate::health::Health;
use crate::health::Record;
use crate::job::{Job, Shape};
use crate::key::Direction;
use crate::placement::Choice;
use crate::placement::board::Hot;
use crate::rates::Rates;
use crate::verify::Verified;

/// A job counts as hung at this many times its expected time.
const HUNG_FACTOR: u64 = 4;

/// It is late at this many times its expected time: half of the way to hung, and more than the
/// worker's steps and a thread's turns make of a job in good order.
const LATE_FACTOR: u64 = 2;

/// An engine whose thread gets no processor is as good as hung after this: 100 ms.
const STARVED_LIMIT: Time = Time(100_000_000);

/// Until then it is looked at so often: 200 µs.
const STARVED_LOOK: Time = Time(200_000);

/// A job that the engine has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outstanding {
    pub(crate) ticket: u64,
    pub(crate) attempt: u8,
    pub(crate) class: Class,
    pub(crate) service_ns: u64,
    pub(crate) expected_ns: u64,
    pub(crate) memory: u64,
    pub(crate) since: Time,
    /// When it counts as hung.
    pub(crate) deadline: Time,
    /// When that is looked at next: at half time, at the deadline, and then for as long as the
    /// engine's thread has had no processor.
    pub(crate) look_at: Time,
}

/// What an engine has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Jobs given to it.
    pub jobs: u64,
    /// Packets in them.
    pub packets: u64,
    /// Bytes in them, encrypted or decrypted.
    pub bytes: u64,
    /// Jobs for its own member.
    pub primary: u64,
    /// Jobs for other members.
    pub secondary: u64,
    /// Jobs for applications.
    pub application: u64,
    /// Jobs taken away from it and done elsewhere.
    pub redone: u64,
    /// Jobs that it gave back after that.
    pub late: u64,
    /// Operations that it could not do.
    pub failed: u64,
    /// Operations whose ICV was wrong, as it says.
    pub bad_icv: u64,
    /// Results that were computed a second time to check it.
    pub audited: u64,
    /// Results that turned out wrong.
    pub wrong: u64,
    /// Sealed jobs of it that were opened again before they left.
    pub checked: u64,
    /// Known answers that it was asked for while it worked.
    pub canaries: u64,
    /// Jobs whose wrong ICV was looked at by another engine, since this one was suspect.
    pub second_looks: u64,
    /// Nanoseconds of work given to it, at its measured rate.
    pub busy_ns: u64,
    /// The part for its own member.
    pub primary_ns: u64,
    /// The part for other members.
    pub secondary_ns: u64,
    /// The part for applications.
    pub application_ns: u64,
}

pub(crate) struct Seat {
    pub(crate) id: EngineId,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) capabilities: Capabilities,
    pub(crate) rates: Rates,
    pub(crate) record: Record,
    pub(crate) counters: Counters,
    /// The longest way through it.
    latency_ns: u64,
    /// Jobs that it has given back, and those of them that were sealed: whose turn it is to be
    /// looked at.
    pub(crate) back: u64,
    pub(crate) sealed: u64,
    /// When it gets its next canary, and which.
    pub(crate) canary_at: Option<Time>,
    pub(crate) canary_turn: usize,
    /// What it has, in the order in which it was given.
    pub(crate) outstanding: VecDeque<Outstanding>,
}

impl Seat {
    pub(crate) fn new(id: EngineId, verified: Verified) -> Self {
        let (engine, rates) = verified.into_parts();
        let latency_ns = rates
            .iter()
            .map(|(_, _, rate)| rate.latency_ns as u64)
            .max()
            .unwrap_or(0);
        Self {
            id,
            latency_ns,
            capabilities: engine.capabilities().clone(),
            rates,
            engine,
            record: Record::default(),
            counters: Counters::default(),
            back: 0,
            sealed: 0,
            canary_at: None,
            canary_turn: 0,
            outstanding: VecDeque::new(),
        }
    }

    pub(crate) const fn is_synchronous(&self) -> bool {
        self.capabilities.synchronous
    }

    pub(crate) const fn health(&self) -> Health {
        self.record.health()
    }

    /// It was given a job.
    pub(crate) fn count(&mut self, choice: &Choice, shape: &Shape) {
        let counters = &mut self.counters;
        counters.jobs += 1;
        counters.packets += u64::from(shape.packets);
        counters.bytes += shape.bytes;
        counters.busy_ns += choice.service_ns;
        match choice.class {
            Class::Primary => {
                counters.primary += 1;
                counters.primary_ns += choice.service_ns;
            }
            Class::Secondary => {
                counters.secondary += 1;
                counters.secondary_ns += choice.service_ns;
            }
            Class::Application => {
                counters.application += 1;
                counters.application_ns += choice.service_ns;
            }
        }
    }

    /// It gave one back; answers how many it had before.
    pub(crate) fn back(&mut self, job: &Job) -> u64 {
        self.counters.failed += u64::from(job.failed.count_ones());
        self.counters.bad_icv += u64::from(job.bad_icv.count_ones());
        self.back += 1;
        self.sealed += u64::from(job.direction == Direction::Seal);
        self.back - 1
    }

    /// It was given a job that it will give back later.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        hot: &mut Hot,
        ticket: u64,
        attempt: u8,
        memory: u64,
        choice: &Choice,
    ) {
        let times = (choice.service_ns, choice.expected_ns);
        hot.begin(now, times, memory, choice.class);
        let span = Time(
            choice
                .expected_ns
                .saturating_mul(HUNG_FACTOR)
                .max(self.capabilities.patience_ns),
        );
        self.outstanding.push_back(Outstanding {
            ticket,
            attempt,
            class: choice.class,
            service_ns: choice.service_ns,
            expected_ns: choice.expected_ns,
            memory,
            since: now,
            deadline: now + span,
            look_at: now + Time(span.0 / 2),
        });
    }

    /// It gave a job back; answers what was known of it.
    pub(crate) fn end(
        &mut self,
        now: Time,
        hot: &mut Hot,
        ticket: u64,
        attempt: u8,
    ) -> Option<Outstanding> {
        // Engines give back nearly in order, so it is at or near the front.
        let at = self
            .outstanding
            .iter()
            .position(|job| job.ticket == ticket && job.attempt == attempt)?;
        let job = self.outstanding.remove(at)?;
        hot.end(
            now,
            job.since,
            job.service_ns,
            job.memory,
            job.class,
            self.latency_ns,
        );
        Some(job)
    }

    /// For how long its oldest job should have been back, once that is beyond doubt.
    pub(crate) fn late(&self, now: Time) -> Option<Time> {
        let job = self.outstanding.front()?;
        let expected = Time(job.expected_ns);
        let late = now.since(job.since + expected);
        (late >= Time(expected.0.saturating_mul(LATE_FACTOR - 1))).then_some(late)
    }

    /// When to look whether the oldest job is hung. Those behind it are expected later, so one look at
    /// the front is enough; a job that overtakes the rest is looked at when it gets there.
    pub(crate) fn deadline(&self) -> Option<Time> {
        if !self.health().usable() {
            return None;
        }
        self.outstanding.front().map(|job| job.look_at)
    }

    /// Whether the oldest job, whose time has come, is to have more of it: half of it was not yet
    /// counted, or the engine's own thread was not running. Where it is the last engine there is no end
    /// to that: its jobs would wait for its next verification, which needs the same processor.
    ///
    /// The second half counts from this look: a worker that was itself held up between reading the
    /// clock and giving the job away would otherwise take its own pause for the engine's.
    pub(crate) fn excused(&mut self, now: Time, last: bool) -> bool {
        let Some(oldest) = self.outstanding.front_mut() else {
            return true;
        };
        if oldest.look_at < oldest.deadline {
            let half = Time(oldest.deadline.since(oldest.since).0 / 2);
            oldest.deadline = oldest.deadline.max(now + half);
            oldest.look_at = oldest.deadline;
            return true;
        }
        let late = !last && now >= oldest.deadline + STARVED_LIMIT;
        if late || !self.engine.starved() {
            return false;
        }
        oldest.look_at = now + STARVED_LOOK;
        true
    }
}
