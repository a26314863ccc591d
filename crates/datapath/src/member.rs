//! A member as the data plane holds it.

use std::collections::VecDeque;

use esprit_crypto::MAX_OPS;
use esprit_packet::{Time, TxFrame};

use crate::plan::Mac;
use crate::team::Traffic2;
use crate::verdict::Drops;

/// Frames that wait for a member's device at most: sixteen batches of 64 segments. Beyond
/// that the device is slower than its traffic, and more queue is only more delay.
pub const TX_QUEUE: usize = 1024;

/// A member.
#[derive(Debug)]
pub struct Member {
    /// Its id.
    pub id: u32,
    /// Its team.
    pub team: u32,
    /// Its own MAC, never changed by us.
    pub mac: Mac,
    /// Its interface's index; 0 where it has none (memory ports).
    pub ifindex: u32,
    /// Whether its link is up, by our own link socket.
    pub up: bool,
    /// The link epoch at which it was found dead; cleared only by a Plan that knew of it.
    pub latched: Option<u64>,
    /// Whether its probes say that it hears and is heard; true where it is not probed.
    pub heard: bool,
    /// The Plan lets it send.
    pub carry: bool,
    /// The Plan lets it accept what is sent to its own address.
    pub accept: bool,
    /// Its link fell, and counts as fallen from this time on.
    pub falls_at: Option<Time>,
    /// Frames that wait for the device.
    pub tx: VecDeque<TxFrame>,
    /// Probes and questions: before all others, and counted apart. Those of one round at most.
    pub urgent: VecDeque<TxFrame>,
    /// How long what waits will take.
    pub pace: Pace,
    /// Sends that failed for good.
    pub errors: TxErrors,
    /// When its port was last read empty.
    pub drained: Time,
    /// It heard a frame that is none of ours since the last round of probes.
    pub strange: bool,
    /// Frames that the kernel dropped for want of room, when it was last asked.
    pub kernel_drops: u64,
    /// Frames that were read with no buffer for them, when it was last asked.
    pub unbuffered: u64,
    /// Packets sent here with another member's source address.
    pub direct: u64,
    /// Frames taken from the port at once: fewer where they are super-frames.
    pub batch: usize,
    /// What went through the port.
    pub port: Traffic2,
    /// Why packets on this member went no further.
    pub drops: Drops,
}

impl Member {
    /// A member with an empty queue.
    #[must_use]
    pub fn new(id: u32, team: u32, mac: Mac, ifindex: u32, up: bool) -> Self {
        Self {
            id,
            team,
            mac,
            ifindex,
            up,
            latched: None,
            unbuffered: 0,
            heard: true,
            carry: false,
            accept: false,
            falls_at: None,
            tx: VecDeque::new(),
            urgent: VecDeque::new(),
            pace: Pace::default(),
            errors: TxErrors::default(),
            drained: Time::ZERO,
            strange: false,
            kernel_drops: 0,
            direct: 0,
            batch: crate::worker::BATCH,
            port: Traffic2::default(),
            drops: Drops::default(),
        }
    }

    /// Whether frames can be given to it now.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.up && self.latched.is_none() && self.heard
    }

    /// Puts a frame before all others: an announcement, of which there are few.
    pub fn push_front(&mut self, frame: TxFrame) {
        self.pace.pushed(frame.len() as u64);
        self.tx.push_front(frame);
    }

    /// Takes all that waits.
    pub fn take_queue(&mut self) -> VecDeque<TxFrame> {
        self.pace = Pace::default();
        core::mem::take(&mut self.tx)
    }

    /// Whether it is alive and has no room for another job's packets.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.alive() && self.tx.len() + MAX_OPS > TX_QUEUE
    }

    /// Puts a frame of a member that was lost at the end of its queue; gives it back where there is
    /// no room: as much again as for its own, since a lost one's queue may have been full.
    pub fn inherit(&mut self, frame: TxFrame) -> Option<TxFrame> {
        self.push_within(2 * TX_QUEUE, frame)
    }

    /// Puts a frame at the end of its queue; gives it back where there is no room.
    pub fn push(&mut self, frame: TxFrame) -> Option<TxFrame> {
        self.push_within(TX_QUEUE, frame)
    }

    fn push_within(&mut self, most: usize, frame: TxFrame) -> Option<TxFrame> {
        if self.tx.len() >= most {
            return Some(frame);
        }
        self.pace.pushed(frame.len() as u64);
        self.tx.push_back(frame);
        None
    }
}

