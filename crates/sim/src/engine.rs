//! Engines in virtual time: the shipped stepped device, watched as a bus analyser would.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use esprit_crypto::engines::asic::AsicStepped;
use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::{
    Algorithm, Capabilities, Direction, Engine, Fault, Job, Kind, Verified, verify,
};
use esprit_packet::Time;
use serde::{Deserialize, Serialize};

use crate::checks::{Rule, Sabotage, Trap, Verdict};
use crate::random::digest;

/// The host's processor, as an engine whose time passes virtually.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct CpuSpec {
    /// Threads that share its work.
    pub threads: u32,
    /// Bits per second of one thread.
    pub rate_bps: u64,
    /// Nanoseconds for each packet, of one thread.
    pub ns_per_packet: u64,
}

impl Default for CpuSpec {
    /// About aws-lc's AES-GCM on one core of a server of today.
    fn default() -> Self {
        Self {
            threads: 1,
            rate_bps: 20_000_000_000,
            ns_per_packet: 120,
        }
    }
}

/// What kind of engine.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EngineModel {
    /// A simulated NIC encryption processor.
    Asic(AsicSpec),
    /// The host's processor.
    Cpu(CpuSpec),
}

/// Nanoseconds from a thread's work to its worker's waking.
const CPU_LATENCY: u64 = 2_000;

impl EngineModel {
    fn device(&self) -> AsicSpec {
        match self {
            Self::Asic(spec) => spec.clone(),
            Self::Cpu(cpu) => {
                let threads = cpu.threads.max(1);
                AsicSpec {
                    rate_bps: cpu.rate_bps.saturating_mul(threads.into()),
                    ns_per_packet: cpu.ns_per_packet / u64::from(threads),
                    latency_ns: CPU_LATENCY,
                    memory_bytes: u64::MAX / 2,
                    sa_slots: u32::MAX,
                    key_install_ns: 0,
                    algorithms: Algorithm::ALL.to_vec(),
                    ..AsicSpec::default()
                }
            }
        }
    }
}

/// A job's stay in an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct JobRow {
    /// Given to the engine, in nanoseconds.
    pub submitted: u64,
    /// Back from it; none: never.
    pub done: Option<u64>,
    /// The pool's name for the job.
    pub ticket: u64,
    /// How often it was given to an engine before.
    pub attempt: u8,
    /// The engine.
    pub engine: u32,
    /// The SA.
    pub sa: u32,
    /// `seal` or `open`.
    pub direction: Direction,
    /// Operations.
    pub packets: u32,
    /// Bytes encrypted or decrypted.
    pub bytes: u64,
    /// Nanoseconds that it was expected to take, by the rates that were measured and what the
    /// engine had.
    pub expected: u64,
}

/// Keys and nonces are not chosen by anybody who would make them collide, and nothing walks over
/// the table.
#[derive(Default)]
pub(crate) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        crate::random::mix(self.0)
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = digest(self.0, bytes);
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = self.0.rotate_left(31) ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type Table<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;

/// What one engine is known to have.
#[derive(Debug, Default)]
struct Bench {
    rates: esprit_crypto::Rates,
    jobs: u32,
    busy_until: u64,
}

/// What the analyser wrote down.
#[derive(Default)]
pub(crate) struct Journal {
    /// Engines are being tested: their jobs are nobody's.
    quiet: bool,
    nonces: Table<(u64, [u8; 12]), u64>,
    /// Of jobs that were done again: the digest of their output.
    redone: BTreeMap<u64, Option<u64>>,
    open: BTreeMap<(u32, u64, u8), usize>,
    benches: BTreeMap<u32, Bench>,
    pub(crate) sas: BTreeMap<u64, u32>,
    pub(crate) rows: Vec<JobRow>,
    /// Rows kept at most.
    pub(crate) keep: usize,
    /// Of completed first attempts: jobs, and expected and measured nanoseconds together.
    pub(crate) predicted: Predicted,
    pub(crate) verdict: Verdict,
    pub(crate) trap: Trap,
    first_nonce: Option<(u64, [u8; 12])>,
    /// Engines that were made to compute wrongly: what they give back is no measure.
    pub(crate) liars: BTreeSet<u32>,
}

