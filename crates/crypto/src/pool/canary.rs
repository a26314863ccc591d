//! Jobs with known answers, now and then, for engines that have work and for those that have none:
//! one that died while it was idle is found before traffic needs it, and a lying one by what
//! no traffic depends on.

use std::sync::Arc;

use esprit_packet::{Buf, Pool as Buffers, SharedBuf, Time};

use crate::engines::software;
use crate::grants::Class;
use crate::job::{Job, JobInput, Shape, memory};
use crate::key::{AeadKey, Algorithm, Direction, ICV_LEN};
use crate::placement::Choice;
use crate::pool::Pool;
use crate::pool::audit::Evidence;
use crate::pool::flights::{Flight, Origin, Task};
use crate::pool::report::Found;
use crate::verify::runner::{opening, sealing};

/// An engine is asked this often: 100 ms, so that a dead idle one is known after that and its
/// patience, and ten jobs of a few microseconds a second are nothing to it.
const EVERY: Time = Time(100_000_000);

/// A slow engine is asked less often, so that it is busy with it for a thousandth of its time at most.
const SHARE: u64 = 1000;

/// Packets of a canary, and their bytes: with their ICVs they fit a small buffer.
const PACKETS: usize = 5;
const BYTES: usize = 300;

/// The packet that is forged where the canary is to be opened: its verdict is a known answer too.
const FORGED: usize = 3;

/// Buffers for canaries: each engine has one at a time, and those that hang keep theirs.
const BUFFERS: usize = 1024;

/// A known answer.
#[derive(Debug)]
struct Canary {
    algorithm: Algorithm,
    direction: Direction,
    key: Arc<AeadKey>,
    input: Arc<JobInput>,
    shape: Shape,
    want: Vec<u8>,
    bad_icv: u64,
}

/// All of them. Their buffers are apart from those of packets.
#[derive(Debug)]
pub(crate) struct Canaries {
    buffers: Buffers,
    all: Vec<Canary>,
    /// When one is due next.
    pub(crate) due: Time,
}

impl Default for Canaries {
    fn default() -> Self {
        let buffers = Buffers::new(BUFFERS, 0);
        let all = Algorithm::ALL
            .into_iter()
            .filter_map(|algorithm| pair(&buffers, algorithm))
            .flatten()
            .collect();
        Self {
            buffers,
            all,
            due: Time::NEVER,
        }
    }
}

fn filled(buffers: &Buffers, bytes: &[u8]) -> Option<SharedBuf> {
    let mut buf = buffers.get(bytes.len())?;
    buf.append(bytes);
    Some(buf.share())
}

/// The canaries of an algorithm: one to seal, and one to open.
fn pair(buffers: &Buffers, algorithm: Algorithm) -> Option<[Canary; 2]> {
    let secret: Vec<u8> = (0..algorithm.key_len())
        .map(|i| (i * 29 + 5) as u8)
        .collect();
    let key = AeadKey::new(algorithm, &secret).ok()?;
    let plain: Vec<u8> = (0..BYTES).map(|i| (i * 13 + 7) as u8).collect();
    let seal = sealing(filled(buffers, &plain)?, PACKETS, &[0x2d; 8], 1);
    let mut sealed = work(&key, Direction::Seal, &seal).0;
    let want = sealed.clone();
    sealed[FORGED * (BYTES + ICV_LEN) + BYTES / 2] ^= 0x40;
    let open = opening(filled(buffers, &sealed)?, &seal, BYTES);
    let (opened, bad_icv) = work(&key, Direction::Open, &open);
    let canary = |direction, input: JobInput, want, bad_icv| {
        Some(Canary {
            algorithm,
            direction,
            key: Arc::clone(&key),
            shape: input.measure(direction).ok()?,
            input: Arc::new(input),
            want,
            bad_icv,
        })
    };
    Some([
        canary(Direction::Seal, seal, want, 0)?,
        canary(Direction::Open, open, opened, bad_icv)?,
    ])
}

fn work(key: &AeadKey, direction: Direction, input: &JobInput) -> (Vec<u8>, u64) {
    let len = input.ops.iter().map(|op| op.out_len(direction)).sum();
    let (mut out, mut bad_icv) = (vec![0; len], 0);
    for (index, op) in input.ops.iter().enumerate() {
        let part = &mut out[op.dst as usize..][..op.out_len(direction)];
        if software::work_op(key, direction, input, op, part) == software::Outcome::BadIcv {
            bad_icv |= 1 << index;
        }
    }
    (out, bad_icv)
}

