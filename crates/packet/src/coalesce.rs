//! TCP segments joined again before they go to the host: the reverse of `segment.rs`.
//!
//! The rules are those of the kernel's own receive offload (linux/net/ipv4/tcp_offload.c,
//! tcp_gro_receive): joined is only what cutting the result again gives back as it was.
//! Checksums are verified first, since the joined frame gets a new one. The payload is not
//! copied: the frame's body is a list of slices.
//!
//! Packets of one flow leave in the order in which they came; of different flows, they may not.

use smallvec::SmallVec;
use zerocopy::FromBytes;

use crate::body::{Body, Slice};
use crate::checksum::Sum;
use crate::flow::FlowKey;
use crate::frame::TxFrame;
use crate::header::{Ethernet, Ipv4, Ipv6, Tcp, protocol};
use crate::parse::{Fragment, Net, Parsed};
use crate::vnet_hdr::{DATA_VALID, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, VnetHdr};

/// Segments in one frame at most: what 64 KiB hold of segments of 1 KiB.
pub const MAX_SEGMENTS: usize = 64;

/// Flows open at once; the oldest makes room. A batch of 64 frames rarely holds more.
pub const MAX_FLOWS: usize = 16;

/// Joins TCP segments of one batch.
#[derive(Debug)]
pub struct Coalescer {
    max_bytes: usize,
    flows: Vec<Flow>,
    /// Which of them took the packet that was pushed last, if one did and is still open.
    last: Option<usize>,
}

impl Coalescer {
    /// Joined packets grow to at most `max_bytes` from layer 3 on, and never beyond what the
    /// length fields of IP can say.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes: max_bytes.min(usize::from(u16::MAX)),
            flows: Vec::with_capacity(MAX_FLOWS),
            last: None,
        }
    }

    /// Takes a packet from its IP header on, of which `parse_packet` made `parsed`, that goes
    /// up behind `eth`. Appends the frames that this completes to `out`.
    pub fn push(
        &mut self,
        eth: &[u8; Ethernet::LEN],
        packet: Slice<'_>,
        parsed: &Parsed,
        out: &mut Vec<TxFrame>,
    ) {
        self.last = None;
        if parsed.protocol != protocol::TCP && parsed.fragment == Fragment::Whole {
            out.push(alone(eth, packet, 0));
            return;
        }
        let key = FlowKey::of(parsed);
        let end = parsed.end as usize;
        let Some(candidate) = Candidate::of(packet.bytes(), parsed, end) else {
            self.finish_related(&key, parsed.fragment, out);
            out.push(alone(eth, packet, 0));
            return;
        };
        if let Some(at) = self.flows.iter().position(|flow| flow.key == key) {
            if self.flows[at].continues(eth, &candidate, self.max_bytes) {
                let facts = candidate.facts;
                self.extend(at, packet, facts, out);
                return;
            }
            out.push(self.flows.remove(at).finish());
        }
        if candidate.facts.ends() {
            out.push(alone(eth, packet, DATA_VALID));
            return;
        }
        let flow = Flow::new(eth, key, &candidate, packet);
        if self.flows.len() == MAX_FLOWS {
            out.push(self.flows.remove(0).finish());
        }
        self.last = Some(self.flows.len());
        self.flows.push(flow);
    }

    /// As [`Coalescer::push`], where addresses, ports and the kinds of headers are those of the
    /// packet that was pushed last, and `parsed` is of one of those before; the end of `packet` is
    /// its own.
    pub fn push_next(
        &mut self,
        eth: &[u8; Ethernet::LEN],
        packet: Slice<'_>,
        parsed: &Parsed,
        out: &mut Vec<TxFrame>,
    ) {
        let end = packet.len();
        if let Some(at) = self.last
            && let Some(candidate) = Candidate::of(packet.bytes(), parsed, end)
            && self.flows[at].continues(eth, &candidate, self.max_bytes)
        {
            let facts = candidate.facts;
            self.extend(at, packet, facts, out);
            return;
        }
        let end = end as u32;
        self.push(eth, packet, &Parsed { end, ..*parsed }, out);
    }

    /// Joins a packet to a flow that it continues.
    fn extend(&mut self, at: usize, packet: Slice<'_>, facts: Facts, out: &mut Vec<TxFrame>) {
        let flow = &mut self.flows[at];
        let complete = facts.ends() || facts.len < flow.size;
        flow.extend(packet, facts);
        self.last = (!complete).then_some(at);
        if complete {
            out.push(self.flows.remove(at).finish());
        }
    }

    /// Packets that are open.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.flows
            .iter()
            .map(|flow| flow.body.pieces().max(1))
            .sum()
    }

    /// Ends the batch: all that is open goes to `out`, the oldest flow first.
    pub fn flush(&mut self, out: &mut Vec<TxFrame>) {
        self.last = None;
        out.extend(self.flows.drain(..).map(Flow::finish));
    }

    /// Finishes what a packet that cannot be joined must not overtake: its own flow, and where
    /// it is a fragment and so does not tell its flow, all between its addresses.
    fn finish_related(&mut self, key: &FlowKey, fragment: Fragment, out: &mut Vec<TxFrame>) {
        while let Some(at) = self.flows.iter().position(|flow| match fragment {
            Fragment::Whole => flow.key == *key,
            Fragment::First | Fragment::Later => flow.key.src == key.src && flow.key.dst == key.dst,
        }) {
            out.push(self.flows.remove(at).finish());
        }
    }
}

