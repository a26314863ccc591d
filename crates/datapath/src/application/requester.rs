//! An application's side: messages become jobs, results become messages again.
//!
//! Many threads may use one requester; none of them holds a lock while it waits.

use core::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, unbounded};
use esprit_crypto::engines::software::{self, Outcome as Verdict};
use esprit_crypto::job::MAX_AAD;
use esprit_crypto::{AeadKey, Direction, ICV_LEN, JobInput, MAX_OPS, Op, Wake};
use esprit_packet::Pool as Buffers;
use serde::Serialize;
use thiserror::Error;

use crate::application::{Outcome, Permit, Reply, Returned, Room, Task};
use crate::command::Command;
use crate::thread::WorkerThread;

/// Bytes of a message at most for the pool, its ICV not counted: a job's input and output are
/// one large buffer each. A longer one is done on the caller's thread.
pub const MAX_MESSAGE: usize = 65_536;

/// Bytes of additional data at most for the pool. No rate covers them, so they are kept short
/// against a job; a TLS record's have 5 or 13.
const MAX_LONG_AAD: usize = 4096;

/// Bytes of a job of several messages at most.
const MAX_JOB: usize = MAX_MESSAGE;

/// Tasks of applications in flight at most: 16 MiB. A third of the large buffers that a data
/// plane lends are for their results, so that packets always find some.
const ROOM: usize = 256;

/// A message to seal or to open (ciphertext ‖ ICV).
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Never used twice with one key to seal, but for the same plaintext.
    pub nonce: [u8; 12],
    /// Authenticated, not encrypted.
    pub aad: &'a [u8],
    /// What is sealed or opened.
    pub data: &'a [u8],
}

/// Why a request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// No engine may and can do it.
    #[error("no engine of the pool does this cipher for applications")]
    NoEngine,
    /// It was accepted, and no engine managed it.
    #[error("no engine could do it: they failed, or none had room for ten seconds")]
    Lost,
    /// The data plane has ended.
    #[error("the pool is closed")]
    Stopped,
}

/// What came of [`Requester::start`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It is under way.
    Yes,
    /// There is no room now; the waker is called when there is.
    NoRoom,
    /// Too long for the pool: [`Requester::run`] does it on the caller's thread.
    TooLong,
}

/// What applications have done by one requester.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Messages done by the pool.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages too long for the pool, done on the caller's thread.
    pub own_messages: u64,
    /// Their bytes.
    pub own_bytes: u64,
    /// Tasks in flight.
    pub in_flight: usize,
    /// How many may be.
    pub room: usize,
    /// How often a caller had to wait for room.
    pub waits: u64,
}

#[derive(Default)]
struct Counters {
    messages: AtomicU64,
    bytes: AtomicU64,
    own_messages: AtomicU64,
    own_bytes: AtomicU64,
}

/// Asks a data plane for work, for applications.
pub struct Requester {
    thread: Weak<WorkerThread>,
    buffers: Buffers,
    room: Arc<Room>,
    counters: Counters,
}

/// A job that was posted: its messages, by their place in the request.
type Posted = Range<usize>;

impl Requester {
    /// A requester to the data plane behind `thread`, which may end at any time.
    #[must_use]
    pub fn new(thread: &Arc<WorkerThread>) -> Self {
        Self::with_room(thread, ROOM)
    }

    /// The same with `room` tasks in flight at most.
    #[must_use]
    pub fn with_room(thread: &Arc<WorkerThread>, room: usize) -> Self {
        Self {
            thread: Arc::downgrade(thread),
            // A hung engine may hold the input of jobs that others have done since.
            buffers: Buffers::new(2 * room, 2 * room),
            room: Room::new(room),
            counters: Counters::default(),
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            messages: count(&self.counters.messages),
            bytes: count(&self.counters.bytes),
            own_messages: count(&self.counters.own_messages),
            own_bytes: count(&self.counters.own_bytes),
            in_flight: self.room.taken(),
            room: self.room.limit(),
            waits: self.room.waits(),
        }
    }

