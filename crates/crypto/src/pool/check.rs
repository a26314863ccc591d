//! What was sealed, opened again by another engine before it leaves.
//!
//! The opened text has to be what was sealed, and what stands before it in the clear has to be as it
//! was given. Where it is not, one of the two engines lied: the worker seals the operations in
//! question itself and sees which. Where no other engine may open it, the worker checks alone, so a lone
//! engine is checked too.

use std::sync::Arc;

use esprit_packet::{Buf, Pool as Buffers, SharedBuf, Time};

use crate::grants::{Class, EngineId};
use crate::job::{Job, JobInput, MAX_OPS, Op, Range, memory};
use crate::key::Direction;
use crate::pool::Pool;
use crate::pool::audit::{Evidence, drawn};
use crate::pool::flights::{Flight, Origin, Task};
use crate::pool::journey::ended;
use crate::pool::report::{Found, PoolEvent};

/// A sealed job that is being checked.
#[derive(Debug)]
pub(crate) struct Check {
    /// Its ticket.
    of: u64,
    /// The engine that sealed it.
    pub(crate) engine: EngineId,
    class: Class,
    sealed: SharedBuf,
}

/// What opens all that `input`'s operations sealed.
fn opening(input: &JobInput, sealed: &SharedBuf) -> JobInput {
    let mut dst = 0;
    let open = |op: &Op| {
        let prefix = op.prefix.1 - op.prefix.0;
        let opened = Op {
            nonce: op.nonce,
            aad: op.aad,
            aad_len: op.aad_len,
            long_aad: op.long_aad,
            body: (op.dst + prefix, op.dst + op.out_len(Direction::Seal) as u32),
            dst,
            ..Op::default()
        };
        dst += opened.out_len(Direction::Open) as u32;
        opened
    };
    // Where additional data are long, they stand among the headers.
    let long = input.ops.iter().any(|op| op.long_aad.1 > op.long_aad.0);
    JobInput {
        frames: smallvec::smallvec![sealed.clone()],
        headers: if long {
            input.headers.clone()
        } else {
            Vec::new()
        },
        ops: input.ops.iter().map(open).collect(),
    }
}

fn bytes(all: &[u8], range: Range) -> &[u8] {
    &all[range.0 as usize..range.1 as usize]
}

/// A bit for each operation of `input` whose source is not what `opened` has of it, by `ops`, or
/// whose prefix is not as it was given.
fn differing(input: &JobInput, sealed: &[u8], ops: &[Op], opened: &[u8]) -> u64 {
    let mut differs = 0;
    for (index, (op, open)) in input.ops.iter().zip(ops).enumerate() {
        let frame = input.frames[usize::from(op.frame)].data();
        let parts = [
            bytes(&input.headers, op.head),
            bytes(frame, op.body),
            bytes(&input.headers, op.tail),
        ];
        let mut rest = opened.get(open.dst as usize..).unwrap_or_default();
        let same = parts
            .iter()
            .all(|part| match rest.split_at_checked(part.len()) {
                Some((got, after)) => {
                    rest = after;
                    got == *part
                }
                None => false,
            });
        let prefix = bytes(&input.headers, op.prefix);
        let clear = sealed.get(op.dst as usize..).unwrap_or_default();
        if !same || !clear.starts_with(prefix) {
            differs |= 1 << index;
        }
    }
    differs
}

impl Pool {
    /// Whether a sealed job that an engine gave back is to be opened before it leaves.
    pub(super) fn to_be_checked(&self, at: usize, team: u32, job: &Job) -> bool {
        if job.direction != Direction::Seal || job.input.ops.is_empty() {
            return false;
        }
        let every = self.team(team).map_or(0, |team| team.grants.verify_every);
        let seat = &self.seats[at];
        every != 0 && drawn(seat.sealed, every.into(), seat.id.0.into())
    }

    /// Has a sealed job opened; it leaves after that.
    pub(super) fn check(&mut self, now: Time, at: usize, class: Class, job: Job) {
        let engine = self.seats[at].id;
        let Job {
            ticket,
            key,
            input,
            dst,
            ..
        } = job;
        let Some(flight) = self.flights.get_mut(ticket) else {
            return;
        };
        flight.checked = true;
        flight.waits = false;
        let sealed = dst.share();
        let open = Arc::new(opening(&input, &sealed));
        let shape = match open.measure(Direction::Open) {
            Ok(shape) => shape,
            Err(bad) => panic!("{bad}"),
        };
        let origin = Origin {
            shape,
            memory: memory(&open, shape.dst_len),
            accepted: now,
            ..flight.origin
        };
        let check = Check {
            of: ticket,
            engine,
            class,
            sealed,
        };
        let task = Task::Check(Box::new(check));
        let mut flight = Flight::waiting(&key, Direction::Open, &open, origin, task);
        flight.waits = true;
        let ticket = self.flights.insert(flight);
        self.redo.push_back(ticket);
        self.retry_at = Some(Time::ZERO);
    }