/// A packet as it is.
fn alone(eth: &[u8], packet: Slice<'_>, flags: u8) -> TxFrame {
    TxFrame {
        vnet: VnetHdr {
            flags,
            ..VnetHdr::default()
        },
        head: SmallVec::from_slice(eth),
        body: Body::from(packet),
    }
}

/// A packet that could be part of a joined one, and what is asked of it.
struct Candidate<'a> {
    network: &'a [u8],
    tcp: &'a Tcp,
    options: &'a [u8],
    facts: Facts,
}

/// What a flow takes over from a segment.
#[derive(Clone, Copy)]
struct Facts {
    /// Bytes of headers, and of payload.
    header: usize,
    len: usize,
    /// Identification of an IPv4 packet; zero of an IPv6 packet, which has none.
    id: u16,
    /// FIN and PSH.
    flags: u8,
}

impl Facts {
    /// Nothing is joined behind FIN or PSH.
    const fn ends(self) -> bool {
        self.flags != 0
    }

    /// The payload in `packet`, of which these are the facts.
    fn payload(self, packet: Slice<'_>) -> Slice<'_> {
        let start = packet.start + self.header as u32;
        Slice {
            start,
            end: start + self.len as u32,
            ..packet
        }
    }
}

impl<'a> Candidate<'a> {
    /// TCP data with ACK and at most ECE, PSH and FIN, no IPv4 options, no extension headers, and
    /// right checksums. It ends at `end`, whatever `parsed` says.
    fn of(bytes: &'a [u8], parsed: &Parsed, end: usize) -> Option<Self> {
        let l4 = usize::from(parsed.l4);
        let plain = match parsed.net {
            Net::Ipv4 => l4 == Ipv4::LEN,
            Net::Ipv6 => l4 == Ipv6::LEN,
            Net::Arp | Net::Encapsulated(_) | Net::Other(_) => false,
        };
        let header = parsed.payload as usize;
        if !plain
            || parsed.protocol != protocol::TCP
            || parsed.fragment != Fragment::Whole
            || header == end
        {
            return None;
        }
        let segment = bytes.get(l4..end)?;
        let (tcp, _) = Tcp::ref_from_prefix(segment).ok()?;
        let others = Tcp::SYN | Tcp::RST | Tcp::URG | Tcp::CWR;
        if tcp.flags & (Tcp::ACK | others) != Tcp::ACK {
            return None;
        }
        if parsed.net == Net::Ipv4 && !parsed.header_checksum_ok(bytes) {
            return None;
        }
        let sum = Sum::default()
            .pseudo(parsed.src, parsed.dst, protocol::TCP, segment.len() as u32)
            .add(segment);
        if sum.finish() != 0 {
            return None;
        }
        let network = &bytes[..l4];
        Some(Self {
            network,
            tcp,
            options: &bytes[l4 + Tcp::LEN..header],
            facts: Facts {
                header,
                len: end - header,
                id: Ipv4::ref_from_bytes(network).map_or(0, |ip| ip.id.get()),
                flags: tcp.flags & (Tcp::PSH | Tcp::FIN),
            },
        })
    }
}

/// A frame in the making.
#[derive(Debug)]
struct Flow {
    key: FlowKey,
    /// Ethernet header, and layer 3 and 4 headers of the first segment.
    head: SmallVec<[u8; 128]>,
    /// Length of the layer 3 header.
    l3_len: usize,
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
    fn new(
        eth: &[u8; Ethernet::LEN],
        key: FlowKey,
        candidate: &Candidate<'_>,
        first: Slice<'_>,
    ) -> Self {
        let mut head = SmallVec::from_slice(eth);
        head.extend_from_slice(&first.bytes()[..candidate.facts.header]);
        Self {
            key,
            head,
            l3_len: candidate.network.len(),
            body: Body::from(candidate.facts.payload(first)),
            size: candidate.facts.len,
            payload: candidate.facts.len,
            next_seq: candidate
                .tcp
                .seq
                .get()
                .wrapping_add(candidate.facts.len as u32),
            next_id: candidate.facts.id.wrapping_add(1),
            flags: 0,
        }
    }

