//! The *simulated* NIC encryption processor as an engine: in real time on a thread of its own,
//! or in virtual time, stepped by whoever polls it. Both drive one [`Device`].

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use esprit_packet::Time;
use thiserror::Error;

use crate::engine::{Capabilities, Engine, Fault, Wake};
use crate::engines::asic_device::Device;
use crate::engines::asic_model::{AsicSpec, SpecError};
use crate::engines::returns::{Giver, Stamped, Taker, returns};
use crate::job::Job;
use crate::priority::come_first;

/// Commands besides jobs that fit the device's queue: faults and resets come one by one from
/// an operator, and the thread takes them at once.
const COMMANDS: usize = 64;

/// Why there is no device.
#[derive(Debug, Error)]
pub enum AsicError {
    /// It could not exist.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The system starts no thread.
    #[error("no thread for the simulated device: {0}")]
    Thread(#[from] io::Error),
}

enum Command {
    Job(Time, Stamped),
    Fault(Fault),
    /// What is inside is lost.
    Reset,
    /// To be answered once all that is due was given back: the thread has run.
    Ask(u64),
}

/// The device on a thread of its own: it encrypts while the model lets time pass, sleeps
/// until the next completion, and wakes the worker once for all that are due.
pub struct Asic {
    capabilities: Capabilities,
    /// Dropping it ends the thread.
    commands: Sender<Command>,
    back: Taker,
    origin: Instant,
    memory: u64,
    /// The question that is open, whether its answer was seen, how many there were, and the last
    /// that was answered.
    asked: Option<u64>,
    settled: bool,
    questions: u64,
    answered: Arc<AtomicU64>,
}

impl Asic {
    /// Starts a device. Completions wake the worker by `wake`.
    ///
    /// # Errors
    /// A specification under which no job would be done, or no thread.
    pub fn new(spec: &AsicSpec, wake: Arc<dyn Wake>) -> Result<Self, AsicError> {
        let capabilities = spec.capabilities()?;
        let (commands, inbox) = bounded(spec.queue_jobs as usize + COMMANDS);
        let (giver, back) = returns(spec.queue_jobs, wake);
        let origin = Instant::now();
        let answered = Arc::new(AtomicU64::new(0));
        let driver = Driver {
            device: Device::new(spec),
            inbox,
            giver,
            origin,
            question: None,
            answered: Arc::clone(&answered),
        };
        thread::Builder::new()
            .name("esprit-asic".to_owned())
            .spawn(move || {
                // What it stands for would not ask the host for a processor at all.
                come_first();
                driver.run();
            })?;
        Ok(Self {
            capabilities,
            commands,
            back,
            origin,
            memory: 0,
            asked: None,
            settled: false,
            questions: 0,
            answered,
        })
    }

