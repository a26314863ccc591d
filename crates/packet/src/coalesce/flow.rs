//! A frame in the making.

use smallvec::SmallVec;
use zerocopy::FromBytes;

use super::MAX_SEGMENTS;
use super::candidate::Candidate;
use super::likeness::{Facts, Likeness};
use crate::body::{Body, Slice};
use crate::checksum::Sum;
use crate::flow::FlowKey;
use crate::frame::TxFrame;
use crate::header::{Ethernet, Ipv4, Ipv6, Tcp, protocol};
use crate::vnet_hdr::{DATA_VALID, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, VnetHdr};

/// Segments of one flow, and what the next one has to be.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) key: FlowKey,
    /// Ethernet header, and layer 3 and 4 headers of the first segment.
    head: SmallVec<[u8; 128]>,
    likeness: Likeness,
    /// The payload of each segment.
    body: Body,
    /// Payload bytes of every segment but the last, and of all together.
    size: usize,
    payload: usize,
    next_seq: u32,
    next_id: u16,
    /// FIN and PSH of the last segment.
    flags: u8,
}

impl Flow {
    pub(super) fn new(
        eth: &[u8; Ethernet::LEN],
        key: FlowKey,
        candidate: &Candidate<'_>,
        first: Slice<'_>,
    ) -> Self {
        let facts = candidate.facts;
        let mut head = SmallVec::from_slice(eth);
        head.extend_from_slice(candidate.headers);
        Self {
            key,
            head,
            likeness: candidate.likeness.clone(),
            body: Body::from(facts.payload(first)),
            size: facts.len,
            payload: facts.len,
            next_seq: facts.seq.wrapping_add(facts.len as u32),
            next_id: facts.id.wrapping_add(1),
            flags: 0,
        }
    }

    /// How many segments.
    pub(super) fn packets(&self) -> usize {
        self.body.pieces().max(1)
    }

    /// What this packet says for itself, where it is the next segment: like the ones before in all but
    /// number, length, identification, checksums, FIN and PSH, with right checksums, and not
    /// too much.
    #[inline]
    pub(super) fn next(
        &self,
        eth: &[u8; Ethernet::LEN],
        packet: &[u8],
        max_bytes: usize,
    ) -> Option<Facts> {
        let facts = self.likeness.read(packet)?;
        let next = facts.seq == self.next_seq
            && self.likeness.follows(facts.id, self.next_id)
            && facts.len <= self.size
            && self.body.pieces() < MAX_SEGMENTS
            && facts.header + self.payload + facts.len <= max_bytes
            && self.head.first_chunk() == Some(eth);
        (next && self.likeness.transport_checksum_ok(packet, facts.end())).then_some(facts)
    }

    /// Joins the next segment; whether that is the last one.
    #[inline]
    pub(super) fn join(&mut self, packet: Slice<'_>, facts: Facts) -> bool {
        self.body.push(facts.payload(packet));
        self.payload += facts.len;
        self.next_seq = self.next_seq.wrapping_add(facts.len as u32);
        self.next_id = facts.id.wrapping_add(1);
        self.flags |= facts.flags;
        facts.ends() || facts.len < self.size
    }

    /// The frame: the first packet as it came, or headers for all of them.
    pub(super) fn finish(mut self) -> TxFrame {
        let (eth, headers) = self.head.split_at_mut(Ethernet::LEN);
        if self.body.pieces() == 1
            && let Some(payload) = self.body.first()
        {
            // As it came: its headers stand before its payload.
            let start = payload.start - headers.len() as u32;
            return TxFrame::behind(eth, Slice { start, ..payload }, DATA_VALID);
        }
        let total = headers.len() + self.payload;
        let l3_len = self.likeness.l3_len();
        let (network, transport) = headers.split_at_mut(l3_len);
        let gso_type = join_network(network, total);
        if let Ok((tcp, _)) = Tcp::mut_from_prefix(transport) {
            tcp.flags |= self.flags;
            let (src, dst) = (self.key.src, self.key.dst);
            let len = (total - l3_len) as u32;
            let pseudo = Sum::default().pseudo(src, dst, protocol::TCP, len);
            tcp.checksum.set(pseudo.partial());
        }
        TxFrame {
            vnet: VnetHdr {
                flags: NEEDS_CSUM,
                gso_type,
                hdr_len: self.head.len() as u16,
                gso_size: self.size as u16,
                csum_start: (Ethernet::LEN + l3_len) as u16,
                csum_offset: Tcp::CHECKSUM as u16,
            },
            head: self.head,
            body: self.body,
        }
    }
}

/// Writes the length of the joined packet, and IPv4's checksum, into its IP header; what is
/// to be cut again, in the words of the virtio-net header.
fn join_network(header: &mut [u8], total: usize) -> u8 {
    if let Ok(ip) = Ipv6::mut_from_bytes(header) {
        ip.payload_len.set((total - Ipv6::LEN) as u16);
        return GSO_TCPV6;
    }
    if let Ok(ip) = Ipv4::mut_from_bytes(header) {
        ip.total_len.set(total as u16);
        ip.checksum.set(0);
    }
    let sum = Sum::default().add(header).finish();
    if let Ok(ip) = Ipv4::mut_from_bytes(header) {
        ip.checksum.set(sum);
    }
    GSO_TCPV4
}
