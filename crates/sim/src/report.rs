//! What a run came to, as plain values.

use std::collections::BTreeMap;

use esprit_crypto::Direction;
use serde::Serialize;

use crate::checks::Violation;
use crate::engine::Predicted;

/// A distribution of times, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half are at most this.
    pub p50: u64,
    /// 99 of 100 are at most this.
    pub p99: u64,
    /// All are.
    pub max: u64,
}

impl Latency {
    /// Of these samples, which it sorts.
    #[must_use]
    pub fn of(samples: &mut [u64]) -> Self {
        samples.sort_unstable();
        let at = |percent: usize| {
            let index = (samples.len() * percent).div_ceil(100).saturating_sub(1);
            samples.get(index).copied().unwrap_or(0)
        };
        Self {
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

/// What became of one source's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Packets.
    pub sent: u64,
    /// Arrived.
    pub delivered: u64,
    /// Found the host's own queue full.
    pub refused: u64,
    /// Lost on a wire that was dead or deaf.
    pub wire_lost: u64,
}

/// What became of one source's packets since the window began.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FlowReport {
    /// Its name.
    pub name: String,
    /// Of the whole run.
    pub total: Totals,
    /// Packets.
    pub sent: u64,
    /// Bytes of IP packets.
    pub sent_bytes: u64,
    /// Arrived.
    pub delivered: u64,
    /// Bytes of IP packets that arrived.
    pub delivered_bytes: u64,
    /// From the source to the end of the packet's last bit on the wire, or to the host.
    pub latency: Latency,
}

/// What became of one application's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Asked for.
    pub asked: u64,
    /// Done.
    pub done: u64,
    /// No engine may do them.
    pub no_engine: u64,
    /// Engines failed at them again and again, or none could take them.
    pub lost: u64,
}

/// What an application had of the pool since the window began.
#[derive(Clone, Debug, Serialize)]
pub struct ApplicationReport {
    /// Its name.
    pub name: String,
    /// What it asks for.
    pub direction: Direction,
    /// Of the whole run.
    pub total: Ended,
    /// Messages done.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From asking to the result.
    pub latency: Latency,
}

/// Something that happened, with its details as `key=value`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventRow {
    /// When.
    pub time: u64,
    /// What.
    pub kind: String,
    /// More.
    pub details: String,
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Nanoseconds of virtual time.
    pub time: u64,
    /// Nanoseconds since the window began.
    pub window: u64,
    /// By source.
    pub traffic: Vec<FlowReport>,
    /// By application, in the order in which they were added.
    pub applications: Vec<ApplicationReport>,
    /// By reason, of the whole run.
    pub drops: BTreeMap<String, u64>,
    /// Frames handed over, by member, of the whole run.
    pub member_frames: BTreeMap<u32, u64>,
    /// IP bytes delivered since the window began, by member.
    pub member_bytes: BTreeMap<u32, u64>,
    /// Packets that left behind later ones of their SA by another member.
    pub overtaken: u64,
    /// Times that a switch would have seen an address at another port than before.
    pub address_moves: u64,
    /// How well completions were foretold.
    pub predicted: Predicted,
    /// Packets that a lying engine spoiled, unseen.
    pub spoiled: u64,
    /// Messages of applications, likewise.
    pub spoiled_messages: u64,
    /// Steps of the worker.
    pub steps: u64,
    /// Most frames that a member's queue held.
    pub queued_most: usize,
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut samples: Vec<u64> = (1..=200).rev().collect();
        let latency = Latency::of(&mut samples);
        assert_eq!((latency.p50, latency.p99, latency.max), (100, 198, 200));
        assert_eq!(Latency::of(&mut []), Latency::default());
    }
}