/// How fast a member's device takes what waits for it.
#[derive(Debug)]
pub struct Pace {
    /// Bytes that wait.
    bytes: u64,
    /// Bytes that ever came to wait.
    all: u64,
    /// Bytes that the device had taken and not sent when it was last asked.
    unsent: u64,
    /// Nanoseconds that the device takes for a byte, as measured while it was at work.
    ns_per_byte: f64,
    /// Since when frames have been waiting without a break.
    waiting_since: Option<Time>,
    /// When the device was last seen to have come further without a break, and how far.
    working_since: Option<(Time, u64)>,
}

/// What a device is taken to need for a byte until it was first seen at work: 10 Gbit/s.
const NS_PER_BYTE: f64 = 0.8;

/// What a new measurement weighs: an eighth, as in a TCP's round-trip time (RFC 6298).
const WEIGHT: f64 = 0.125;

impl Default for Pace {
    fn default() -> Self {
        Self {
            bytes: 0,
            all: 0,
            unsent: 0,
            ns_per_byte: NS_PER_BYTE,
            waiting_since: None,
            working_since: None,
        }
    }
}

impl Pace {
    /// Nanoseconds until the device is expected to have sent all that waits, here and in itself.
    #[must_use]
    pub fn backlog_ns(&self) -> u64 {
        ((self.bytes + self.unsent) as f64 * self.ns_per_byte) as u64
    }

    /// The device says that it has `unsent` bytes of what it took.
    pub fn looked(&mut self, now: Time, unsent: u64) {
        let done = self.done(unsent);
        self.unsent = unsent;
        match self.working_since {
            Some((since, before)) if done > before => {
                self.measured(now.since(since), done - before);
                self.working_since = Some((now, done));
            }
            Some(_) => {}
            None => self.working_since = Some((now, done)),
        }
        if unsent == 0 {
            self.working_since = None;
        }
    }

    /// So many bytes took so long.
    fn measured(&mut self, time: Time, bytes: u64) {
        let measured = time.0 as f64 / bytes as f64;
        self.ns_per_byte += (measured - self.ns_per_byte) * WEIGHT;
    }

    /// So many bytes came to wait.
    const fn pushed(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.all += bytes;
    }

    /// Bytes that ever came to wait: how far the queue will have come when all that is in it
    /// now is out.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.all
    }

    /// How far the device has come, where `unsent` of what it took is still in the kernel.
    #[must_use]
    pub const fn done(&self, unsent: u64) -> u64 {
        (self.all - self.bytes).saturating_sub(unsent)
    }

    /// Of `had` frames `left` are still there after a send.
    pub fn sent(&mut self, now: Time, had: usize, left: usize) {
        let before = self.bytes;
        // In proportion: to add up what is left would cost more than it is worth.
        self.bytes = match had {
            0 => 0,
            had => (u128::from(before) * left as u128 / had as u128) as u64,
        };
        let taken = before - self.bytes;
        if let Some(since) = self.waiting_since
            && taken > 0
        {
            self.measured(now.since(since), taken);
        }
        if left == 0 {
            self.waiting_since = None;
        } else if taken > 0 || self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
    }
}

/// Sends that failed for good, in a row.
#[derive(Debug, Default)]
pub struct TxErrors {
    /// All that there were.
    pub total: u64,
    row: u32,
    since: Time,
}

