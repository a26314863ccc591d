//! Frames as they travel between the rooms.

use smallvec::SmallVec;

use crate::body::{Body, Slice};
use crate::buf::Buf;
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
    pub body: Body,
}

impl TxFrame {
    /// A frame passed on as it was received.
    #[must_use]
    pub fn pass(frame: RxFrame) -> Self {
        Self {
            vnet: frame.vnet,
            head: SmallVec::new(),
            body: Body::whole(frame.buf.share()),
        }
    }

    /// A packet as it is, behind a header of its own; `flags` are the virtio-net header's.
    #[must_use]
    pub fn behind(header: &[u8], packet: Slice<'_>, flags: u8) -> Self {
        Self {
            vnet: VnetHdr {
                flags,
                ..VnetHdr::default()
            },
            head: SmallVec::from_slice(header),
            body: Body::from(packet),
        }
    }

    /// Length in bytes, from the Ethernet header on.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
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
        for part in self.body.parts() {
            bytes.extend_from_slice(part);
        }
        bytes
    }
}