    /// Whether this segment is the next, and like the ones before in all but number, length,
    /// identification, checksum, FIN and PSH.
    fn continues(
        &self,
        eth: &[u8; Ethernet::LEN],
        candidate: &Candidate<'_>,
        max_bytes: usize,
    ) -> bool {
        let (first_eth, headers) = self.head.split_at(Ethernet::LEN);
        let (network, transport) = headers.split_at(self.l3_len);
        let Ok((first, options)) = Tcp::ref_from_prefix(transport) else {
            return false;
        };
        let (tcp, len) = (candidate.tcp, candidate.facts.len);
        tcp.seq.get() == self.next_seq
            && len <= self.size
            && self.body.pieces() < MAX_SEGMENTS
            && headers.len() + self.payload + len <= max_bytes
            && first_eth == eth
            && tcp.ack == first.ack
            && tcp.offset == first.offset
            && (tcp.flags ^ first.flags) & !(Tcp::PSH | Tcp::FIN) == 0
            && tcp.window == first.window
            && tcp.urgent == first.urgent
            && candidate.options == options
            && self.same_network(network, candidate)
    }

    /// Whether an IP header says the same as the first one's.
    fn same_network(&self, first: &[u8], candidate: &Candidate<'_>) -> bool {
        let next = candidate.network;
        if let (Ok(first), Ok(next)) = (Ipv4::ref_from_bytes(first), Ipv4::ref_from_bytes(next)) {
            // The identification counts up, as it will when the joined packet is cut, or is
            // zero in all: it means nothing where DF is set (RFC 6864 section 4.1).
            let unused =
                next.fragment.get() & Ipv4::DF != 0 && first.id.get() == 0 && next.id.get() == 0;
            return next.tos == first.tos
                && next.fragment == first.fragment
                && next.ttl == first.ttl
                && (next.id.get() == self.next_id || unused);
        }
        match (Ipv6::ref_from_bytes(first), Ipv6::ref_from_bytes(next)) {
            (Ok(first), Ok(next)) => {
                next.version_class_flow == first.version_class_flow
                    && next.hop_limit == first.hop_limit
            }
            _ => false,
        }
    }

    fn extend(&mut self, packet: Slice<'_>, facts: Facts) {
        self.body.push(facts.payload(packet));
        self.payload += facts.len;
        self.next_seq = self.next_seq.wrapping_add(facts.len as u32);
        self.next_id = facts.id.wrapping_add(1);
        self.flags |= facts.flags;
    }

    /// The frame: the first packet as it came, or headers for all of them.
    fn finish(mut self) -> TxFrame {
        let (eth, headers) = self.head.split_at_mut(Ethernet::LEN);
        if self.body.pieces() == 1
            && let Some(payload) = self.body.first()
        {
            // As it came: its headers stand before its payload.
            let start = payload.start - headers.len() as u32;
            return alone(eth, Slice { start, ..payload }, DATA_VALID);
        }
        let total = headers.len() + self.payload;
        let (network, transport) = headers.split_at_mut(self.l3_len);
        let gso_type = join_network(network, total);
        if let Ok((tcp, _)) = Tcp::mut_from_prefix(transport) {
            tcp.flags |= self.flags;
            let (src, dst) = (self.key.src, self.key.dst);
            let len = (total - self.l3_len) as u32;
            let pseudo = Sum::default().pseudo(src, dst, protocol::TCP, len);
            tcp.checksum.set(pseudo.partial());
        }
        TxFrame {
            vnet: VnetHdr {
                flags: NEEDS_CSUM,
                gso_type,
                hdr_len: self.head.len() as u16,
                gso_size: self.size as u16,
                csum_start: (Ethernet::LEN + self.l3_len) as u16,
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