/// How well completions were foretold.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Predicted {
    /// Completed jobs.
    pub jobs: u64,
    /// Sum of what they were expected to take.
    pub expected_ns: u64,
    /// Sum of what they took.
    pub measured_ns: u64,
    /// Sum of the differences, without sign.
    pub error_ns: u64,
}

pub(crate) type Shared = Arc<Mutex<Journal>>;

pub(crate) fn lock(journal: &Shared) -> MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    fn submitted(&mut self, now: Time, engine: u32, job: &Job) {
        let shape = job.input.measure(job.direction).unwrap_or_default();
        if job.direction == Direction::Seal {
            self.check_nonces(now, engine, job);
        }
        if job.attempt > 0 {
            self.redone.entry(job.ticket).or_insert(None);
        }
        let bench = self.benches.entry(engine).or_default();
        let rate = bench.rates.get(job.key.algorithm(), job.direction);
        let (service, latency) = rate.map_or((0, 0), |rate| {
            let service = rate.service_ns(shape.packets, shape.bytes);
            (service, rate.latency_ns as u64)
        });
        bench.jobs += 1;
        bench.busy_until = bench.busy_until.max(now.0) + service;
        let expected = bench.busy_until + latency - now.0;
        let row = JobRow {
            submitted: now.0,
            done: None,
            ticket: job.ticket,
            attempt: job.attempt,
            engine,
            sa: self.sas.get(&job.key.id()).copied().unwrap_or(0),
            direction: job.direction,
            packets: shape.packets,
            bytes: shape.bytes,
            expected,
        };
        if self.rows.len() < self.keep {
            self.open
                .insert((engine, job.ticket, job.attempt), self.rows.len());
            self.rows.push(row);
        }
    }

    fn check_nonces(&mut self, now: Time, engine: u32, job: &Job) {
        for op in &job.input.ops {
            let part = |range: (u32, u32)| &job.input.headers[range.0 as usize..range.1 as usize];
            let frame = job.input.frames[usize::from(op.frame)].data();
            let mut plain = digest(0, &op.aad[..usize::from(op.aad_len)]);
            for bytes in [
                part(op.head),
                &frame[op.body.0 as usize..op.body.1 as usize],
                part(op.tail),
            ] {
                plain = digest(plain, bytes);
            }
            let name = (job.key.id(), op.nonce);
            self.first_nonce.get_or_insert(name);
            let before = self.nonces.insert(name, plain);
            if before.is_some_and(|before| before != plain) {
                let sa = self.sas.get(&name.0).copied().unwrap_or(0);
                self.verdict.broken(
                    now,
                    Rule::Nonce,
                    format!(
                        "SA {sa}: engine {engine} was to seal another plaintext under a used nonce"
                    ),
                );
            }
        }
    }

    fn returned(&mut self, now: Time, engine: u32, job: &mut Job) {
        let known = self.redone.get(&job.ticket).copied();
        if known.is_some()
            && job.attempt > 0
            && self.trap.springs(Sabotage::Redone)
            && let Some(byte) = job.dst.data_mut().first_mut()
        {
            *byte ^= 1;
        }
        if let Some(before) = known
            && job.direction == Direction::Seal
            && job.failed == 0
            && !self.liars.contains(&engine)
        {
            let output = digest(0, job.dst.data());
            if before.is_some_and(|before| before != output) {
                self.verdict.broken(
                    now,
                    Rule::Redone,
                    format!("a job came back from engine {engine} with other bytes than before"),
                );
            }
            self.redone.insert(job.ticket, Some(output));
        }
        let name = (engine, job.ticket, job.attempt);
        if let Some(row) = self.open.remove(&name).and_then(|at| self.rows.get_mut(at)) {
            row.done = Some(now.0);
            let measured = now.0 - row.submitted;
            self.predicted.jobs += 1;
            self.predicted.expected_ns += row.expected;
            self.predicted.measured_ns += measured;
            self.predicted.error_ns += measured.abs_diff(row.expected);
        }
        if let Some(bench) = self.benches.get_mut(&engine) {
            bench.jobs = bench.jobs.saturating_sub(1);
            if bench.jobs == 0 {
                bench.busy_until = bench.busy_until.min(now.0);
            }
        }
    }
}

