//! What the tests of this crate share: jobs with known results, engines that obey a script,
//! and a clock that a test turns.
#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use esprit_crypto::engines::asic::AsicStepped;
use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::engines::software;
use esprit_crypto::{
    AeadKey, Algorithm, Capabilities, Direction, Done, Engine, EngineId, Fault, Grant, Grants, Job,
    JobInput, Op, Pool, PoolEvent, Request, Verified, Wake, verify,
};
use esprit_packet::{Pool as Buffers, Time};

pub const TEAM: u32 = 3;

/// What stands for the engine of a job that has none yet.
pub const WAITING: EngineId = EngineId(u32::MAX);

pub struct Silent;

impl Wake for Silent {
    fn wake(&self) {}
}

/// A pool with its buffers, and the time in it.
pub struct Lab {
    pub pool: Pool,
    pub buffers: Buffers,
    pub now: Time,
    pub done: Vec<Done>,
    pub events: Vec<PoolEvent>,
}

impl Lab {
    pub fn new() -> Self {
        Self {
            pool: Pool::new(Arc::new(Silent)),
            buffers: Buffers::new(4096, 768),
            now: Time::from_millis(1),
            done: Vec::new(),
            events: Vec::new(),
        }
    }

    /// With simulated devices 1, 2, …, all in one secondary tier.
    pub fn with_devices(specs: &[AsicSpec]) -> Self {
        let mut lab = Self::new();
        for (number, spec) in (1..).zip(specs) {
            lab.pool.admit(EngineId(number), device(spec));
        }
        let engines = (1..=specs.len() as u32).map(secondary).collect();
        lab.grant(engines);
        lab
    }

    /// With engine 1, which does what the script says. It has no grant yet.
    pub fn scripted() -> (Self, Arc<Mutex<Script>>) {
        let script = Arc::new(Mutex::new(Script::default()));
        let mut lab = Self::new();
        let engine = Scripted::new(&script);
        lab.pool.admit(EngineId(1), admitted(engine));
        (lab, script)
    }

    pub fn grant(&mut self, engines: Vec<Grant>) {
        let spill_ns = [20_000_000; 3];
        self.pool.set_grants(
            TEAM,
            Grants {
                engines,
                spill_ns,
                verify_every: 0,
            },
        );
    }

    pub fn submit(&mut self, task: &Task) -> Result<(u64, EngineId), esprit_crypto::Reject> {
        self.submit_for(task, None)
    }

    pub fn submit_for(
        &mut self,
        task: &Task,
        member: Option<u32>,
    ) -> Result<(u64, EngineId), esprit_crypto::Reject> {
        let request = Request {
            team: TEAM,
            key: task.key.clone(),
            direction: task.direction,
            input: task.input.clone(),
            member,
            flow: 0,
            weight: 1,
        };
        self.pool
            .submit(self.now, &self.buffers, request)
            .map(|(ticket, engine)| (ticket, engine.unwrap_or(WAITING)))
            .map_err(|(_, reject)| reject)
    }

    pub fn poll(&mut self) {
        self.pool
            .poll(self.now, &self.buffers, &mut self.done, &mut self.events);
    }

    /// Polls at every time that the pool asks for, until `until`.
    pub fn run_until(&mut self, until: Time) {
        for _ in 0..100_000 {
            self.poll();
            match self.pool.timeout() {
                Some(at) if at <= until => self.now = self.now.max(at),
                Some(_) | None => {
                    self.now = until;
                    self.poll();
                    return;
                }
            }
        }
        panic!("the pool asks to be polled for ever");
    }

    pub fn run_for_ms(&mut self, ms: u64) {
        self.run_until(self.now + Time::from_millis(ms));
    }

    /// The one end that a ticket has had.
    pub fn end_of(&self, ticket: u64) -> &Done {
        let mut ends = self.done.iter().filter(|done| ticket_of(done) == ticket);
        let end = ends.next().expect("the job has not ended");
        assert!(ends.next().is_none(), "the job has ended twice");
        end
    }

    pub fn snapshot(&self, engine: u32) -> esprit_crypto::EngineSnapshot {
        self.pool
            .snapshot(self.now)
            .into_iter()
            .find(|snapshot| snapshot.engine == engine)
            .expect("no such engine")
    }
}

pub fn ticket_of(done: &Done) -> u64 {
    match done {
        Done::Complete { ticket, .. } | Done::Lost { ticket, .. } => *ticket,
    }
}

/// An entry that allows secondary use in tier 0.
pub fn secondary(engine: u32) -> Grant {
    Grant {
        seal: true,
        open: true,
        secondary: Some(0),
        ..Grant::none(engine)
    }
}

/// Has an engine pass its tests in virtual time: a microsecond for each look.
pub fn admitted(engine: Box<dyn Engine>) -> Verified {
    let now = Cell::new(0);
    let idle = |_| now.set(now.get() + 1000);
    verify(engine, &|| Time(now.get()), &idle).expect("the engine was refused")
}

pub fn device(spec: &AsicSpec) -> Verified {
    admitted(Box::new(AsicStepped::new(spec).expect("no such device")))
}

/// 1 Gbit/s and 10 µs, so that a job of a packet takes some 20 µs.
pub fn slow() -> AsicSpec {
    AsicSpec {
        rate_bps: 1_000_000_000,
        ns_per_packet: 100,
        latency_ns: 10_000,
        ..AsicSpec::default()
    }
}