    /// Has the pool do all messages, and waits; the answers are in their order, `None` where
    /// the ICV was wrong.
    ///
    /// # Errors
    /// [`Failure`] where one of them could not be done at all.
    pub fn run(
        &self,
        key: &Arc<AeadKey>,
        direction: Direction,
        messages: &[Message<'_>],
    ) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let mut results: Vec<Option<Vec<u8>>> = messages.iter().map(|_| None).collect();
        let jobs = jobs(direction, messages);
        let (to, from) = unbounded();
        let mut next = 0;
        let mut posted: Vec<Posted> = Vec::with_capacity(jobs.len());
        let mut back = 0;
        while next < jobs.len() || back < posted.len() {
            let mut batch = Vec::new();
            while let Some(job) = jobs.get(next) {
                if !fits(direction, &messages[job.start]) {
                    results[job.start] = self.own(key, direction, &messages[job.start])?;
                    next += 1;
                    continue;
                }
                // Who has results to take frees room by taking them.
                let permit = if back < posted.len() || !batch.is_empty() {
                    match self.room.try_take() {
                        Some(permit) => permit,
                        None => break,
                    }
                } else {
                    self.room.take()
                };
                next += 1;
                let tag = posted.len() as u64;
                match self.task(
                    key,
                    direction,
                    &messages[job.clone()],
                    tag,
                    &to,
                    None,
                    permit,
                ) {
                    Some(task) => {
                        batch.push(task);
                        posted.push(job.clone());
                    }
                    // Hung engines hold all the memory there is for requests.
                    None => {
                        for index in job.clone() {
                            results[index] = self.own(key, direction, &messages[index])?;
                        }
                    }
                }
            }
            if !batch.is_empty() {
                self.post(batch)?;
            }
            if back < posted.len() {
                self.take(direction, messages, &posted, &from, &mut results)?;
                back += 1;
            }
        }
        Ok(results)
    }

