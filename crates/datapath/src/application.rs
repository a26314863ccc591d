//! Applications' tasks: the pool's third class of work, looped back to whoever asked.
//!
//! ```text
//! Requester -> Command::Application -> waiting -> Pool::submit -> engine
//!     ^                                                             |
//!     +------- Returned, over the requester's own channel <- Done --+
//! ```
//!
//! A task that finds all engines full waits here, in order, and is offered again; it is never
//! lost. One whose engines are all out of use waits apart, for as long as one that an engine
//! has had would: ten seconds. What waits is bounded by the requesters' room ([`Room`]): a task
//! carries its place in it until its result has been taken.

mod load;
mod requester;
mod room;

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use crossbeam_channel::Sender;
use esprit_crypto::{
    APPLICATIONS, AeadKey, Direction, Done, EngineId, GIVE_UP, JobInput, Reject, Request, Wake,
};
use esprit_packet::{Buf, SharedBuf, Time};

pub use load::{EngineLoad, LoadReport, LoadSpec, load};
pub use requester::{Failure, MAX_MESSAGE, Message, Requester, Started, Statistics};
pub use room::{Permit, Room};

use crate::command::Answer;
use crate::flight::TicketHasher;
use crate::worker::Worker;

/// Bytes given to the pool in one step: what the worker's own engine does in some 100 µs. Packets
/// have their turn between two such steps.
const QUANTUM: usize = 256 * 1024;

/// While tasks wait for room in the engines, they are offered again at least this often: 1 ms.
const RETRY: Time = Time(1_000_000);

/// Waiting tasks that find no room in one step before the rest is not offered: they mostly wait
/// for the same engines.
const MISSES: usize = 8;

/// How a task ended.
#[derive(Debug)]
pub enum Outcome {
    /// It was done.
    Done {
        /// The output of all operations.
        dst: Buf,
        /// A bit for each operation whose ICV was wrong; its output is no plaintext.
        bad_icv: u64,
        /// Who did it.
        engine: EngineId,
    },
    /// No engine may and can do it.
    NoEngine,
    /// Engines failed at it again and again, or none could take it in ten seconds.
    Lost,
    /// The data plane ended before it was done.
    Stopped,
}

/// A task's end, as its requester gets it. Its place in the room is free once this is dropped.
#[derive(Debug)]
pub struct Returned {
    /// The requester's name for the task.
    pub tag: u64,
    /// How it ended.
    pub outcome: Outcome,
    _permit: Permit,
}

/// The way back of one task. It is answered once: dropping it says that the data plane ended.
pub struct Reply {
    tag: u64,
    to: Sender<Returned>,
    wake: Option<Arc<dyn Wake>>,
    permit: Option<Permit>,
}

impl Reply {
    /// A reply over `to`; `wake` is told when it is there.
    #[must_use]
    pub fn new(
        tag: u64,
        to: Sender<Returned>,
        wake: Option<Arc<dyn Wake>>,
        permit: Permit,
    ) -> Self {
        Self {
            tag,
            to,
            wake,
            permit: Some(permit),
        }
    }

    fn answer(mut self, outcome: Outcome) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: Outcome) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let returned = Returned {
            tag: self.tag,
            outcome,
            _permit: permit,
        };
        // Channels have room for all that is in flight; whoever asked may have gone away.
        if self.to.try_send(returned).is_ok()
            && let Some(wake) = &self.wake
        {
            wake.wake();
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.send(Outcome::Stopped);
    }
}

/// A job of an application, with the way back.
pub struct Task {
    /// With which key.
    pub key: Arc<AeadKey>,
    /// Seal or open.
    pub direction: Direction,
    /// From what. Its operations were proved by whoever made it.
    pub input: Arc<JobInput>,
    /// Where its result goes.
    pub reply: Reply,
}

/// What a worker has of applications.
#[derive(Default)]
pub(crate) struct Applications {
    /// Not yet taken by an engine, in order.
    waiting: VecDeque<Task>,
    /// Those that no engine may do at present, each with the time since when.
    stranded: VecDeque<(Time, Task)>,
    /// When the ones are to be offered again, and when the others.
    retry_at: Option<Time>,
    stranded_at: Option<Time>,
    /// By ticket: taken, and not yet back.
    flights: HashMap<u64, Reply, BuildHasherDefault<TicketHasher>>,
}

