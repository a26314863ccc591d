//! The host's own processor: on the worker's thread, or on threads beside it.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use esprit_packet::Time;

use crate::engine::{
    Capabilities, DEFAULT_PATIENCE_NS, DEFAULT_QUEUE_JOBS, DEFAULT_QUEUE_NS, Engine, Kind,
    Transfer, Wake,
};
use crate::engines::returns::{Giver, Stamped, Taker, returns};
use crate::engines::software;
use crate::job::Job;
use crate::key::Algorithm;
use crate::priority::come_first;

fn capabilities(synchronous: bool, threads: u32) -> Capabilities {
    Capabilities {
        kind: Kind::Cpu,
        simulated: false,
        synchronous,
        host_cpu: true,
        lookaside: true,
        inline: false,
        primary: true,
        secondary: true,
        algorithms: Algorithm::ALL.to_vec(),
        esn: true,
        max_replay_window: u32::MAX,
        sa_slots: None,
        key_install_ns: 0,
        keys_survive_reset: true,
        memory_bytes: None,
        queue_ns: DEFAULT_QUEUE_NS,
        queue_jobs: DEFAULT_QUEUE_JOBS,
        parallel: threads,
        patience_ns: DEFAULT_PATIENCE_NS,
        transfer: Transfer::default(),
    }
}

/// The worker itself: a job is done when `work` returns, or, where it was submitted, at the next
/// `poll`.
/// A job is at most [`MAX_OPS`](crate::MAX_OPS) packets, so the worker is away for a bounded
/// time.
#[derive(Debug)]
pub struct CpuInline {
    capabilities: Capabilities,
    done: Vec<Job>,
}

impl CpuInline {
    /// The engine; making it costs nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            capabilities: capabilities(true, 1),
            done: Vec::with_capacity(4),
        }
    }
}

impl Default for CpuInline {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine for CpuInline {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn work(&mut self, job: &mut Job) {
        software::work(job);
    }

    fn submit(&mut self, _now: Time, mut job: Job) -> Result<(), Job> {
        if self.done.len() >= self.capabilities.queue_jobs as usize {
            return Err(job);
        }
        software::work(&mut job);
        self.done.push(job);
        Ok(())
    }

    fn poll(&mut self, _now: Time, out: &mut Vec<Job>) {
        out.append(&mut self.done);
    }

    fn reset(&mut self, _now: Time) {
        self.done.clear();
    }
}

/// Threads of their own, on the host's processors.
pub struct CpuThreads {
    capabilities: Capabilities,
    /// Dropping it ends the threads.
    todo: Sender<Stamped>,
    /// The other end, to take back what no thread has begun when the engine is reset.
    undone: Receiver<Stamped>,
    back: Taker,
    threads: Vec<JoinHandle<()>>,
}

impl CpuThreads {
    /// An engine of `threads` threads, one at least. Completions wake the worker by `wake`.
    ///
    /// # Errors
    /// What the system answers where it starts no thread.
    pub fn new(threads: u32, wake: Arc<dyn Wake>) -> io::Result<Self> {
        let threads = threads.max(1);
        let capabilities = capabilities(false, threads);
        let (todo, undone) = bounded::<Stamped>(capabilities.queue_jobs as usize);
        let (giver, back) = returns(capabilities.queue_jobs, wake);
        let threads = (0..threads)
            .map(|number| {
                let (jobs, giver) = (undone.clone(), giver.clone());
                thread::Builder::new()
                    .name(format!("esprit-cpu-{number}"))
                    .spawn(move || run(&jobs, &giver))
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            capabilities,
            todo,
            undone,
            back,
            threads,
        })
    }
}

/// A thread's life: it ends when the engine is dropped.
fn run(jobs: &Receiver<Stamped>, giver: &Giver) {
    come_first();
    while let Ok((generation, mut job)) = jobs.recv() {
        software::work(&mut job);
        if !giver.give((generation, job)) {
            return;
        }
        giver.wake();
    }
}

impl Engine for CpuThreads {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, _now: Time, job: Job) -> Result<(), Job> {
        if !self.back.has_room() {
            return Err(job);
        }
        let stamp = self.back.depart();
        self.todo.try_send((stamp, job)).map_err(|refused| {
            self.back.lost();
            refused.into_inner().1
        })
    }

    fn poll(&mut self, _now: Time, out: &mut Vec<Job>) {
        self.back.take(out);
    }

    fn reset(&mut self, _now: Time) {
        while self.undone.try_recv().is_ok() {}
        self.back.forget();
    }

    fn starved(&mut self) -> bool {
        // A thread that works on a job ends it, unless it has ended itself, by a panic.
        !self.threads.iter().any(JoinHandle::is_finished)
    }
}
