//! One job at a time through an engine, outside the pool.

use std::sync::Arc;

use esprit_packet::{Pool as Buffers, SharedBuf, Time};

use crate::engine::Engine;
use crate::engines::software;
use crate::job::{Job, JobInput, MAX_OPS, Op};
use crate::key::{AeadKey, Direction, NONCE_LEN};

/// A job of some microseconds that is not back after a second will not come back.
const LIMIT: Time = Time(1_000_000_000);

/// Turns of waiting at most, for a clock that stands still.
const TURNS: u32 = 10_000_000;

/// A job is looked at again after this part of what it has taken: so it seems to take that much longer
/// at most, 0.8 %, and one that does not come back in a second is looked at 128 ln(10^9 / 10^3) =
/// 1,800 times from its first microsecond on, not without end.
const GLANCE: u64 = 128;

/// Large buffers: for the largest burst, of 64 lanes, and what it is opened from.
const BURST_BUFFERS: usize = 64 * 4 + 8;

pub(crate) struct Runner<'a> {
    engine: Box<dyn Engine>,
    clock: &'a dyn Fn() -> Time,
    idle: &'a dyn Fn(Time),
    buffers: Buffers,
    back: Vec<Job>,
    ticket: u64,
    /// It left a job undone: there is no sense in asking it more.
    silent: bool,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(
        engine: Box<dyn Engine>,
        clock: &'a dyn Fn() -> Time,
        idle: &'a dyn Fn(Time),
    ) -> Self {
        Self {
            engine,
            clock,
            idle,
            buffers: Buffers::new(64, BURST_BUFFERS),
            back: Vec::new(),
            silent: false,
            // Apart from the pool's, whose jobs may still be inside after a reset.
            ticket: u64::MAX / 2,
        }
    }

    /// Whether it left a job undone.
    pub(crate) const fn is_silent(&self) -> bool {
        self.silent
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    pub(crate) fn into_engine(self) -> Box<dyn Engine> {
        self.engine
    }

    pub(crate) fn now(&self) -> Time {
        (self.clock)()
    }

    /// `data` in a buffer that can be shared.
    pub(crate) fn share(&self, data: &[u8]) -> Result<SharedBuf, String> {
        let mut buf = self
            .buffers
            .get(data.len())
            .ok_or("no buffer for the test")?;
        buf.append(data);
        Ok(buf.share())
    }

    /// Has the engine do one job; answers it, and the time from giving it to having it back.
    pub(crate) fn run(
        &mut self,
        key: &Arc<AeadKey>,
        direction: Direction,
        input: &Arc<JobInput>,
    ) -> Result<(Job, u64), String> {
        let (mut jobs, ns) = self.run_many(key, direction, input, 1)?;
        let job = jobs.pop().ok_or("it gave nothing back")?;
        Ok((job, ns))
    }

    /// Has the engine do the same job `count` times at once, or as often as it takes it;
    /// answers the jobs, and the time from giving the first to having the last back.
    pub(crate) fn run_many(
        &mut self,
        key: &Arc<AeadKey>,
        direction: Direction,
        input: &Arc<JobInput>,
        count: usize,
    ) -> Result<(Vec<Job>, u64), String> {
        let shape = input.measure(direction).map_err(|bad| bad.to_string())?;
        let mut jobs = Vec::with_capacity(count);
        for _ in 0..count {
            let mut dst = self
                .buffers
                .get(shape.dst_len)
                .ok_or("no buffer for the test")?;
            dst.set_len(shape.dst_len);
            // Dirty, so that a byte that the engine does not write is seen.
            dst.data_mut().fill(0xa5);
            self.ticket += 1;
            jobs.push(Job {
                ticket: self.ticket,
                key: Arc::clone(key),
                direction,
                input: Arc::clone(input),
                dst,
                attempt: 0,
                bad_icv: 0,
                failed: 0,
            });
        }
        let first = self.ticket + 1 - count as u64;
        let start = self.now();
        let mut given = 0;
        for job in jobs {
            if self.engine.submit(start, job).is_err() {
                break;
            }
            given += 1;
        }
        if given == 0 {
            return Err("it took no job though it had none".to_owned());
        }
        let mut done = Vec::with_capacity(given);
        for _ in 0..TURNS {
            let now = self.now();
            self.engine.poll(now, &mut self.back);
            let ours = self.back.drain(..).filter(|job| job.ticket >= first);
            done.extend(ours);
            if done.len() == given {
                return Ok((done, self.now().since(start).0));
            }
            if now.since(start) > LIMIT {
                break;
            }
            (self.idle)(Time(now.since(start).0 / GLANCE));
        }
        self.silent = true;
        Err(format!(
            "of {given} jobs of {} packets, {} were back after {} ms",
            shape.packets,
            done.len(),
            self.now().since(start).0 / 1_000_000
        ))
    }
}

/// What the worker makes of `input`; bytes between outputs are zeroes.
pub(crate) fn worked(key: &AeadKey, direction: Direction, input: &JobInput) -> Vec<u8> {
    let end = |op: &Op| op.dst as usize + op.out_len(direction);
    let mut out = vec![0; input.ops.last().map_or(0, end)];
    for op in &input.ops {
        let part = &mut out[op.dst as usize..][..op.out_len(direction)];
        software::work_op(key, direction, input, op, part);
    }
    out
}

/// A job's input of `ops` equal packets to seal, out of one frame.
pub(crate) fn sealing(frame: SharedBuf, ops: usize, aad: &[u8], first: u64) -> JobInput {
    let len = frame.len() as u32;
    let op = |index: usize| Op {
        nonce: nonce(first + index as u64),
        aad: padded(aad),
        aad_len: aad.len() as u8,
        body: (0, len),
        dst: index as u32 * (len + 16),
        ..Op::default()
    };
    JobInput {
        frames: smallvec::smallvec![frame],
        headers: Vec::new(),
        ops: (0..ops.min(MAX_OPS)).map(op).collect(),
    }
}

/// The input that opens what `sealed` holds, packets of `each` bytes with their ICVs.
pub(crate) fn opening(sealed: SharedBuf, of: &JobInput, each: usize) -> JobInput {
    let op = |(index, op): (usize, &Op)| {
        let start = (index * (each + 16)) as u32;
        Op {
            body: (start, start + each as u32 + 16),
            dst: (index * each) as u32,
            ..*op
        }
    };
    JobInput {
        frames: smallvec::smallvec![sealed],
        headers: Vec::new(),
        ops: of.ops.iter().enumerate().map(op).collect(),
    }
}

pub(crate) fn nonce(number: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce
}

pub(crate) fn padded(aad: &[u8]) -> [u8; 12] {
    let mut all = [0; 12];
    all[..aad.len()].copy_from_slice(aad);
    all
}