impl Applications {
    /// Whether no task is here or with an engine.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.stranded.is_empty() && self.flights.is_empty()
    }

    /// When the worker is to step again for their sake.
    pub(crate) fn timeout(&self) -> Option<Time> {
        let both = [self.retry_at, self.stranded_at];
        both.into_iter().flatten().min()
    }
}

/// What came of an attempt to give a task to the pool.
enum Placed {
    /// It is the pool's, or has ended.
    Yes,
    /// There is no room for it now.
    Full(Task),
    /// All engines that may do it are out of use.
    Nobody(Task),
}

impl Worker {
    /// Takes tasks; they are given to the pool in the next steps.
    pub fn application(&mut self, tasks: Vec<Task>) -> Answer {
        self.applications.waiting.extend(tasks);
        Answer::Done
    }

    /// Gives waiting tasks to the pool, as far as a step goes. Answers whether some were placed.
    pub(crate) fn take_from_applications(&mut self, now: Time) -> bool {
        let mut bytes = 0;
        let mut missed = Vec::new();
        let mut placed = self.offer_stranded(now);
        self.applications.retry_at = None;
        while bytes < QUANTUM && missed.len() < MISSES {
            let Some(task) = self.applications.waiting.pop_front() else {
                break;
            };
            let size = task.input.frames.iter().map(SharedBuf::len).sum::<usize>();
            match self.place(now, task) {
                Placed::Yes => {
                    bytes += size;
                    placed = true;
                }
                Placed::Full(task) => missed.push(task),
                Placed::Nobody(task) => self.applications.stranded.push_back((now, task)),
            }
        }
        // Those that missed come first again, in their order.
        for task in missed.into_iter().rev() {
            self.applications.waiting.push_front(task);
        }
        if !self.applications.waiting.is_empty() {
            self.applications.retry_at = Some(now + RETRY);
        }
        if !self.applications.stranded.is_empty() {
            let at = &mut self.applications.stranded_at;
            at.get_or_insert(now + RETRY);
        }
        placed
    }

    /// Offers once more what no engine could do when it was offered last.
    fn offer_stranded(&mut self, now: Time) -> bool {
        if self.applications.stranded_at.is_none_or(|at| at > now) {
            return false;
        }
        self.applications.stranded_at = None;
        let mut placed = false;
        for _ in 0..self.applications.stranded.len() {
            let Some((since, task)) = self.applications.stranded.pop_front() else {
                break;
            };
            match self.place(now, task) {
                Placed::Yes => placed = true,
                Placed::Full(task) => self.applications.waiting.push_back(task),
                Placed::Nobody(task) if now.since(since) >= GIVE_UP => {
                    task.reply.answer(Outcome::Lost);
                }
                Placed::Nobody(task) => self.applications.stranded.push_back((since, task)),
            }
        }
        placed
    }

    /// Gives one task to the pool.
    fn place(&mut self, now: Time, task: Task) -> Placed {
        // Fairness is among keys: an application with many tasks under one does not starve another.
        let flow = task.key.id() as u32;
        let request = Request {
            team: APPLICATIONS,
            key: task.key,
            direction: task.direction,
            input: task.input,
            member: None,
            flow,
            weight: 1,
        };
        let (request, reject) = match self.pool.submit(now, &self.buffers, request) {
            Ok((ticket, _)) => {
                self.applications.flights.insert(ticket, task.reply);
                return Placed::Yes;
            }
            Err(refused) => refused,
        };
        let nobody = reject == Reject::NoEngine;
        if nobody && !self.pool.may_come_back(&request) {
            task.reply.answer(Outcome::NoEngine);
            return Placed::Yes;
        }
        let task = Task {
            key: request.key,
            direction: request.direction,
            input: request.input,
            reply: task.reply,
        };
        match nobody {
            true => Placed::Nobody(task),
            false => Placed::Full(task),
        }
    }

    /// Hands an application its result; gives back what is not an application's.
    pub(crate) fn application_done(&mut self, done: Done) -> Option<Done> {
        let (Done::Complete { ticket, .. } | Done::Lost { ticket, .. }) = &done;
        let Some(reply) = self.applications.flights.remove(ticket) else {
            return Some(done);
        };
        reply.answer(match done {
            Done::Complete {
                dst,
                bad_icv,
                engine,
                ..
            } => Outcome::Done {
                dst,
                bad_icv,
                engine,
            },
            Done::Lost { .. } => Outcome::Lost,
        });
        None
    }
}
