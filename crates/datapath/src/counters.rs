//! Packets and bytes.

use serde::Serialize;

/// What passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Packets; a super-frame counts as its segments.
    pub packets: u64,
    /// Bytes from the Ethernet header on.
    pub bytes: u64,
}

impl Traffic {
    /// Counts `packets` of `bytes` together.
    pub fn count(&mut self, packets: u64, bytes: u64) {
        self.packets += packets;
        self.bytes += bytes;
    }
}

/// What a running sum has grown by since it was looked at last.
pub(crate) fn newly(seen: &mut u64, sum: u64) -> u64 {
    sum.saturating_sub(core::mem::replace(seen, sum))
}
