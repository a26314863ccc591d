//! Security associations as the worker that is their home holds them.

use std::collections::BTreeMap;
use std::sync::Arc;

use esprit_crypto::{AeadKey, EngineId, Needs};
use esprit_ipsec::replay::ReplayWindow;
use esprit_ipsec::sad::{Direction, InboundSad, SaSpec};
use esprit_ipsec::seq::SeqAllocator;
use esprit_packet::Buf;

use crate::counters::Traffic;
use crate::draft::Sealing;
use crate::inbound::Opening;
use crate::plan::Mac;
use crate::release::Release;
use crate::verdict::Drops;

/// Jobs of one SA between acceptance and release at most. Engines' queues are bounded in time
/// (5 ms), so this is reached only where one engine holds up the order while others run ahead.
pub const IN_FLIGHT: usize = 4096;

/// What an SA asks of engines: its key is made with it.
#[must_use]
pub const fn needs(spec: &SaSpec) -> Needs {
    Needs {
        esn: spec.esn,
        replay_window: match spec.direction {
            Direction::Out => 0,
            Direction::In => spec.replay_window,
        },
    }
}

/// A job that is done: the bytes, and what was known about it when it was submitted.
#[derive(Debug)]
pub struct Ready<W> {
    /// What was known.
    pub meta: W,
    /// What the engine wrote.
    pub dst: Buf,
    /// Who wrote it.
    pub engine: EngineId,
    /// Which operations failed their integrity check, a bit each.
    pub bad_icv: u64,
}

/// An outbound SA: one allocator, one order.
pub struct OutSa {
    /// As configured.
    pub spec: SaSpec,
    /// Its key, ready for the engines.
    pub key: Arc<AeadKey>,
    /// RFC 4106 section 4: the part of the nonce that is no secret and no counter.
    pub salt: [u8; 4],
    /// The only source of its sequence numbers.
    pub seq: SeqAllocator,
    /// Ethernet address of the next hop; unknown: packets are dropped and counted.
    pub next_hop: Option<Mac>,
    /// The identification of the next IPv4 packet made for it.
    pub ip_id: u16,
    /// Accepted and not yet released.
    pub release: Release<Sealing, Ready<Sealing>>,
    /// Sealed and handed to a port.
    pub traffic: Traffic,
    /// Why packets went no further.
    pub drops: Drops,
    /// Deleted: nothing new; it goes when its queue is empty.
    pub deleted: bool,
    /// Its end was reported.
    pub exhausted: bool,
}

/// An inbound SA: one replay window, one order.
pub struct InSa {
    /// As configured.
    pub spec: SaSpec,
    /// Its key.
    pub key: Arc<AeadKey>,
    /// As above.
    pub salt: [u8; 4],
    /// Moves only when an opened packet is released.
    pub replay: ReplayWindow,
    /// Being opened, in order of arrival.
    pub release: Release<Opening, Ready<Opening>>,
    /// The highest number that was told to be written down, or that it began with.
    pub told: u64,
    /// Opened and accepted.
    pub traffic: Traffic,
    /// Why packets went no further.
    pub drops: Drops,
    /// As above.
    pub deleted: bool,
}

/// All SAs of a worker.
#[derive(Default)]
pub struct Sas {
    /// Outbound, by id.
    pub outbound: BTreeMap<u32, OutSa>,
    /// Inbound, by id.
    pub inbound: BTreeMap<u32, InSa>,
    /// Inbound, by SPI and address.
    pub sad: InboundSad,
}
