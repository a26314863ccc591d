//! Applications in virtual time: the document's loop back to a requestor. Each keeps so many tasks in
//! flight, and every byte that comes back is compared with what the cipher itself makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use crossbeam_channel::{Receiver, Sender, unbounded};
use esprit_crypto::{AeadKey, Algorithm, Direction, ICV_LEN, JobInput, MAX_OPS};
use esprit_datapath::application::{MAX_MESSAGE, Outcome, Reply, Returned, Room, Task};
use esprit_packet::{Pool as Buffers, Time};
use serde::Deserialize;

use crate::random::mix;
use crate::report::{ApplicationReport, Ended, Latency};

/// While there is no buffer for a task, one is asked for again after this: 1 ms, as the worker does
/// with tasks that find no room.
const RETRY: Time = Time(1_000_000);

/// What an application asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct ApplicationSpec {
    /// Its name.
    pub name: String,
    /// Seal or open.
    pub direction: Direction,
    /// Bytes of a message.
    pub size: usize,
    /// Messages of one task.
    pub packets: usize,
    /// Tasks in flight at most.
    pub window: usize,
    /// Bits of messages per second; none: as much as the window lets through.
    #[serde(default)]
    pub rate_bps: Option<u64>,
    /// Its first task, in nanoseconds.
    #[serde(default)]
    pub start_ns: u64,
    /// No task from here on.
    pub stop_ns: u64,
}

/// How a task's end is to be judged.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Messages that came back otherwise than the cipher has them.
    pub(crate) wrong: u64,
    /// A task that nobody asked for, or that had come back before.
    pub(crate) strange: Option<u64>,
}

/// An application at work.
pub(crate) struct Application {
    pub(crate) spec: ApplicationSpec,
    key: Arc<AeadKey>,
    cipher: LessSafeKey,
    room: Arc<Room>,
    to: Sender<Returned>,
    from: Receiver<Returned>,
    /// By tag: when it was asked for.
    posted: BTreeMap<u64, Time>,
    asked: u64,
    /// Not before this, since there was no buffer.
    retry_at: Time,
    total: Ended,
    /// Messages done since the window began, and how long each task took.
    done: u64,
    latencies: Vec<u64>,
}

fn nonce(task: u64, message: usize) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&(task * MAX_OPS as u64 + message as u64).to_be_bytes());
    nonce
}

impl Application {
    /// # Errors
    /// Why it cannot be.
    pub(crate) fn new(spec: ApplicationSpec, key: &[u8]) -> Result<Self, String> {
        let (algorithm, reference) = if key.len() == 32 {
            (Algorithm::Aes256Gcm16, &AES_256_GCM)
        } else {
            (Algorithm::Aes128Gcm16, &AES_128_GCM)
        };
        let unbound = UnboundKey::new(reference, key)
            .map_err(|_| format!("{}: its key has the wrong length", spec.name))?;
        let fits = spec.size >= 1
            && (1..=MAX_OPS).contains(&spec.packets)
            && spec.size * spec.packets <= MAX_MESSAGE;
        if !fits || spec.window == 0 {
            return Err(format!(
                "{}: a task has 1 to {MAX_OPS} messages and {MAX_MESSAGE} bytes at most",
                spec.name
            ));
        }
        let (to, from) = unbounded();
        Ok(Self {
            key: AeadKey::new(algorithm, key).map_err(|error| error.to_string())?,
            cipher: LessSafeKey::new(unbound),
            room: Room::new(spec.window),
            to,
            from,
            posted: BTreeMap::new(),
            asked: 0,
            retry_at: Time::ZERO,
            total: Ended::default(),
            done: 0,
            latencies: Vec::new(),
            spec,
        })
    }

    /// When it asks for its next task, seen from `now`, if nothing has to come back before.
    pub(crate) fn next(&self, now: Time) -> Option<Time> {
        if self.posted.len() >= self.spec.window {
            return None;
        }
        let bits = 8 * (self.spec.size * self.spec.packets) as u128;
        let after = match self.spec.rate_bps {
            Some(rate) => u128::from(self.asked) * bits * 1_000_000_000 / u128::from(rate.max(1)),
            None => 0,
        };
        let at = self.spec.start_ns.saturating_add(after as u64);
        let at = Time(at).max(self.retry_at).max(now);
        (at.0 < self.spec.stop_ns).then_some(at)
    }

    /// What it asks for at `now`.
    pub(crate) fn due(&mut self, now: Time, buffers: &Buffers) -> Vec<Task> {
        let mut tasks = Vec::new();
        while self.next(now).is_some_and(|at| at <= now) {
            let Some(permit) = self.room.try_take() else {
                break;
            };
            let Some(input) = self.input(buffers) else {
                self.retry_at = now + RETRY;
                break;
            };
            let reply = Reply::new(self.asked, self.to.clone(), None, permit);
            self.posted.insert(self.asked, now);
            self.asked += 1;
            self.total.asked += self.spec.packets as u64;
            tasks.push(Task {
                key: Arc::clone(&self.key),
                direction: self.spec.direction,
                input: Arc::new(input),
                reply,
            });
        }
        tasks
    }

