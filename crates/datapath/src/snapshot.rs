//! Everything there is to see, as a plain value.

use std::collections::BTreeMap;

use esprit_crypto::EngineSnapshot;
use serde::Serialize;

use crate::counters::Traffic;

/// The state of the data plane at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// Nanoseconds of the data plane's clock.
    pub time: u64,
    /// The last link epoch.
    pub link_epoch: u64,
    /// By team.
    pub teams: BTreeMap<u32, TeamSnapshot>,
    /// By member.
    pub members: BTreeMap<u32, MemberSnapshot>,
    /// By engine.
    pub engines: BTreeMap<u32, EngineSnapshot>,
    /// By SA.
    pub sas: BTreeMap<u32, SaSnapshot>,
    /// By policy.
    pub policies: BTreeMap<u32, Traffic>,
    /// Buffers out with somebody, and made so far.
    pub buffers: BufferSnapshot,
}

/// A team.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TeamSnapshot {
    /// The Plan in force; none: the doors are closed.
    pub epoch: Option<u64>,
    /// The members that send, in order of their id.
    pub active: Vec<u32>,
    /// The member that receives.
    pub receiver: Option<u32>,
    /// From the host.
    pub rx: Traffic,
    /// To the host.
    pub tx: Traffic,
    /// By reason.
    pub drops: BTreeMap<&'static str, u64>,
}

/// A member.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MemberSnapshot {
    /// Its team.
    pub team: u32,
    /// Whether its link is up.
    pub up: bool,
    /// The link epoch at which it was found dead.
    pub latched: Option<u64>,
    /// From the wire.
    pub rx: Traffic,
    /// To the wire.
    pub tx: Traffic,
    /// Frames that wait for the device.
    pub queued: usize,
    /// By reason.
    pub drops: BTreeMap<&'static str, u64>,
}

/// An SA.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SaSnapshot {
    /// Its SPI.
    pub spi: u32,
    /// `out` or `in`.
    pub direction: &'static str,
    /// Sealed, or opened and accepted.
    pub traffic: Traffic,
    /// Outbound: the next number. Inbound: the highest accepted.
    pub seq: u64,
    /// Outbound: numbers below it may be used.
    pub granted: Option<u64>,
    /// Accepted and not yet released.
    pub in_flight: usize,
    /// By reason.
    pub drops: BTreeMap<&'static str, u64>,
}

/// Buffers.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BufferSnapshot {
    /// Small ones in use.
    pub small: usize,
    /// Large ones in use.
    pub large: usize,
    /// Small ones made.
    pub small_made: usize,
    /// Large ones made.
    pub large_made: usize,
}