/// A job and what has to come of it.
#[derive(Clone)]
pub struct Task {
    pub key: Arc<AeadKey>,
    pub direction: Direction,
    pub input: Arc<JobInput>,
    pub want: Vec<u8>,
    pub bad_icv: u64,
}

pub fn key(byte: u8) -> Arc<AeadKey> {
    AeadKey::new(Algorithm::Aes128Gcm16, &[byte; 16]).expect("no key")
}

/// Seals packets of `lens` bytes, with headers and trailers, under nonces from `first` on.
pub fn sealing(key: &Arc<AeadKey>, buffers: &Buffers, first: u64, lens: &[usize]) -> Task {
    let total: usize = lens.iter().sum();
    let mut frame = buffers.get(total).expect("no buffer");
    frame.set_len(total);
    for (index, byte) in frame.data_mut().iter_mut().enumerate() {
        *byte = (first as usize * 31 + index * 7) as u8;
    }
    let mut input = JobInput {
        headers: (0..40).collect(),
        ..JobInput::default()
    };
    let (mut at, mut dst) = (0, 0);
    for (number, &len) in (first..).zip(lens) {
        let op = Op {
            nonce: nonce(number),
            aad: [number as u8; 12],
            aad_len: 8,
            prefix: (0, 16),
            head: (16, 36),
            tail: (36, 40),
            body: (at, at + len as u32),
            dst,
            ..Op::default()
        };
        at += len as u32;
        dst += op.out_len(Direction::Seal) as u32;
        input.ops.push(op);
    }
    input.frames.push(frame.share());
    task(key, Direction::Seal, input)
}

/// Opens what `sealing` would have sealed from `len` bytes, with the packets in `forged` spoilt.
pub fn opening(
    key: &Arc<AeadKey>,
    buffers: &Buffers,
    first: u64,
    lens: &[usize],
    forged: u64,
) -> Task {
    let sealed = sealing(key, buffers, first, lens);
    let mut frame = buffers.get(sealed.want.len()).expect("no buffer");
    frame.append(&sealed.want);
    let mut input = JobInput::default();
    let mut dst = 0;
    for (index, op) in sealed.input.ops.iter().enumerate() {
        let end = op.dst as usize + op.out_len(Direction::Seal);
        if forged & (1 << index) != 0 {
            frame.data_mut()[end - 1] ^= 1;
        }
        let op = Op {
            prefix: (0, 0),
            head: (0, 0),
            tail: (0, 0),
            body: (op.dst + 16, end as u32),
            dst,
            ..*op
        };
        dst += op.out_len(Direction::Open) as u32;
        input.ops.push(op);
    }
    input.frames.push(frame.share());
    task(key, Direction::Open, input)
}

fn task(key: &Arc<AeadKey>, direction: Direction, input: JobInput) -> Task {
    let shape = input.measure(direction).expect("a test's own mistake");
    let mut want = vec![0; shape.dst_len];
    let mut bad_icv = 0;
    for (index, op) in input.ops.iter().enumerate() {
        let out = &mut want[op.dst as usize..][..op.out_len(direction)];
        if software::work_op(key, direction, &input, op, out) == software::Outcome::BadIcv {
            bad_icv |= 1 << index;
        }
    }
    Task {
        key: key.clone(),
        direction,
        input: Arc::new(input),
        want,
        bad_icv,
    }
}

fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [9; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce
}

/// That a job was done, and rightly.
pub fn assert_done(done: &Done, task: &Task) {
    match done {
        Done::Complete { dst, bad_icv, .. } => {
            assert_eq!(*bad_icv, task.bad_icv, "verdicts");
            assert_eq!(dst.data(), &task.want[..], "output");
        }
        Done::Lost { ticket, reason, .. } => panic!("{ticket} was lost: {reason:?}"),
    }
}

/// What a scripted engine does with a job once its tests are behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Reports these operations as failed.
    pub fail: u64,
    /// Reports these as having a wrong ICV.
    pub accuse: u64,
    /// Takes nothing.
    pub refuse: bool,
    /// Keeps what it has.
    pub hold: bool,
    /// Says that its thread has had no processor.
    pub starved: bool,
}

/// An engine that does right until its script says otherwise. It gives jobs back at the next
/// poll.
pub struct Scripted {
    capabilities: Capabilities,
    script: Arc<Mutex<Script>>,
    jobs: Vec<Job>,
}

impl Scripted {
    pub fn new(script: &Arc<Mutex<Script>>) -> Box<Self> {
        let spec = AsicSpec::default();
        Box::new(Self {
            capabilities: spec.capabilities().expect("a test's own mistake"),
            script: script.clone(),
            jobs: Vec::new(),
        })
    }
}

impl Engine for Scripted {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, _now: Time, job: Job) -> Result<(), Job> {
        if self.script.lock().expect("poisoned").refuse {
            return Err(job);
        }
        self.jobs.push(job);
        Ok(())
    }

    fn poll(&mut self, _now: Time, out: &mut Vec<Job>) {
        let script = *self.script.lock().expect("poisoned");
        if script.hold {
            return;
        }
        for mut job in self.jobs.drain(..) {
            software::work(&mut job);
            job.failed = script.fail & job.all();
            job.bad_icv |= script.accuse & job.all();
            out.push(job);
        }
    }

    fn reset(&mut self, _now: Time) {
        self.jobs.clear();
    }

    fn inject(&mut self, _fault: Fault) -> bool {
        false
    }

    fn starved(&mut self) -> bool {
        self.script.lock().expect("poisoned").starved
    }
}
