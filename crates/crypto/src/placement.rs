//! Placement: which engine does a job. A pure function of the grants and the queues.
//!
//! Primary use comes first: a member's traffic is done by that member's own engine. What it
//! lacks, or cannot take within the limit, becomes secondary work: the first tier with an
//! engine whose expected completion lies within the class's spill limit, and in it the
//! cheapest by one formula, in nanoseconds:
//!
//! ```text
//! cost = backlog + packets x ns_per_packet + bytes x ns_per_byte + key + latency + transfer + bias
//! ```
//!
//! where `key` is the time to install the job's key on an engine that does not hold it.
//!
//! Where no tier keeps within its limit, the cheapest engine that still has room takes the job.
//! Equal costs go to the engine that was admitted first, so that every run decides alike.
//!
//! - [`board`]: what is read for every job, packed; [`lanes`]: a team's grants and the search.
//! - [`explain`]: the same decision in slow motion, for people, and for a [`Placer`] of theirs.

pub(crate) mod board;
pub(crate) mod explain;
mod headroom;
pub(crate) mod lanes;
mod search;

use esprit_packet::Time;

use crate::grants::{Class, EngineId};
use crate::job::Shape;
use crate::key::{Algorithm, Direction};
use crate::seats::SeatSet;

pub use explain::{Candidate, Verdict};

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Now.
    pub now: Time,
    /// With what.
    pub algorithm: Algorithm,
    /// Seal or open.
    pub direction: Direction,
    /// How much.
    pub shape: Shape,
    /// Bytes of memory that it will keep busy.
    pub memory: u64,
    /// Whose traffic.
    pub member: Option<u32>,
    /// An application's.
    pub application: bool,
    /// Seats that need not install its key first.
    pub holders: SeatSet,
    /// Seats that have to give up another key for it.
    pub crowded: SeatSet,
    /// Seats that lack what the SA of its key needs.
    pub lacking: SeatSet,
    /// Seats that are out of the question.
    pub exclude: SeatSet,
    /// Seats that have no room for it, whatever they hold: others wait for that room.
    pub closed: SeatSet,
}

impl Ask {
    /// A job of `packets` packets and `bytes` bytes together, as it would be asked for with a key
    /// that every engine holds.
    #[must_use]
    pub fn new(
        now: Time,
        algorithm: Algorithm,
        direction: Direction,
        member: Option<u32>,
        packets: u32,
        bytes: u64,
    ) -> Self {
        Self {
            now,
            algorithm,
            direction,
            shape: Shape {
                packets,
                bytes,
                dst_len: bytes as usize,
                gaps: false,
            },
            // Read and written.
            memory: 2 * bytes,
            member,
            application: false,
            holders: SeatSet::ALL,
            crowded: SeatSet::EMPTY,
            lacking: SeatSet::EMPTY,
            exclude: SeatSet::EMPTY,
            closed: SeatSet::EMPTY,
        }
    }
}

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The engine's seat.
    pub(crate) seat: usize,
    /// The use that this is.
    pub(crate) class: Class,
    /// Work in it, in nanoseconds of one of the engine's lanes.
    pub(crate) service_ns: u64,
    /// Nanoseconds until it is expected back.
    pub(crate) expected_ns: u64,
}

/// Somebody else's idea of placement, for experiments: it replaces the formula, not the grants.
pub trait Placer: Send {
    /// Picks one of `candidates`, which all may do the job and have room for it; with `None`
    /// the job waits.
    fn place(&mut self, ask: &Ask, candidates: &[Candidate]) -> Option<EngineId>;
}
