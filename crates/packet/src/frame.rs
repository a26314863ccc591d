//! Frames as they travel between the rooms.

use smallvec::SmallVec;

use crate::buf::{Buf, SharedBuf};
use crate::vnet_hdr::VnetHdr;

/// A frame as a port received it: Ethernet header first, VLAN tags in place.
#[derive(Debug)]
pub struct RxFrame {
    /// What the kernel said about checksum and segments.
    pub vnet: VnetHdr,
    /// The frame.
    pub buf: Buf,
}

impl RxFrame {
    /// How many packets it stands for.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.vnet.packets(self.buf.len())
    }
}

/// A run of bytes in a shared buffer.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The buffer.
    pub buf: SharedBuf,
    /// First byte, from the start of the buffer's data.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Slice {
    /// The whole of a buffer.
    #[must_use]
    pub fn whole(buf: SharedBuf) -> Self {
        let end = u32::try_from(buf.len()).unwrap_or(u32::MAX);
        Self { buf, start: 0, end }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buf.data()[self.start as usize..self.end as usize]
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }
}

/// A frame to be sent: `head`, then `body`, gathered by the port without a copy of ours.
/// A super-frame opened from 45 ESP packets has 45 slices; a passed-on frame has an empty
/// head and one slice.
#[derive(Clone, Debug, Default)]
pub struct TxFrame {
    /// Checksum and segmentation left to the kernel or the NIC.
    pub vnet: VnetHdr,
    /// Headers written for this frame (Ethernet + VLAN + IPv6 + UDP, or Ethernet + IP + TCP
    /// with options: at most 14 + 8 + 40 + 60).
    pub head: SmallVec<[u8; 128]>,
    /// The rest, in order.
    pub body: SmallVec<[Slice; 2]>,
}

impl TxFrame {
    /// A frame passed on as it was received.
    #[must_use]
    pub fn pass(frame: RxFrame) -> Self {
        Self {
            vnet: frame.vnet,
            head: SmallVec::new(),
            body: smallvec::smallvec![Slice::whole(frame.buf.share())],
        }
    }

    /// Length in bytes, from the Ethernet header on.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.body.iter().map(Slice::len).sum::<usize>()
    }

    /// How many packets it stands for.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.vnet.packets(self.len())
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame as one run of bytes; for tests, captures and memory ports.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = self.head.to_vec();
        for slice in &self.body {
            bytes.extend_from_slice(slice.bytes());
        }
        bytes
    }
}