impl Canary {
    /// What is wrong with an engine's answer. The output of the forged packet is no answer.
    fn wrong(&self, job: &Job) -> Option<Evidence> {
        let verdicts = job.bad_icv ^ self.bad_icv;
        self.input.ops.iter().enumerate().find_map(|(index, op)| {
            let operation = index as u32;
            if verdicts & (1 << index) != 0 {
                return Some(Evidence {
                    operation,
                    byte: None,
                });
            }
            if self.bad_icv & (1 << index) != 0 {
                return None;
            }
            let range = op.dst as usize..op.dst as usize + op.out_len(self.direction);
            let (got, want) = (job.dst.data().get(range.clone())?, &self.want[range]);
            let at = got.iter().zip(want).position(|(got, want)| got != want)?;
            Some(Evidence {
                operation,
                byte: Some(at as u32),
            })
        })
    }

    fn job(&self, ticket: u64, dst: Buf) -> Job {
        Job {
            ticket,
            key: Arc::clone(&self.key),
            direction: self.direction,
            input: Arc::clone(&self.input),
            dst,
            attempt: 0,
            bad_icv: 0,
            failed: 0,
        }
    }
}

impl Pool {
    /// Asks every engine whose turn has come. One that does its jobs at once, on the worker, is the
    /// measure itself and cannot hang.
    pub(super) fn send_canaries(&mut self, now: Time) {
        if now < self.canaries.due {
            return;
        }
        let mut next = Time::NEVER;
        for at in 0..self.seats.len() {
            let seat = &self.seats[at];
            if seat.is_synchronous() || !seat.health().usable() {
                continue;
            }
            let due = match seat.canary_at {
                // It was verified just now. Engines take their turns one after the other.
                None => now + Time(EVERY.0 + EVERY.0 / 16 * (u64::from(seat.id.0) % 16)),
                Some(due) if due > now => due,
                Some(_) => now + self.send_canary(now, at),
            };
            self.seats[at].canary_at = Some(due);
            next = next.min(due);
        }
        self.canaries.due = next;
    }

    /// Gives one engine its next canary; answers when the one after it is due.
    fn send_canary(&mut self, now: Time, at: usize) -> Time {
        let seat = &mut self.seats[at];
        let known = seat.rates.iter().count().max(1);
        let turn = seat.canary_turn % known;
        let Some((algorithm, direction, rate)) = seat.rates.iter().nth(turn) else {
            return EVERY;
        };
        let find = |canary: &Canary| (canary.algorithm, canary.direction) == (algorithm, direction);
        let Some(number) = self.canaries.all.iter().position(find) else {
            seat.canary_turn += 1;
            return EVERY;
        };
        let canary = &self.canaries.all[number];
        let canary_key = canary.key.id();
        let key_ns = if self.keys.holders(canary_key).has(at) {
            0
        } else {
            rate.key_ns as u64
        };
        let service_ns = rate.service_ns(canary.shape.packets, canary.shape.bytes) + key_ns;
        let every = Time(EVERY.0.max(service_ns.saturating_mul(SHARE)));
        let memory = memory(&canary.input, canary.shape.dst_len);
        let mut hot = self.board.at_mut(at);
        let backlog_ns = hot.backlog_ns(now);
        if !hot.has_room(backlog_ns, memory) {
            return every;
        }
        let Some(mut dst) = self.canaries.buffers.get(canary.shape.dst_len) else {
            return every;
        };
        dst.set_len(canary.shape.dst_len);
        // What the last one left there is no answer.
        dst.data_mut().fill(0);
        let origin = Origin {
            shape: canary.shape,
            memory,
            accepted: now,
            ..Origin::default()
        };
        let mut flight = Flight::waiting(
            &canary.key,
            direction,
            &canary.input,
            origin,
            Task::Canary(number),
        );
        flight.attempts = 1;
        let expected_ns = backlog_ns + service_ns + rate.latency_ns as u64;
        let choice = Choice {
            seat: at,
            class: Class::Application,
            service_ns,
            expected_ns,
        };
        let ticket = self.flights.insert(flight);
        if seat.engine.submit(now, canary.job(ticket, dst)).is_err() {
            self.flights.remove(ticket);
            return every;
        }
        seat.canary_turn += 1;
        seat.begin(now, &mut hot, ticket, 0, memory, &choice);
        self.keys.used(at, canary_key);
        self.busy.insert(at);
        every
    }

    /// An engine has answered a canary.
    pub(super) fn answered(&mut self, at: usize, number: usize, job: &Job) {
        self.flights.remove(job.ticket);
        self.seats[at].counters.canaries += 1;
        if job.failed != 0 {
            self.failed(at, job);
            return;
        }
        let wrong = self
            .canaries
            .all
            .get(number)
            .and_then(|canary| canary.wrong(job));
        if let Some(evidence) = wrong {
            self.convict(at, job.ticket, evidence, Found::Canary, None);
        }
    }
}
