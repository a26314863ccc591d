//! What a port counts.

use esprit_packet::VnetHdr;
use serde::Serialize;

/// Frames and bytes that passed a port, and frames that did not, by reason. A super-frame is
/// one frame; bytes count from the Ethernet header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortCounters {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames that came while the pool had no buffer.
    pub rx_no_buffer: u64,
    /// Frames longer than any buffer of ours, and runts without an Ethernet header.
    pub rx_bad_length: u64,
    /// Merged frames that the virtio-net header cannot describe (EINVAL from the kernel).
    pub rx_undescribed: u64,
    /// Frames that the kernel dropped because the socket's buffer was full.
    pub rx_kernel_drops: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Packets sent: a super-frame stands for its segments.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Times that the device would take no more (EAGAIN, ENOBUFS); nothing was lost.
    pub tx_full: u64,
    /// Frames dropped, whatever the reason; the sum of the three that follow.
    pub tx_dropped: u64,
    /// Dropped: longer than the device's MTU (EMSGSIZE).
    pub tx_too_big: u64,
    /// Dropped: malformed, or its virtio-net header does not fit it (EINVAL).
    pub tx_invalid: u64,
    /// Dropped: refused for another reason; the caller is told the errno.
    pub tx_refused: u64,
}

/// Why a frame can never be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TxDrop {
    TooBig,
    Invalid,
    Refused,
}

impl PortCounters {
    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &Self) {
        // No `..`: a new counter does not compile until it is added here.
        let Self {
            rx_frames,
            rx_bytes,
            rx_no_buffer,
            rx_bad_length,
            rx_undescribed,
            rx_kernel_drops,
            tx_frames,
            tx_packets,
            tx_bytes,
            tx_full,
            tx_dropped,
            tx_too_big,
            tx_invalid,
            tx_refused,
        } = other;
        self.rx_frames += rx_frames;
        self.rx_bytes += rx_bytes;
        self.rx_no_buffer += rx_no_buffer;
        self.rx_bad_length += rx_bad_length;
        self.rx_undescribed += rx_undescribed;
        self.rx_kernel_drops += rx_kernel_drops;
        self.tx_frames += tx_frames;
        self.tx_packets += tx_packets;
        self.tx_bytes += tx_bytes;
        self.tx_full += tx_full;
        self.tx_dropped += tx_dropped;
        self.tx_too_big += tx_too_big;
        self.tx_invalid += tx_invalid;
        self.tx_refused += tx_refused;
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        self.rx_frames += 1;
        self.rx_bytes += bytes as u64;
    }

    /// A frame of `bytes` bytes was sent.
    pub fn sent(&mut self, vnet: &VnetHdr, bytes: usize) {
        self.tx_frames += 1;
        self.tx_packets += vnet.packets(bytes);
        self.tx_bytes += bytes as u64;
    }

    pub(crate) fn refused(&mut self, reason: TxDrop) {
        self.tx_dropped += 1;
        match reason {
            TxDrop::TooBig => self.tx_too_big += 1,
            TxDrop::Invalid => self.tx_invalid += 1,
            TxDrop::Refused => self.tx_refused += 1,
        }
    }
}