/// An engine with the analyser between it and the pool.
struct Watched {
    id: u32,
    inner: AsicStepped,
    capabilities: Capabilities,
    journal: Shared,
    /// It takes nothing more, and does not say so: a rule broken on purpose.
    stubborn: bool,
    /// When it has something next; `u64::MAX`: nothing. For the tests' clock.
    next: Arc<AtomicU64>,
}

impl Watched {
    fn tell_next(&self) {
        let next = self.inner.next().map_or(u64::MAX, |at| at.0);
        self.next.store(next, Ordering::Relaxed);
    }
}

impl Engine for Watched {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, now: Time, mut job: Job) -> Result<(), Job> {
        let mut journal = lock(&self.journal);
        if journal.quiet {
            drop(journal);
            let answer = self.inner.submit(now, job);
            self.tell_next();
            return answer;
        }
        if job.direction == Direction::Seal
            && let Some((key, nonce)) = journal.first_nonce
            && key == job.key.id()
            && journal.trap.springs(Sabotage::Nonce)
        {
            let input = &job.input;
            let mut ops = input.ops.clone();
            ops[0].nonce = nonce;
            job.input = Arc::new(esprit_crypto::JobInput {
                frames: input.frames.clone(),
                headers: input.headers.clone(),
                ops,
            });
        }
        self.stubborn |= journal.trap.springs(Sabotage::WorkConservation);
        if self.stubborn {
            return Err(job);
        }
        // A refused job was not given to anybody.
        let before = journal.rows.len();
        journal.submitted(now, self.id, &job);
        drop(journal);
        let name = (self.id, job.ticket, job.attempt);
        let answer = self.inner.submit(now, job);
        if answer.is_err() {
            let mut journal = lock(&self.journal);
            journal.open.remove(&name);
            journal.rows.truncate(before);
        }
        answer
    }

    fn poll(&mut self, now: Time, out: &mut Vec<Job>) {
        let from = out.len();
        self.inner.poll(now, out);
        self.tell_next();
        let mut journal = lock(&self.journal);
        if !journal.quiet {
            for job in &mut out[from..] {
                journal.returned(now, self.id, job);
            }
        }
    }

    fn reset(&mut self, now: Time) {
        self.inner.reset(now);
        self.tell_next();
    }

    fn inject(&mut self, fault: Fault) -> bool {
        self.inner.inject(fault)
    }

    fn next(&self) -> Option<Time> {
        self.inner.next()
    }
}

/// The test of an engine gives up on one that does nothing after so long at a time: 1 ms.
const IDLE: u64 = 1_000_000;

/// Makes an engine, and tests it in a virtual time of its own, from zero: what it measures is what
/// its model says.
pub(crate) fn make(
    id: u32,
    model: &EngineModel,
    faults: &[Fault],
    journal: &Shared,
) -> Result<Verified, String> {
    let device = AsicStepped::new(&model.device()).map_err(|error| error.to_string())?;
    let mut capabilities = device.capabilities().clone();
    if matches!(model, EngineModel::Cpu(_)) {
        capabilities.kind = Kind::Cpu;
        capabilities.host_cpu = true;
        capabilities.sa_slots = None;
        capabilities.memory_bytes = None;
    }
    let next = Arc::new(AtomicU64::new(u64::MAX));
    let mut engine = Watched {
        id,
        inner: device,
        capabilities,
        journal: Arc::clone(journal),
        stubborn: false,
        next: Arc::clone(&next),
    };
    // What is wrong with a device is wrong at its test, too.
    for &fault in faults {
        engine.inject(fault);
    }
    let time = Cell::new(0);
    let clock = || Time(time.get());
    let idle = |_| {
        let next = next.load(Ordering::Relaxed);
        time.set(if next == u64::MAX {
            time.get() + IDLE
        } else {
            next.max(time.get())
        });
    };
    lock(journal).quiet = true;
    let result = verify(Box::new(engine), &clock, &idle);
    let mut journal = lock(journal);
    journal.quiet = false;
    let verified = result.map_err(|refused| refused.evidence)?;
    journal.benches.insert(
        id,
        Bench {
            rates: *verified.rates(),
            ..Bench::default()
        },
    );
    Ok(verified)
}