    /// Another engine has opened it.
    pub(super) fn opened(&mut self, buffers: &Buffers, at: usize, job: Job) {
        let Some(flight) = self.flights.remove(job.ticket) else {
            return;
        };
        let Task::Check(check) = flight.task else {
            return;
        };
        let Some(of) = self.flights.get(check.of) else {
            return;
        };
        let sealed = check.sealed.data();
        let mut differs =
            job.bad_icv & (u64::MAX >> (MAX_OPS - of.input.ops.len().clamp(1, MAX_OPS)));
        differs |= differing(&of.input, sealed, &job.input.ops, job.dst.data());
        let mut lie: Option<Evidence> = None;
        let mut false_alarm: Option<Evidence> = None;
        for index in (0..of.input.ops.len()).filter(|index| differs & (1 << index) != 0) {
            let seal = Direction::Seal;
            let wrong = self
                .auditor
                .wrong(&of.key, seal, &of.input, index, sealed, false);
            match wrong {
                Some(evidence) => lie = lie.or(Some(evidence)),
                None => {
                    // What was sealed is right, so it is the opening that is not.
                    let bad = job.bad_icv & (1 << index) != 0;
                    let wrong = self.auditor.wrong(
                        &job.key,
                        Direction::Open,
                        &job.input,
                        index,
                        job.dst.data(),
                        bad,
                    );
                    false_alarm = false_alarm.or(wrong);
                }
            }
        }
        let checker = self.seats[at].id;
        drop((job, flight.input));
        if let Some(evidence) = false_alarm {
            self.convict(at, check.of, evidence, Found::Check, Some(check.engine));
        }
        self.judged(buffers, *check, lie, Some(checker));
    }

    /// Nobody else may open it: the worker seals it again and compares.
    pub(super) fn check_here(&mut self, buffers: &Buffers, ticket: u64) -> u64 {
        let Some(flight) = self.flights.remove(ticket) else {
            return 0;
        };
        let Task::Check(check) = flight.task else {
            return 0;
        };
        let Some(of) = self.flights.get(check.of) else {
            return 0;
        };
        let lie = (0..of.input.ops.len()).find_map(|index| {
            let sealed = check.sealed.data();
            self.auditor
                .wrong(&of.key, Direction::Seal, &of.input, index, sealed, false)
        });
        let bytes = of.origin.shape.bytes;
        drop(flight.input);
        self.judged(buffers, *check, lie, None);
        bytes
    }

    fn judged(
        &mut self,
        buffers: &Buffers,
        check: Check,
        lie: Option<Evidence>,
        by: Option<EngineId>,
    ) {
        let Check {
            of,
            engine,
            class,
            sealed,
        } = check;
        let at = self.seat_of(engine);
        if let Some(at) = at {
            self.seats[at].counters.checked += 1;
        }
        if let Some(flight) = self.flights.get_mut(of) {
            flight.checked = false;
        }
        if let Some(evidence) = lie {
            self.again(engine, of);
            if let Some(at) = at {
                self.convict(at, of, evidence, Found::Check, by);
            }
            return;
        }
        let Some(flight) = self.flights.get(of) else {
            return;
        };
        let Some(mut dst) = alone(sealed, buffers) else {
            // No memory for it now: it is done again when there is.
            self.again(engine, of);
            return;
        };
        if flight.origin.shape.gaps {
            flight.input.clear_gaps(Direction::Seal, dst.data_mut());
        }
        if let Some(flight) = self.flights.remove(of) {
            let end = ended(of, engine, class, flight, dst);
            self.done.push(end);
        }
    }

    /// An engine's result was wrong: it is given nothing more.
    pub(super) fn convict(
        &mut self,
        at: usize,
        ticket: u64,
        evidence: Evidence,
        found: Found,
        by: Option<EngineId>,
    ) {
        let seat = &mut self.seats[at];
        let engine = seat.id;
        seat.counters.wrong += 1;
        self.events.push(PoolEvent::Wrong {
            engine,
            ticket,
            operation: evidence.operation,
            byte: evidence.byte,
            found,
            by,
        });
        if seat.record.wrong() {
            self.events.push(PoolEvent::Quarantined { engine });
            self.leave(at);
        }
    }
}

/// The buffer for writing; a copy of it where a checker that hangs still reads it.
fn alone(shared: SharedBuf, buffers: &Buffers) -> Option<Buf> {
    shared.try_unshare().map_or_else(
        |shared| {
            let mut copy = buffers.get(shared.len())?;
            copy.append(shared.data());
            Some(copy)
        },
        Some,
    )
}
