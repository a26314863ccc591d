//! The load generator: the document's loop back to a requestor.
//!
//! Every job is the same one: the same messages under the same nonces, with a key of its own, so no nonce ever seals two plaintexts, and nothing but the pool and its engines is
//! measured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use esprit_crypto::engines::software::{Outcome as Verdict, work_alone};
use esprit_crypto::{AeadKey, Direction, ICV_LEN, JobInput, MAX_OPS};
use esprit_packet::Time;
use serde::{Deserialize, Serialize};

use crate::application::requester::{Failure, MAX_MESSAGE, Requester};
use crate::application::{Outcome, Reply, Returned, Task};

/// Jobs in flight where nothing else is said: at 64 KiB each 4 MiB, more than the queues of
/// engines of 5 Gbit/s together hold (5 ms).
const WINDOW: usize = 64;

/// Longer than any job may take before the pool gives it up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is to be asked for.
#[derive(Clone, Debug, Deserialize)]
pub struct LoadSpec {
    /// Seal or open.
    pub direction: Direction,
    /// Bytes of a message.
    pub size: usize,
    /// For so long.
    pub seconds: f64,
    /// Bits of messages per second; none: as much as there is room for.
    #[serde(default)]
    pub rate_bps: Option<u64>,
    /// Messages of one job; none: as many as it holds.
    #[serde(default)]
    pub packets: Option<usize>,
    /// Jobs in flight at most; none: [`WINDOW`].
    #[serde(default)]
    pub window: Option<usize>,
}

/// What one engine did of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EngineLoad {
    /// Jobs.
    pub jobs: u64,
    /// Bytes of messages.
    pub bytes: u64,
}

/// What came of a load.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoadReport {
    /// From the first job to the last one's return.
    pub seconds: f64,
    /// Jobs done.
    pub jobs: u64,
    /// Messages done.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages of one job.
    pub packets: usize,
    /// Jobs that no engine managed.
    pub lost: u64,
    /// Jobs whose ICV did not verify: with the right key there are none.
    pub bad: u64,
    /// From asking to the result, in nanoseconds.
    pub latency_p50_ns: u64,
    /// Likewise.
    pub latency_p99_ns: u64,
    /// Likewise.
    pub latency_max_ns: u64,
    /// By engine.
    pub engines: BTreeMap<u32, EngineLoad>,
}

/// Latencies, in buckets an eighth of a power of two wide: within 9 % of the truth.
struct Histogram([u64; 8 * 64]);

impl Histogram {
    fn bucket(ns: u64) -> usize {
        let ns = ns.max(8);
        let power = ns.ilog2() as usize;
        8 * power + (ns >> (power - 3)) as usize % 8
    }

    fn add(&mut self, ns: u64) {
        self.0[Self::bucket(ns)] += 1;
    }

    /// The upper end of the bucket that holds the share `of` of all.
    fn quantile(&self, of: f64) -> u64 {
        let all: u64 = self.0.iter().sum();
        let wanted = (all as f64 * of).ceil() as u64;
        let mut seen = 0;
        for (bucket, &count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= wanted && count > 0 {
                let (power, eighth) = (bucket / 8, bucket % 8);
                return (9 + eighth as u64).saturating_mul(1 << (power - 3));
            }
        }
        0
    }
}

/// Keeps the pool busy for a while, on the caller's thread, and says what it managed. `key` is one
/// that nothing else is sealed with, `clock` tells the time.
///
/// # Errors
/// [`Failure`] where there is no engine for it, or the data plane ends.
pub fn load(
    requester: &Requester,
    key: &Arc<AeadKey>,
    spec: &LoadSpec,
    clock: &dyn Fn() -> Time,
) -> Result<LoadReport, Failure> {
    let mut run = Run::new(requester, key, spec, clock)?;
    let start = clock();
    let span = Duration::from_secs_f64(spec.seconds.clamp(0.0, 86_400.0));
    loop {
        let elapsed = between(start, clock());
        if elapsed >= span {
            break;
        }
        let due = run.due(spec, elapsed);
        run.post(due)?;
        // With a rate, the next job is due after this; without one, at the next return.
        let pause = run.until_due(spec, elapsed).min(span - elapsed);
        run.take(pause)?;
    }
    while run.in_flight > 0 {
        if !run.take(PATIENCE)? {
            return Err(Failure::Lost);
        }
    }
    let elapsed = between(start, clock());
    Ok(run.finish(elapsed))
}

struct Run<'a> {
    requester: &'a Requester,
    clock: &'a dyn Fn() -> Time,
    key: Arc<AeadKey>,
    direction: Direction,
    input: Arc<JobInput>,
    bytes: u64,
    window: usize,
    to: Sender<Returned>,
    from: Receiver<Returned>,
    /// When each job of the window was posted, by its tag.
    posted: Vec<Time>,
    free: Vec<usize>,
    asked: u64,
    in_flight: usize,
    latency: Histogram,
    report: LoadReport,
}

impl<'a> Run<'a> {
    fn new(
        requester: &'a Requester,
        key: &Arc<AeadKey>,
        spec: &LoadSpec,
        clock: &'a dyn Fn() -> Time,
    ) -> Result<Self, Failure> {
        let size = spec.size.clamp(1, MAX_MESSAGE);
        let packets = spec
            .packets
            .unwrap_or(MAX_OPS)
            .clamp(1, (MAX_MESSAGE / size).clamp(1, MAX_OPS));
        let window = spec
            .window
            .unwrap_or(WINDOW)
            .clamp(1, requester.room().limit());
        let input = prepared(requester, key, spec.direction, size, packets)?;
        let (to, from) = unbounded();
        Ok(Self {
            requester,
            clock,
            key: Arc::clone(key),
            direction: spec.direction,
            input,
            bytes: (size * packets) as u64,
            window,
            to,
            from,
            posted: vec![Time::ZERO; window],
            free: (0..window).collect(),
            asked: 0,
            in_flight: 0,
            latency: Histogram([0; 8 * 64]),
            report: LoadReport {
                packets,
                ..LoadReport::default()
            },
        })
    }