    /// Takes one result.
    fn take(
        &self,
        direction: Direction,
        messages: &[Message<'_>],
        posted: &[Posted],
        from: &Receiver<Returned>,
        results: &mut [Option<Vec<u8>>],
    ) -> Result<(), Failure> {
        let returned = from.recv().map_err(|_| Failure::Stopped)?;
        let (dst, bad_icv) = opened(&returned.outcome)?;
        let mut at = 0;
        for (number, index) in posted[returned.tag as usize].clone().enumerate() {
            let len = out_len(direction, &messages[index]);
            self.count(messages[index].data.len());
            if bad_icv & (1 << number) == 0 {
                results[index] = Some(dst[at..at + len].to_vec());
            }
            at += len;
        }
        Ok(())
    }

    /// Begins one message without waiting; its end comes over `to`, under `tag`, and `wake` is
    /// woken then.
    ///
    /// # Errors
    /// [`Failure::Stopped`] where the data plane has ended.
    pub fn start(
        &self,
        key: &Arc<AeadKey>,
        direction: Direction,
        message: &Message<'_>,
        tag: u64,
        to: &Sender<Returned>,
        wake: &Arc<dyn Wake>,
    ) -> Result<Started, Failure> {
        if !fits(direction, message) {
            return Ok(Started::TooLong);
        }
        let Some(permit) = self.room.try_take_or_wake(wake) else {
            return Ok(Started::NoRoom);
        };
        let one = core::slice::from_ref(message);
        match self.task(key, direction, one, tag, to, Some(wake), permit) {
            Some(task) => {
                self.post(vec![task])?;
                self.count(message.data.len());
                Ok(Started::Yes)
            }
            None => Ok(Started::TooLong),
        }
    }

    pub(super) fn post(&self, tasks: Vec<Task>) -> Result<(), Failure> {
        let thread = self.thread.upgrade().ok_or(Failure::Stopped)?;
        thread
            .post(Command::Application(tasks))
            .map_err(|_| Failure::Stopped)
    }

    pub(super) const fn room(&self) -> &Arc<Room> {
        &self.room
    }

    pub(super) const fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    fn count(&self, bytes: usize) {
        self.counters.messages.fetch_add(1, Ordering::Relaxed);
        self.counters
            .bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Messages as one job; none where there is no memory for its input.
    #[expect(clippy::too_many_arguments, reason = "the parts of a task, once")]
    fn task(
        &self,
        key: &Arc<AeadKey>,
        direction: Direction,
        messages: &[Message<'_>],
        tag: u64,
        to: &Sender<Returned>,
        wake: Option<&Arc<dyn Wake>>,
        permit: Permit,
    ) -> Option<Task> {
        let bytes = messages.iter().map(|message| message.data.len()).sum();
        let mut frame = self.buffers.get(bytes)?;
        let mut input = JobInput::default();
        let mut dst = 0;
        for message in messages {
            let from = frame.len() as u32;
            frame.append(message.data);
            let op = op(message, from, dst, &mut input.headers);
            dst += op.out_len(direction) as u32;
            input.ops.push(op);
        }
        input.frames.push(frame.share());
        Some(Task {
            key: Arc::clone(key),
            direction,
            input: Arc::new(input),
            reply: Reply::new(tag, to.clone(), wake.cloned(), permit),
        })
    }

    /// Does a message here and now: it is too long for the pool.
    fn own(
        &self,
        key: &Arc<AeadKey>,
        direction: Direction,
        message: &Message<'_>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        self.counters.own_messages.fetch_add(1, Ordering::Relaxed);
        self.counters
            .own_bytes
            .fetch_add(message.data.len() as u64, Ordering::Relaxed);
        let mut out = vec![0; out_len(direction, message)];
        match software::work_alone(
            key,
            direction,
            message.nonce,
            message.aad,
            message.data,
            &mut out,
        ) {
            Verdict::Done => Ok(Some(out)),
            Verdict::BadIcv => Ok(None),
            Verdict::Failed => Err(Failure::Lost),
        }
    }
}

/// The output of a job that was done, and the operations that did not verify.
pub(super) fn opened(outcome: &Outcome) -> Result<(&[u8], u64), Failure> {
    match outcome {
        Outcome::Done { dst, bad_icv, .. } => Ok((dst.data(), *bad_icv)),
        Outcome::NoEngine => Err(Failure::NoEngine),
        Outcome::Lost => Err(Failure::Lost),
        Outcome::Stopped => Err(Failure::Stopped),
    }
}

fn op(message: &Message<'_>, from: u32, dst: u32, headers: &mut Vec<u8>) -> Op {
    let mut op = Op {
        nonce: message.nonce,
        body: (from, from + message.data.len() as u32),
        dst,
        ..Op::default()
    };
    if let Some(short) = op.aad.get_mut(..message.aad.len()) {
        short.copy_from_slice(message.aad);
        op.aad_len = message.aad.len() as u8;
    } else {
        let start = headers.len() as u32;
        headers.extend_from_slice(message.aad);
        op.long_aad = (start, headers.len() as u32);
    }
    op
}

/// Bytes that a message becomes.
const fn out_len(direction: Direction, message: &Message<'_>) -> usize {
    match direction {
        Direction::Seal => message.data.len() + ICV_LEN,
        Direction::Open => message.data.len().saturating_sub(ICV_LEN),
    }
}

/// Whether the pool takes it. What is shorter than an ICV is no ciphertext: it is found wrong on
/// the spot.
fn fits(direction: Direction, message: &Message<'_>) -> bool {
    let text = match direction {
        Direction::Seal => Some(message.data.len()),
        Direction::Open => message.data.len().checked_sub(ICV_LEN),
    };
    text.is_some_and(|text| text <= MAX_MESSAGE) && message.aad.len() <= MAX_LONG_AAD
}

/// Cuts messages into jobs: runs that one buffer holds; what the pool does not take stands
/// alone.
fn jobs(direction: Direction, messages: &[Message<'_>]) -> Vec<Range<usize>> {
    let mut jobs: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    let mut open = false;
    for (index, message) in messages.iter().enumerate() {
        let alone = !fits(direction, message);
        bytes += message.data.len() + message.aad.len();
        match jobs.last_mut() {
            Some(job) if open && !alone && bytes <= MAX_JOB && job.len() < MAX_OPS => {
                job.end = index + 1;
            }
            _ => {
                bytes = message.data.len() + message.aad.len();
                jobs.push(index..index + 1);
            }
        }
        open = !alone;
    }
    jobs
}

const _: () = assert!(MAX_AAD < MAX_LONG_AAD);

#[cfg(test)]
mod tests {
    use super::*;

    fn message(data: &[u8]) -> Message<'_> {
        Message {
            nonce: [0; 12],
            aad: &[],
            data,
        }
    }

    #[test]
    fn jobs_hold_what_a_buffer_holds_and_long_messages_stand_alone() {
        let long = vec![0; MAX_MESSAGE + 1];
        let half = vec![0; MAX_MESSAGE / 2];
        let of = |messages: &[&[u8]]| {
            let messages: Vec<_> = messages.iter().map(|data| message(data)).collect();
            jobs(Direction::Seal, &messages)
        };
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[&half, &half, &[1]]), [0..2, 2..3]);
        assert_eq!(of(&[&[1], &long, &[1], &[1]]), [0..1, 1..2, 2..4]);
        assert_eq!(of(&[&[][..]; 130]), [0..64, 64..128, 128..130]);
    }

    #[test]
    fn what_is_shorter_than_an_icv_is_not_for_the_pool() {
        assert!(!fits(Direction::Open, &message(&[0; 15])));
        assert!(fits(Direction::Open, &message(&[0; 16])));
        assert!(fits(Direction::Open, &message(&[0; MAX_MESSAGE + 16])));
        assert!(!fits(Direction::Open, &message(&[0; MAX_MESSAGE + 17])));
    }
}
