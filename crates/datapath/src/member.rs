//! A member as the data plane holds it.

use std::collections::VecDeque;

use esprit_packet::TxFrame;

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
    /// Frames that wait for the device.
    pub tx: VecDeque<TxFrame>,
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
            tx: VecDeque::new(),
            batch: crate::worker::BATCH,
            port: Traffic2::default(),
            drops: Drops::default(),
        }
    }

    /// Whether frames can be given to it now.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.up && self.latched.is_none()
    }
}