/// Failed sends in a row after which a member's port is given up. One or two may be a frame's
/// own fault (a route of its size, a filter); a full batch of a quarter of them is the device's.
const ERRORS: u32 = 8;

/// The span in which they must fall: a port that fails once in a while does not fail for good.
const ERRORS_WITHIN: Time = Time::from_millis(100);

impl TxErrors {
    /// A send came to `sent` frames sent and `failed` refused for good; answers how many have
    /// failed in a row once that is too many.
    pub fn count(&mut self, now: Time, sent: u64, failed: u64) -> Option<u32> {
        self.total += failed;
        if sent > 0 || (self.row > 0 && now.since(self.since) > ERRORS_WITHIN) {
            self.row = 0;
        }
        if failed == 0 {
            return None;
        }
        if self.row == 0 {
            self.since = now;
        }
        self.row = self
            .row
            .saturating_add(u32::try_from(failed).unwrap_or(u32::MAX));
        (self.row >= ERRORS).then(|| core::mem::take(&mut self.row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_s_time_is_measured_where_frames_wait() {
        let mut pace = Pace {
            bytes: 10_000,
            ..Pace::default()
        };
        assert_eq!(pace.backlog_ns(), 8_000);
        // A device of 80 ns per byte: it takes a tenth in 80 us, again and again.
        let mut now = Time(1_000_000);
        pace.sent(now, 10, 9);
        for _ in 0..100 {
            pace.bytes = 10_000;
            now = now + Time(80_000);
            pace.sent(now, 10, 9);
        }
        let expected = 9_000 * 80;
        assert!(pace.backlog_ns().abs_diff(expected) < expected / 100);
        pace.sent(now, 9, 0);
        assert_eq!(pace.backlog_ns(), 0);
    }

    #[test]
    fn a_device_s_own_queue_counts_and_is_measured_while_it_works() {
        let mut pace = Pace::default();
        pace.looked(Time(0), 0);
        assert_eq!(pace.backlog_ns(), 0);
        // It takes all at once, and sends a byte in 8 ns: 1 Gbit/s.
        let mut now = Time(1_000);
        pace.pushed(1_000_000);
        pace.sent(now, 1, 0);
        for unsent in (0..=100).rev().map(|left| left * 10_000) {
            pace.looked(now, unsent);
            if unsent > 0 {
                let expected = unsent as f64 * pace.ns_per_byte;
                assert_eq!(pace.backlog_ns(), expected as u64);
            }
            now = now + Time(80_000);
        }
        assert_eq!(pace.backlog_ns(), 0);
        assert!(
            (pace.ns_per_byte - 8.0).abs() < 0.01,
            "{}",
            pace.ns_per_byte
        );
        // Idle time is no work.
        pace.looked(now + Time::from_millis(100), 0);
        pace.pushed(1_000);
        pace.sent(now, 1, 0);
        pace.looked(now + Time::from_millis(200), 1_000);
        assert_eq!(pace.backlog_ns(), (1_000.0 * pace.ns_per_byte) as u64);
        assert!((pace.ns_per_byte - 8.0).abs() < 0.01);
    }

    #[test]
    fn only_errors_in_a_row_and_close_together_condemn() {
        let mut errors = TxErrors::default();
        for n in 0..100 {
            assert_eq!(errors.count(Time::from_millis(20 * n), 0, 1), None);
        }
        for n in 0..100 {
            assert_eq!(errors.count(Time(10_000_000_000 + n), n % 2, 1), None);
        }
        let mut errors = TxErrors::default();
        let late = |n: u64| Time::from_millis(20_000 + n);
        let told: Vec<u64> = (1..=8)
            .filter(|&n| errors.count(late(n), 0, 1).is_some())
            .collect();
        assert_eq!(told, [8]);
        assert_eq!(errors.total, 8);
    }
}