    /// How many jobs are to be posted by now and have not been.
    fn due(&self, spec: &LoadSpec, elapsed: Duration) -> usize {
        let room = self.window - self.in_flight;
        let Some(rate) = spec.rate_bps else {
            return room;
        };
        let wanted = (elapsed.as_secs_f64() * rate as f64 / (8 * self.bytes) as f64) as u64 + 1;
        room.min(wanted.saturating_sub(self.asked) as usize)
    }

    /// When the next job is due.
    fn until_due(&self, spec: &LoadSpec, elapsed: Duration) -> Duration {
        match spec.rate_bps {
            Some(rate) if self.in_flight < self.window => {
                let at = self.asked as f64 * (8 * self.bytes) as f64 / rate.max(1) as f64;
                Duration::from_secs_f64(at.min(86_400.0)).saturating_sub(elapsed)
            }
            _ => PATIENCE,
        }
    }

    fn post(&mut self, jobs: usize) -> Result<(), Failure> {
        let mut tasks = Vec::new();
        while tasks.len() < jobs {
            // Other applications have the room: what is in flight here comes back first.
            let permit = if self.in_flight + tasks.len() > 0 {
                match self.requester.room().try_take() {
                    Some(permit) => permit,
                    None => break,
                }
            } else {
                self.requester.room().take()
            };
            let Some(tag) = self.free.pop() else {
                break;
            };
            self.posted[tag] = (self.clock)();
            tasks.push(Task {
                key: Arc::clone(&self.key),
                direction: self.direction,
                input: Arc::clone(&self.input),
                reply: Reply::new(tag as u64, self.to.clone(), None, permit),
            });
        }
        if tasks.is_empty() {
            return Ok(());
        }
        self.in_flight += tasks.len();
        self.asked += tasks.len() as u64;
        self.requester.post(tasks)
    }

    /// Takes what is back, waiting for the first of it; answers whether there was any.
    fn take(&mut self, pause: Duration) -> Result<bool, Failure> {
        let first = match self.from.recv_timeout(pause) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::Stopped),
        };
        let mut next = Some(first);
        while let Some(returned) = next {
            self.returned(&returned)?;
            next = self.from.try_recv().ok();
        }
        Ok(true)
    }

    fn returned(&mut self, returned: &Returned) -> Result<(), Failure> {
        let tag = returned.tag as usize;
        self.free.push(tag);
        self.in_flight -= 1;
        match &returned.outcome {
            Outcome::Done {
                bad_icv, engine, ..
            } => {
                self.latency.add((self.clock)().since(self.posted[tag]).0);
                self.report.jobs += 1;
                self.report.bad += u64::from(*bad_icv != 0);
                let of = self.report.engines.entry(engine.0).or_default();
                of.jobs += 1;
                of.bytes += self.bytes;
            }
            Outcome::Lost => self.report.lost += 1,
            Outcome::NoEngine => return Err(Failure::NoEngine),
            Outcome::Stopped => return Err(Failure::Stopped),
        }
        Ok(())
    }

    fn finish(self, elapsed: Duration) -> LoadReport {
        let mut report = self.report;
        report.seconds = elapsed.as_secs_f64();
        report.messages = report.jobs * report.packets as u64;
        report.bytes = report.jobs * self.bytes;
        report.latency_p50_ns = self.latency.quantile(0.5);
        report.latency_p99_ns = self.latency.quantile(0.99);
        report.latency_max_ns = self.latency.quantile(1.0);
        report
    }
}

fn between(from: Time, to: Time) -> Duration {
    Duration::from_nanos(to.since(from).0)
}

/// The one job: to seal, zeroes; to open, what sealing them gave.
fn prepared(
    requester: &Requester,
    key: &AeadKey,
    direction: Direction,
    size: usize,
    packets: usize,
) -> Result<Arc<JobInput>, Failure> {
    let plain = vec![0; size];
    let frame = requester
        .buffers()
        .get((size + ICV_LEN) * packets)
        .ok_or(Failure::Lost)?;
    let mut messages = Vec::with_capacity(packets);
    for number in 0..packets {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&(number as u64).to_be_bytes());
        let mut message = plain.clone();
        if direction == Direction::Open {
            message.resize(size + ICV_LEN, 0);
            let seal = Direction::Seal;
            if work_alone(key, seal, nonce, &[], &plain, &mut message) != Verdict::Done {
                return Err(Failure::Lost);
            }
        }
        messages.push((nonce, message));
    }
    Ok(Arc::new(JobInput::of_messages(frame, direction, messages)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_an_eighth() {
        let mut histogram = Histogram([0; 8 * 64]);
        for ns in 1..=1000_u64 {
            histogram.add(ns * 1000);
        }
        for (of, truth) in [(0.5, 500_000), (0.99, 990_000), (1.0, 1_000_000)] {
            let found = histogram.quantile(of);
            assert!(
                found >= truth && found <= truth + truth / 8 + 1,
                "{of}: {found}"
            );
        }
        histogram.add(u64::MAX);
        assert!(histogram.quantile(1.0) > 1 << 62);
    }
}