    fn plain(&self, task: u64, message: usize) -> Vec<u8> {
        let word = mix(task * MAX_OPS as u64 + message as u64).to_be_bytes();
        word.into_iter().cycle().take(self.spec.size).collect()
    }

    fn sealed(&self, task: u64, message: usize) -> Vec<u8> {
        let mut text = self.plain(task, message);
        let nonce = Nonce::assume_unique_for_key(nonce(task, message));
        // The cipher refuses no length that a task may have.
        if self
            .cipher
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut text)
            .is_err()
        {
            text.clear();
        }
        text
    }

    fn input(&self, buffers: &Buffers) -> Option<JobInput> {
        let frame = buffers.get((self.spec.size + ICV_LEN) * self.spec.packets)?;
        let direction = self.spec.direction;
        let messages = (0..self.spec.packets).map(|message| {
            let bytes = match direction {
                Direction::Seal => self.plain(self.asked, message),
                Direction::Open => self.sealed(self.asked, message),
            };
            (nonce(self.asked, message), bytes)
        });
        Some(JobInput::of_messages(frame, direction, messages))
    }

    /// Looks at what has come back.
    pub(crate) fn take(&mut self, now: Time) -> Looked {
        let mut looked = Looked::default();
        while let Ok(returned) = self.from.try_recv() {
            let task = returned.tag;
            let Some(at) = self.posted.remove(&task) else {
                looked.strange = Some(task);
                continue;
            };
            let packets = self.spec.packets as u64;
            match &returned.outcome {
                Outcome::Done { dst, bad_icv, .. } => {
                    self.total.done += packets;
                    self.done += packets;
                    self.latencies.push(now.since(at).0);
                    looked.wrong += self.wrong(task, *bad_icv, dst.data());
                }
                Outcome::NoEngine => self.total.no_engine += packets,
                Outcome::Lost | Outcome::Stopped => self.total.lost += packets,
            }
        }
        looked
    }

    fn wrong(&self, task: u64, bad_icv: u64, mut output: &[u8]) -> u64 {
        let mut wrong = u64::from(bad_icv.count_ones());
        for message in 0..self.spec.packets {
            let want = match self.spec.direction {
                Direction::Seal => self.sealed(task, message),
                Direction::Open => self.plain(task, message),
            };
            let (got, rest) = output.split_at(want.len().min(output.len()));
            wrong += u64::from(bad_icv & (1 << message) == 0 && got != want);
            output = rest;
        }
        wrong
    }

    /// Tasks that have not come back.
    pub(crate) fn in_flight(&self) -> usize {
        self.posted.len()
    }

    /// Begins the window that rates and latencies are measured in.
    pub(crate) fn mark(&mut self) {
        self.done = 0;
        self.latencies.clear();
    }

    pub(crate) fn report(&mut self) -> ApplicationReport {
        ApplicationReport {
            name: self.spec.name.clone(),
            direction: self.spec.direction,
            total: self.total,
            messages: self.done,
            bytes: self.done * self.spec.size as u64,
            latency: Latency::of(&mut self.latencies),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application(direction: Direction) -> Application {
        let spec = ApplicationSpec {
            name: "test".to_owned(),
            direction,
            size: 100,
            packets: 3,
            window: 2,
            rate_bps: Some(2_400_000),
            start_ns: 500,
            stop_ns: 5_000_000,
        };
        Application::new(spec, &[7; 16]).unwrap()
    }

    #[test]
    fn tasks_come_at_their_rate_and_no_more_than_the_window() {
        let buffers = Buffers::new(16, 16);
        let mut app = application(Direction::Seal);
        // 2400 bits a task: one in a millisecond.
        assert_eq!(app.next(Time::ZERO), Some(Time(500)));
        assert_eq!(app.due(Time(500), &buffers).len(), 1);
        assert_eq!(app.next(Time(500)), Some(Time(1_000_500)));
        let tasks = app.due(Time(4_000_000), &buffers);
        assert_eq!((tasks.len(), app.next(Time(4_000_000))), (1, None));
        // What is dropped comes back as lost, and makes room.
        drop(tasks);
        app.take(Time(4_100_000));
        assert_eq!(app.next(Time(4_100_000)), Some(Time(4_100_000)));
        assert_eq!(app.due(Time(5_000_000), &buffers).len(), 0);
        assert_eq!(app.next(Time(5_000_000)), None);
    }

    #[test]
    fn a_wrong_byte_and_a_wrong_icv_are_seen() {
        for direction in [Direction::Seal, Direction::Open] {
            let app = application(direction);
            let mut good: Vec<u8> = (0..3)
                .flat_map(|message| match direction {
                    Direction::Seal => app.sealed(9, message),
                    Direction::Open => app.plain(9, message),
                })
                .collect();
            assert_eq!(app.wrong(9, 0, &good), 0);
            assert_eq!(app.wrong(9, 0b10, &good), 1);
            assert_eq!(app.wrong(8, 0, &good), 3);
            good.truncate(good.len() - 1);
            assert_eq!(app.wrong(9, 0, &good), 1);
        }
    }
}
