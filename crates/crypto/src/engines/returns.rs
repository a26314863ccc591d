//! The way back from an engine's threads to the worker: a bounded queue, and one wake-up for
//! all that gathers in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::engine::Wake;
use crate::job::Job;

/// A job with the reset that it belongs to: one from before the last reset is of no interest.
pub(crate) type Stamped = (u64, Job);

/// The threads' end.
#[derive(Clone)]
pub(crate) struct Giver {
    queue: Sender<Stamped>,
    woken: Arc<AtomicBool>,
    wake: Arc<dyn Wake>,
}

/// The worker's end.
pub(crate) struct Taker {
    queue: Receiver<Stamped>,
    woken: Arc<AtomicBool>,
    in_flight: usize,
    limit: usize,
    generation: u64,
}

/// Both ends, for `limit` jobs in flight at most: so many
/// fit, so that a thread waits here only for the worker to clear away what a reset left behind.
pub(crate) fn returns(limit: u32, wake: Arc<dyn Wake>) -> (Giver, Taker) {
    let (sender, receiver) = bounded(limit as usize);
    let woken = Arc::new(AtomicBool::new(false));
    (
        Giver {
            queue: sender,
            woken: Arc::clone(&woken),
            wake,
        },
        Taker {
            queue: receiver,
            woken,
            in_flight: 0,
            limit: limit as usize,
            generation: 0,
        },
    )
}

impl Giver {
    /// Lays a job down. Answers `false` once the worker's end is gone.
    pub(crate) fn give(&self, job: Stamped) -> bool {
        self.queue.send(job).is_ok()
    }

    /// Wakes the worker, unless it was woken since it last looked.
    pub(crate) fn wake(&self) {
        // Release: what was given before is seen by the `take` that clears the flag.
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.wake.wake();
        }
    }
}

impl Taker {
    /// Whether one more job may be put in flight.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight < self.limit
    }

    /// One more job is in flight; answers the stamp for it.
    pub(crate) fn depart(&mut self) -> u64 {
        self.in_flight += 1;
        self.generation
    }

    /// A job that departed came to nothing.
    pub(crate) fn lost(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Appends what has come back since the last reset.
    pub(crate) fn take(&mut self, out: &mut Vec<Job>) {
        if self.in_flight == 0 {
            return;
        }
        // Cleared before the queue is read: a job that comes after this read wakes again.
        // A read-modify-write, so that it joins the order of the givers' and sees their jobs.
        self.woken.swap(false, Ordering::AcqRel);
        while let Ok((generation, job)) = self.queue.try_recv() {
            if generation == self.generation {
                self.lost();
                out.push(job);
            }
        }
    }

    /// What is in flight now is of no interest when it comes back; the next `depart` is of a
    /// new generation, which this answers.
    pub(crate) fn forget(&mut self) -> u64 {
        while self.queue.try_recv().is_ok() {}
        self.in_flight = 0;
        self.generation += 1;
        self.generation
    }
}
