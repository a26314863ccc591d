//! Everything there is to see, as a plain value.

use std::collections::BTreeMap;

use esprit_crypto::{EngineSnapshot, Queues};
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
    /// What waits for an engine, by class.
    pub queues: Queues,
}

/// What members and shares of the flow hash had to do: what is looked at every second, and with
/// many SAs a small part of a [`Snapshot`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Loads {
    /// Nanoseconds of the data plane's clock.
    pub time: u64,
    /// By team.
    pub teams: BTreeMap<u32, TeamLoad>,
    /// By member.
    pub members: BTreeMap<u32, MemberLoad>,
}

/// What a team had to do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TeamLoad {
    /// As [`TeamSnapshot::shares`].
    pub shares: Vec<u64>,
}

/// What a member has to do, and what its wire was seen to take.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MemberLoad {
    /// Its team.
    pub team: u32,
    /// As [`MemberSnapshot::queued`].
    pub queued: usize,
    /// As [`MemberSnapshot::foreign`].
    pub foreign: Option<bool>,
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
    /// Bytes from the host by share of the transmit table, as long as it; single associations,
    /// which do not go by shares, left out.
    pub shares: Vec<u64>,
    /// How often the host's frames waited because flows moved.
    pub held: u64,
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
    /// Whether its probes say that it hears and is heard; true where it is not probed.
    pub heard: bool,
    /// The link epoch at which it was found dead.
    pub latched: Option<u64>,
    /// From the wire.
    pub rx: Traffic,
    /// To the wire.
    pub tx: Traffic,
    /// Frames that wait for the device.
    pub queued: usize,
    /// Packets sent here with the source address of another member, whose they are.
    pub direct: u64,
    /// Whether its wire takes a foreign source address; none: not tried, or not known yet.
    pub foreign: Option<bool>,
    /// Probes that it sent.
    pub probes_sent: u64,
    /// Probes that it heard.
    pub probes_heard: u64,
    /// Rounds in which it had no working path.
    pub probes_missed: u64,
    /// Sends that failed for good.
    pub tx_errors: u64,
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
