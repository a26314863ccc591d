//! What an engine is: it declares itself, takes jobs, and gives them back.

use esprit_packet::Time;
use serde::{Deserialize, Serialize};

use crate::job::Job;
use crate::key::Algorithm;

/// Wakes the worker that sleeps in poll(2). Called from engines' threads.
pub trait Wake: Send + Sync {
    /// Makes the worker poll the pool soon. Any number of calls before it does count once.
    fn wake(&self);
}

/// What kind of thing does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The host's own processor.
    Cpu,
    /// A simulated NIC encryption processor.
    Asic,
}

/// The way of a secondary job to an engine and back (copies over a bus), in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// For each job.
    pub ns_per_job: u64,
    /// For each byte of input and output.
    pub ns_per_byte: f64,
}

/// What an engine declares about itself. Nothing else is assumed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Capabilities {
    /// What does the work.
    pub kind: Kind,
    /// It imitates a device that is not there. Users are always told.
    pub simulated: bool,
    /// Jobs are done when `submit` returns, on the caller's thread.
    pub synchronous: bool,
    /// Its work costs the host's processors time.
    pub host_cpu: bool,
    /// Takes a job and gives it back.
    pub lookaside: bool,
    /// Seals what leaves and opens what arrives by its own NIC, as it passes.
    pub inline: bool,
    /// May work for its own member's traffic.
    pub primary: bool,
    /// May work for anyone else's.
    pub secondary: bool,
    /// What it can do, in both directions.
    pub algorithms: Vec<Algorithm>,
    /// Extended sequence numbers (RFC 4304) in the additional data. Without, it is given no job of an
    /// SA that has them.
    pub esn: bool,
    /// The largest replay window that it keeps. We keep ours in any case; but it would drop what lies
    /// behind its own, so it opens nothing of an SA with a larger one.
    pub max_replay_window: u32,
    /// Keys that it holds at a time; none: as many as there are.
    pub sa_slots: Option<u32>,
    /// Nanoseconds to install a key that it does not hold.
    pub key_install_ns: u64,
    /// Whether keys are still there after a reset.
    pub keys_survive_reset: bool,
    /// Bytes of input and output in flight at most; none: the host's memory.
    pub memory_bytes: Option<u64>,
    /// Work that it takes ahead of time, in nanoseconds at its measured rate.
    pub queue_ns: u64,
    /// Jobs in flight at most.
    pub queue_jobs: u32,
    /// Jobs that it works on side by side.
    pub parallel: u32,
    /// A job counts as hung when it is late by this many nanoseconds at least, however short
    /// it was expected to take.
    pub patience_ns: u64,
    /// The way there and back for secondary use.
    pub transfer: Transfer,
}

/// Work that an engine takes ahead of time where it does not say otherwise: 5 ms.
pub const DEFAULT_QUEUE_NS: u64 = 5_000_000;

/// Below this no job counts as hung: 2 ms, some tens of times what waking a thread on
/// another idle processor takes.
pub const DEFAULT_PATIENCE_NS: u64 = 2_000_000;

/// Jobs in flight at most where an engine does not say otherwise: at 5 ms and the shortest
/// job we have seen (one packet of 64 bytes in some 50 ns with its overhead, 250 ns as
/// jobs come from a worker) it is time that bounds the queue, not this.
pub const DEFAULT_QUEUE_JOBS: u32 = 1024;

/// Something wrong with a simulated engine, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// It stops, also in the middle of a job. What it has is not done; a reset revives it,
    /// without its keys.
    Die,
    /// It stops, and what it has comes back when it heals, or never, if it is reset before.
    Hang,
    /// Every n-th operation has a wrong output, or a wrong verdict on its ICV.
    Wrong {
        /// The n; 0 counts as 1.
        every: u32,
    },
    /// Completions are late.
    Late {
        /// By this many nanoseconds.
        by: u64,
    },
    /// Its rate sags: jobs that it takes from here on are worked on more slowly.
    Sag {
        /// What is left of the rate, in per cent; 0 counts as 1.
        percent: u32,
    },
    /// Its queue does not move: jobs are taken and none is begun, what is done already comes back.
    /// When it heals it goes on where it was.
    Stick,
    /// Completions are gathered and told together.
    Coalesce {
        /// At the most for this many nanoseconds.
        ns: u64,
    },
    /// No faults from here on. Only a reset revives what died.
    Heal,
}

/// An engine, as the pool uses it, on one thread.
pub trait Engine: Send {
    /// What it declares about itself.
    fn capabilities(&self) -> &Capabilities;

    /// Gives it a job whose operations were proved by [`JobInput::measure`](crate::JobInput::measure).
    ///
    /// # Errors
    /// The job back, untouched, where the engine's queue is full.
    fn submit(&mut self, now: Time, job: Job) -> Result<(), Job>;

    /// Does a job at once and in place, on the caller's thread: how the pool uses an engine that
    /// declares itself synchronous. Any other fails at it.
    fn work(&mut self, job: &mut Job) {
        job.failed = job.all();
    }

    /// Appends the jobs that are done to `out`, in any order.
    fn poll(&mut self, now: Time, out: &mut Vec<Job>);

    /// Puts it back into its first state. Jobs inside are dropped and never come back.
    fn reset(&mut self, now: Time);

    /// Makes it fail on purpose. Answers whether it can: only simulated engines do.
    fn inject(&mut self, fault: Fault) -> bool {
        let _ = fault;
        false
    }

    /// Asked when a job is overdue, and again while the answer is yes: whether that is because
    /// a thread of its own has had no processor, rather than because it hangs. On a busy host
    /// with two cores a thread waits for whole time slices.
    fn starved(&mut self) -> bool {
        false
    }

    /// When `poll` is to be called for a job to come back. Engines with threads of their
    /// own wake the worker instead and answer `None`.
    fn next(&self) -> Option<Time> {
        None
    }
}