    /// The device's own clock. It stamps arrivals, so that a thread that the scheduler starts
    /// late does not make the device slower.
    fn clock(&self) -> Time {
        since(self.origin)
    }
}

fn since(origin: Instant) -> Time {
    Time(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// What the device's thread has.
struct Driver {
    device: Device<Stamped>,
    inbox: Receiver<Command>,
    giver: Giver,
    origin: Instant,
    question: Option<u64>,
    answered: Arc<AtomicU64>,
}

impl Driver {
    /// The thread's life: it ends when the engine is dropped.
    fn run(mut self) {
        // The scheduler adds 50 µs to every sleep by default, more than the device's latency.
        // Where the call is refused, completions are late by that.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        while let Some(command) = self.next_command() {
            match command {
                Command::Job(arrival, job) => self.device.accept(arrival, job),
                Command::Fault(fault) => self.device.inject(fault),
                Command::Reset => self.device.reset(),
                Command::Ask(question) => self.question = Some(question),
            }
        }
    }

    /// The next command; until it comes, the device's work. None when there will be none.
    fn next_command(&mut self) -> Option<Command> {
        loop {
            match self.inbox.try_recv() {
                Ok(command) => return Some(command),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            let mut given = false;
            while let Some(job) = self.device.take(since(self.origin)) {
                if !self.giver.give(job) {
                    return None;
                }
                given = true;
            }
            if given {
                self.giver.wake();
            }
            if self.device.work() {
                continue;
            }
            let Some(ready) = self.device.next() else {
                self.answer();
                return self.inbox.recv().ok();
            };
            let deadline = self.origin + Duration::from_nanos(ready.0);
            if deadline > Instant::now() {
                self.answer();
                match self.inbox.recv_deadline(deadline) {
                    Ok(command) => return Some(command),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        }
    }

    fn answer(&mut self) {
        if let Some(question) = self.question.take() {
            // Release: the jobs given back before it are seen by whoever reads the answer.
            self.answered.store(question, Ordering::Release);
        }
    }
}

impl Engine for Asic {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, _now: Time, job: Job) -> Result<(), Job> {
        let memory = self.memory + job.memory();
        let limit = self.capabilities.memory_bytes.unwrap_or(u64::MAX);
        // The queue's own length counts too: jobs from before a reset may still lie there, and
        // the places for commands stay free.
        let queued = self.commands.len() >= self.capabilities.queue_jobs as usize;
        if memory > limit || queued || !self.back.has_room() {
            return Err(job);
        }
        let stamp = self.back.depart();
        match self
            .commands
            .try_send(Command::Job(self.clock(), (stamp, job)))
        {
            Ok(()) => {
                self.memory = memory;
                Ok(())
            }
            Err(TrySendError::Full(command) | TrySendError::Disconnected(command)) => {
                self.back.lost();
                match command {
                    Command::Job(_, (_, job)) => Err(job),
                    Command::Fault(_) | Command::Reset | Command::Ask(_) => {
                        unreachable!("a job was sent")
                    }
                }
            }
        }
    }

    fn poll(&mut self, _now: Time, out: &mut Vec<Job>) {
        let from = out.len();
        self.back.take(out);
        if out.len() > from {
            // An answer from before says nothing of the job that is overdue next.
            self.asked = None;
            self.settled = false;
        }
        for job in &out[from..] {
            self.memory = self.memory.saturating_sub(job.memory());
        }
    }

    fn reset(&mut self, _now: Time) {
        self.back.forget();
        self.memory = 0;
        // Were its queue full of commands, the thread would still be at them, the reset that
        // revives it among them.
        let _ = self.commands.try_send(Command::Reset);
    }

    fn inject(&mut self, fault: Fault) -> bool {
        self.commands.try_send(Command::Fault(fault)).is_ok()
    }

    fn starved(&mut self) -> bool {
        match self.asked {
            Some(question) if self.answered.load(Ordering::Acquire) >= question => {
                // What was given back just before the answer is taken first: the verdict is at
                // the next look.
                let again = !self.settled;
                self.settled = again;
                if !again {
                    self.asked = None;
                }
                again
            }
            Some(_) => true,
            None => {
                self.questions += 1;
                let question = self.questions;
                let sent = self.commands.try_send(Command::Ask(question)).is_ok();
                self.asked = sent.then_some(question);
                // A queue that is full of commands is one that nobody reads.
                true
            }
        }
    }
}

/// The device in virtual time: whoever polls it at [`Engine::next`] sees the same jobs come
/// back at the same times in every run.
#[derive(Debug)]
pub struct AsicStepped {
    capabilities: Capabilities,
    device: Device<Job>,
    jobs: u32,
    memory: u64,
}

impl AsicStepped {
    /// A device that lives by the times it is given.
    ///
    /// # Errors
    /// A specification under which no job would be done.
    pub fn new(spec: &AsicSpec) -> Result<Self, SpecError> {
        Ok(Self {
            capabilities: spec.capabilities()?,
            device: Device::new(spec),
            jobs: 0,
            memory: 0,
        })
    }
}

impl Engine for AsicStepped {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, now: Time, job: Job) -> Result<(), Job> {
        let memory = self.memory + job.memory();
        let limit = self.capabilities.memory_bytes.unwrap_or(u64::MAX);
        if memory > limit || self.jobs >= self.capabilities.queue_jobs {
            return Err(job);
        }
        self.memory = memory;
        self.jobs += 1;
        self.device.accept(now, job);
        // Real work takes no virtual time; a device that has stopped does none.
        while self.device.work() {}
        Ok(())
    }

    fn poll(&mut self, now: Time, out: &mut Vec<Job>) {
        while let Some(job) = self.device.take(now) {
            self.memory = self.memory.saturating_sub(job.memory());
            self.jobs -= 1;
            out.push(job);
        }
    }

    fn reset(&mut self, _now: Time) {
        self.device.reset();
        self.jobs = 0;
        self.memory = 0;
    }

    fn inject(&mut self, fault: Fault) -> bool {
        self.device.inject(fault);
        while self.device.work() {}
        true
    }

    fn next(&self) -> Option<Time> {
        self.device.next()
    }
}
