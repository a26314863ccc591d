//! The simulated device as a state machine: jobs in, real encryption, jobs out when the
//! model says so, and faults. No thread and no clock: [`asic`](crate::engines::asic) drives it
//! in real time and in virtual time.

use std::collections::VecDeque;

use esprit_packet::Time;

use crate::engine::Fault;
use crate::engines::asic_model::{AsicSpec, Model};
use crate::engines::software;
use crate::job::{Job, Shape};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Hung,
    Dead,
}

#[derive(Debug)]
struct Held<J> {
    ready: Time,
    worked: bool,
    /// It came while the queue did not move.
    stuck: bool,
    job: J,
}

/// What the device needs of a job: the job itself, or a job with what its driver knows of it.
pub trait AsJob {
    /// The job.
    fn job(&mut self) -> &mut Job;
}

impl AsJob for Job {
    fn job(&mut self) -> &mut Job {
        self
    }
}

impl AsJob for (u64, Job) {
    fn job(&mut self) -> &mut Job {
        &mut self.1
    }
}

/// The device.
#[derive(Debug)]
pub struct Device<J> {
    model: Model,
    state: State,
    /// The queue does not move.
    stuck: bool,
    coalesce_ns: u64,
    late_ns: u64,
    wrong_every: Option<u64>,
    operations: u64,
    seed: u64,
    /// In order of arrival, which is the order of their completion.
    jobs: VecDeque<Held<J>>,
    /// How many of them, from the front, have been encrypted.
    worked: usize,
}

impl<J: AsJob> Device<J> {
    /// An idle device.
    #[must_use]
    pub fn new(spec: &AsicSpec) -> Self {
        Self {
            model: Model::new(spec),
            state: State::Running,
            stuck: false,
            coalesce_ns: spec.coalesce_ns,
            late_ns: 0,
            wrong_every: None,
            operations: 0,
            seed: spec.seed,
            jobs: VecDeque::with_capacity(spec.queue_jobs as usize),
            worked: 0,
        }
    }

    /// Takes a job that arrives at `now`.
    pub fn accept(&mut self, now: Time, mut job: J) {
        let inner = job.job();
        let shape = inner
            .input
            .measure(inner.direction)
            .unwrap_or_else(|_| Shape::default());
        let timing = self
            .model
            .accept(now, inner.key.id(), shape.packets, shape.bytes);
        self.jobs.push_back(Held {
            ready: timing.ready + Time(self.late_ns),
            worked: false,
            stuck: self.stuck,
            job,
        });
    }

    /// Encrypts the next job that is not, if the device is alive. Answers whether there was one.
    pub fn work(&mut self) -> bool {
        if self.state != State::Running {
            return false;
        }
        let Some(held) = self.jobs.get_mut(self.worked).filter(|held| !held.stuck) else {
            return false;
        };
        let job = held.job.job();
        software::work(job);
        if let Some(every) = self.wrong_every {
            for index in 0..job.input.ops.len() {
                self.operations += 1;
                if self.operations.is_multiple_of(every) {
                    spoil(job, index, mix(self.seed ^ self.operations));
                }
            }
        }
        held.worked = true;
        self.worked += 1;
        true
    }

    /// When the next job is back; none while there is none, or it is not encrypted yet, or
    /// the device has stopped.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        match self.state {
            State::Running => self
                .jobs
                .front()
                .filter(|held| held.worked)
                .map(|held| held.ready),
            State::Hung | State::Dead => None,
        }
    }

    /// The next job that is back at `now`.
    pub fn take(&mut self, now: Time) -> Option<J> {
        if self.next().is_none_or(|ready| ready > now) {
            return None;
        }
        self.worked -= 1;
        self.jobs.pop_front().map(|held| held.job)
    }

    /// Makes it fail, or heals it.
    pub fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::Die => self.state = State::Dead,
            Fault::Hang => {
                if self.state == State::Running {
                    self.state = State::Hung;
                }
            }
            Fault::Wrong { every } => self.wrong_every = Some(u64::from(every.max(1))),
            Fault::Late { by } => self.late_ns = by,
            Fault::Sag { percent } => self.model.sag(percent),
            Fault::Stick => self.stuck = true,
            Fault::Coalesce { ns } => self.model.coalesce(ns),
            Fault::Heal => {
                self.late_ns = 0;
                self.wrong_every = None;
                self.model.sag(100);
                self.model.coalesce(self.coalesce_ns);
                self.unstick();
                if self.state == State::Hung {
                    self.state = State::Running;
                }
            }
        }
    }

    /// What was stuck is overdue and comes back at once.
    fn unstick(&mut self) {
        self.stuck = false;
        for held in &mut self.jobs {
            held.stuck = false;
        }
    }

    /// Running, idle, without keys. A device that computes wrongly or is slow stays so.
    pub fn reset(&mut self) {
        self.jobs.clear();
        self.worked = 0;
        self.model.reset();
        self.state = State::Running;
        self.stuck = false;
    }
}

/// Makes one operation's result wrong: a bit of the output, or, in every other opened packet,
/// the verdict.
fn spoil(job: &mut Job, index: usize, random: u64) {
    let op = &job.input.ops[index];
    let len = op.out_len(job.direction);
    let verdict = job.direction == crate::key::Direction::Open && random.is_multiple_of(2);
    if verdict || len == 0 {
        job.bad_icv ^= 1 << index;
        return;
    }
    let bit = (random >> 1) as usize % (len * 8);
    job.dst.data_mut()[op.dst as usize + bit / 8] ^= 1 << (bit % 8);
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators, 2014): every bit of the input moves half of the output's.
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
