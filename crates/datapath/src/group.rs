//! Sealed packets that leave together: as one UDP super-frame, or one by one.

use esprit_ipsec::encap::{OuterTemplate, UDP_CHECKSUM};
use esprit_packet::vnet_hdr::{GSO_UDP_L4, NEEDS_CSUM};
use esprit_packet::{Body, SharedBuf, Slice, TxFrame, VnetHdr};
use smallvec::SmallVec;

use crate::l2;
use crate::plan::Mac;

/// Segments of one UDP super-frame at most: UDP_MAX_SEGMENTS of linux/udp.h before 6.9 (later
/// kernels take 128).
const GSO_SEGMENTS: u32 = 64;

/// Bytes of ESP in one UDP super-frame at most: an IP packet of 65,535 less IPv6 and UDP headers.
const GSO_BYTES: u32 = 65_535 - 40 - 8;

/// Sealed packets that leave by the same member behind the same outer header, as one UDP
/// super-frame or one by one.
#[derive(Debug)]
pub struct Group {
    pub(crate) member: u32,
    /// Ethernet header; its source is written at release, by the member that sends.
    pub(crate) eth: l2::Header,
    pub(crate) outer: OuterTemplate,
    /// Where the first ESP packet lies in the job's output.
    pub(crate) start: u32,
    pub(crate) count: u32,
    /// Bytes of each ESP packet but the last.
    pub(crate) each: u32,
    /// Bytes of the last.
    pub(crate) last: u32,
}

impl Group {
    /// A group of no packet yet.
    pub(crate) fn new(member: u32, eth: l2::Header, outer: OuterTemplate) -> Self {
        Self {
            member,
            eth,
            outer,
            start: 0,
            count: 0,
            each: 0,
            last: 0,
        }
    }

    /// A group of no packet yet, behind the same headers.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.member, self.eth.clone(), self.outer.clone())
    }

    pub(crate) fn bytes(&self) -> u32 {
        self.each * self.count.saturating_sub(1) + self.last
    }

    /// Takes one more ESP packet of `len` bytes, which lies at `start` in the job's output; false
    /// where it cannot: all but the last are of one size.
    pub(crate) fn join(&mut self, start: u32, len: u32) -> bool {
        if self.count == 0 {
            (self.start, self.each) = (start, len);
        } else if self.last != self.each
            || len > self.each
            || self.count >= GSO_SEGMENTS
            || self.bytes() + len > GSO_BYTES
        {
            return false;
        }
        self.count += 1;
        self.last = len;
        true
    }

    /// The frame that carries the ESP bytes `start..start + len` of `sealed`.
    pub(crate) fn frame(
        &self,
        mac: Mac,
        id: u16,
        start: u32,
        len: u32,
        sealed: &SharedBuf,
    ) -> TxFrame {
        let segmented = len > self.each;
        let mut head: SmallVec<[u8; 128]> = SmallVec::from_slice(&self.eth);
        l2::set_source(&mut head, mac);
        let checksum = self.outer.write(&mut head, id, len as usize, segmented);
        let mut vnet = VnetHdr {
            hdr_len: head.len() as u16,
            ..VnetHdr::default()
        };
        if let Some(udp) = checksum {
            vnet.flags = NEEDS_CSUM;
            vnet.csum_start = udp as u16;
            vnet.csum_offset = UDP_CHECKSUM as u16;
        }
        if segmented {
            vnet.gso_type = GSO_UDP_L4;
            vnet.gso_size = self.each as u16;
        }
        TxFrame {
            vnet,
            head,
            body: Body::from(Slice {
                buf: sealed,
                start,
                end: start + len,
            }),
        }
    }
}
