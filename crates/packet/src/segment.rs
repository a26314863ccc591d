//! Super-frames cut into segments, without a copy of the payload.
//!
//! What the kernel or a NIC would do for TSO and USO (linux/net/ipv4/tcp_offload.c,
//! udp_offload.c): headers are written anew per segment, the payload stays where it is and is
//! read once, for the checksums.

use core::ops::Range;

use zerocopy::FromBytes;

use crate::checksum::{Sum, unfinished};
use crate::header::{Ipv4, Ipv6, Tcp, Udp, protocol};
use crate::parse::{Fragment, Net, Parsed};
use crate::vnet_hdr::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VnetHdr};

/// Segments of one super-frame at most: 64 KiB of the smallest that Linux's TCP makes
/// (linux/net/tcp.h, TCP_MIN_MSS less 40 bytes of options: 48), rounded up to a power of two.
pub const MAX_SEGMENTS: usize = 2048;

/// One segment: headers from layer 3 on, and payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its layer 3 and 4 headers, checksums done, in the blob of headers.
    pub head: Range<u32>,
    /// Its payload, in the super-frame.
    pub body: Range<u32>,
}

/// Why a super-frame cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentError {
    /// The virtio-net header speaks of another protocol than the frame.
    Protocol,
    /// A segment size of zero, one that no IP packet could hold, or more than
    /// [`MAX_SEGMENTS`] segments.
    Size,
    /// An unfinished checksum that lies outside the packet, or not where it should.
    Checksum,
    /// A fragment can be no super-frame and have no unfinished checksum.
    Fragment,
    /// What was parsed was not this frame.
    Frame,
}

impl SegmentError {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Protocol,
        Self::Size,
        Self::Checksum,
        Self::Fragment,
        Self::Frame,
    ];

    /// The name, for logs and counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Size => "size",
            Self::Checksum => "checksum",
            Self::Fragment => "fragment",
            Self::Frame => "frame",
        }
    }
}

impl core::fmt::Display for SegmentError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for SegmentError {}

/// Cuts `frame` with a [`Cutter`] that has no limit of its own.
///
/// # Errors
/// [`SegmentError`]; neither `headers` nor `out` has changed.
pub fn segments(
    frame: &[u8],
    parsed: &Parsed,
    vnet: &VnetHdr,
    headers: &mut Vec<u8>,
    prefix: usize,
    tail: usize,
    out: &mut Vec<Segment>,
) -> Result<(), SegmentError> {
    let cutter = Cutter {
        prefix,
        tail,
        limit: usize::MAX,
    };
    cutter.cut(frame, parsed, vnet, headers, out)
}

/// How super-frames are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutter {
    /// Bytes left free before the headers of each segment, for what encapsulates it.
    pub prefix: usize,
    /// Bytes left free behind them.
    pub tail: usize,
    /// Payload bytes per segment that the path takes: a TCP super-frame of larger segments is
    /// cut smaller. A datagram is never cut, nor is a packet that is no super-frame.
    pub limit: usize,
}

impl Cutter {
    /// Cuts `frame`, from which `parsed` was made. Appends `[prefix | headers | tail]` per
    /// segment to `headers` and the segments to `out`. The gaps are zero.
    ///
    /// A frame that is no super-frame is one segment. Where its checksum is unfinished, its
    /// head is what was parsed as headers or all up to that checksum, whichever is longer.
    ///
    /// # Errors
    /// [`SegmentError`]; neither `headers` nor `out` has changed.
    pub fn cut(
        &self,
        frame: &[u8],
        parsed: &Parsed,
        vnet: &VnetHdr,
        headers: &mut Vec<u8>,
        out: &mut Vec<Segment>,
    ) -> Result<(), SegmentError> {
        let (l3, payload, end) = (
            usize::from(parsed.l3),
            parsed.payload as usize,
            parsed.end as usize,
        );
        let template = frame.get(l3..payload).ok_or(SegmentError::Frame)?;
        let body = frame.get(payload..end).ok_or(SegmentError::Frame)?;
        if vnet.is_gso() {
            let kind = Kind::of(parsed, vnet)?;
            let size = kind.size(template.len(), body.len(), vnet, self.limit)?;
            let stencil = Stencil::new(template, parsed, kind).ok_or(SegmentError::Frame)?;
            self.cut_super(&stencil, size, body, parsed.payload, headers, out);
            return Ok(());
        }

        let sum = unfinished(frame, end, vnet).map_err(|_| SegmentError::Checksum)?;
        let cut = match sum {
            Some(_) if parsed.fragment != Fragment::Whole => return Err(SegmentError::Fragment),
            Some(_) if vnet.csum_start < parsed.l3 => return Err(SegmentError::Checksum),
            Some((field, _)) => payload.max(field + 2),
            None => payload,
        };
        let at = headers.len() + self.prefix;
        headers.resize(at, 0);
        headers.extend_from_slice(&frame[l3..cut]);
        if let Some((field, sum)) = sum {
            let field = at + field - l3;
            headers[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let head = at as u32..headers.len() as u32;
        headers.resize(headers.len() + self.tail, 0);
        out.push(Segment {
            head,
            body: cut as u32..parsed.end,
        });
        Ok(())
    }

    /// Writes the segments of a super-frame, of which all was checked.
    fn cut_super(
        &self,
        stencil: &Stencil<'_>,
        size: usize,
        body: &[u8],
        body_at: u32,
        headers: &mut Vec<u8>,
        out: &mut Vec<Segment>,
    ) {
        let count = body.len().div_ceil(size).max(1);
        let len = stencil.template.len();
        let stride = self.prefix + len + self.tail;
        let from = headers.len();
        // One growth for all of them.
        headers.resize(from + count * stride, 0);
        out.reserve(count);
        for (number, place) in headers[from..].chunks_exact_mut(stride).enumerate() {
            let start = number * size;
            let stop = body.len().min(start + size);
            let header = &mut place[self.prefix..self.prefix + len];
            stencil.write(
                header,
                number,
                start,
                &body[start..stop],
                number + 1 == count,
            );
            let head = (from + number * stride + self.prefix) as u32;
            out.push(Segment {
                head: head..head + len as u32,
                body: body_at + start as u32..body_at + stop as u32,
            });
        }
    }
}

/// What is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

impl Kind {
    /// What the virtio-net header says, where the frame agrees.
    fn of(parsed: &Parsed, vnet: &VnetHdr) -> Result<Self, SegmentError> {
        let kind = match (vnet.gso_kind(), parsed.net, parsed.protocol) {
            (GSO_TCPV4, Net::Ipv4, protocol::TCP) | (GSO_TCPV6, Net::Ipv6, protocol::TCP) => {
                Self::Tcp
            }
            (GSO_UDP_L4, Net::Ipv4 | Net::Ipv6, protocol::UDP) => Self::Udp,
            _ => return Err(SegmentError::Protocol),
        };
        if parsed.fragment != Fragment::Whole {
            return Err(SegmentError::Fragment);
        }
        // An unfinished checksum elsewhere would be that of a packet inside this one, which
        // this knows nothing of.
        let here = vnet.csum_start == parsed.l4 && usize::from(vnet.csum_offset) == kind.checksum();
        if vnet.flags & NEEDS_CSUM != 0 && !here {
            return Err(SegmentError::Checksum);
        }
        Ok(kind)
    }

    /// Where its checksum stands in the transport header.
    const fn checksum(self) -> usize {
        match self {
            Self::Tcp => Tcp::CHECKSUM,
            Self::Udp => Udp::CHECKSUM,
        }
    }

    /// Payload bytes per segment.
    fn size(
        self,
        headers: usize,
        body: usize,
        vnet: &VnetHdr,
        limit: usize,
    ) -> Result<usize, SegmentError> {
        let size = match self {
            Self::Tcp => usize::from(vnet.gso_size).min(limit),
            Self::Udp => usize::from(vnet.gso_size),
        };
        let fits = headers + size.min(body) <= usize::from(u16::MAX);
        if size == 0 || !fits || body.div_ceil(size) > MAX_SEGMENTS {
            return Err(SegmentError::Size);
        }
        Ok(size)
    }
}

/// The headers of a super-frame, and the sums of all in them that stays as it is: the words
/// that differ from segment to segment are taken out, by adding their complements (RFC 1624).
/// So a header is written and never read again, which would wait for the writes.
struct Stencil<'a> {
    template: &'a [u8],
    l4: usize,
    network: Network,
    transport: Transport,
    /// Sum of pseudo-header and transport header, less lengths, checksum and what
    /// [`Transport`] has.
    sum: Sum,
}

/// What differs in the IP headers.
enum Network {
    /// Identification of the first segment; sum of the header less that, length and checksum.
    Ipv4 {
        id: u16,
        sum: Sum,
    },
    Ipv6,
}

/// What differs in the transport headers, but for lengths.
enum Transport {
    /// Of the first segment: sequence number, data offset, and flags.
    Tcp {
        seq: u32,
        offset: u8,
        flags: u8,
    },
    Udp,
}

impl<'a> Stencil<'a> {
    /// `None` where `parsed` is not that of these headers.
    fn new(template: &'a [u8], parsed: &Parsed, kind: Kind) -> Option<Self> {
        let l4 = usize::from(parsed.l4).checked_sub(usize::from(parsed.l3))?;
        let (network, transport) = template.split_at_checked(l4)?;
        let network = match parsed.net {
            Net::Ipv4 => {
                let (ip, _) = Ipv4::ref_from_prefix(network).ok()?;
                let sum = Sum::default()
                    .add(network)
                    .word(!ip.total_len.get())
                    .word(!ip.id.get())
                    .word(!ip.checksum.get());
                let id = ip.id.get();
                Network::Ipv4 { id, sum }
            }
            Net::Ipv6 => Network::Ipv6,
            Net::Arp | Net::Encapsulated(_) | Net::Other(_) => return None,
        };
        let sum = Sum::default()
            .pseudo(parsed.src, parsed.dst, parsed.protocol, 0)
            .add(transport);
        let (transport, sum) = match kind {
            Kind::Tcp => {
                let (tcp, _) = Tcp::ref_from_prefix(transport).ok()?;
                let (seq, offset, flags) = (tcp.seq.get(), tcp.offset, tcp.flags);
                let sum = sum
                    .word(!(seq >> 16) as u16)
                    .word(!seq as u16)
                    .word(!u16::from_be_bytes([offset, flags]))
                    .word(!tcp.checksum.get());
                (Transport::Tcp { seq, offset, flags }, sum)
            }
            Kind::Udp => {
                let (udp, _) = Udp::ref_from_prefix(transport).ok()?;
                let sum = sum.word(!udp.len.get()).word(!udp.checksum.get());
                (Transport::Udp, sum)
            }
        };
        Some(Self {
            template,
            l4,
            network,
            transport,
            sum,
        })
    }

    /// Writes the headers of the `number`th segment, whose payload is `body` and begins
    /// `start` bytes into that of the super-frame.
    fn write(&self, header: &mut [u8], number: usize, start: usize, body: &[u8], last: bool) {
        header.copy_from_slice(self.template);
        let (network, transport) = header.split_at_mut(self.l4);
        // Kind::size has seen to it that both fit.
        let total = (self.template.len() + body.len()) as u16;
        let len = total - self.l4 as u16;
        match self.network {
            Network::Ipv4 { id, sum } => {
                if let Ok((ip, _)) = Ipv4::mut_from_prefix(network) {
                    let id = id.wrapping_add(number as u16);
                    ip.total_len.set(total);
                    ip.id.set(id);
                    ip.checksum.set(sum.word(total).word(id).finish());
                }
            }
            Network::Ipv6 => {
                if let Ok((ip, _)) = Ipv6::mut_from_prefix(network) {
                    ip.payload_len.set(total - Ipv6::LEN as u16);
                }
            }
        }
        let sum = self.sum.word(len).add(body);
        match self.transport {
            Transport::Tcp { seq, offset, flags } => {
                if let Ok((tcp, _)) = Tcp::mut_from_prefix(transport) {
                    let seq = seq.wrapping_add(start as u32);
                    let flags = flags_of(flags, number == 0, last);
                    let sum = sum
                        .word((seq >> 16) as u16)
                        .word(seq as u16)
                        .word(u16::from_be_bytes([offset, flags]));
                    tcp.seq.set(seq);
                    tcp.flags = flags;
                    tcp.checksum.set(sum.finish_transport());
                }
            }
            Transport::Udp => {
                if let Ok((udp, _)) = Udp::mut_from_prefix(transport) {
                    udp.len.set(len);
                    udp.checksum.set(sum.word(len).finish_transport());
                }
            }
        }
    }
}

/// The flags of one segment: FIN and PSH stand in the last only, CWR in the first (RFC 3168
/// section 6.1.2).
const fn flags_of(flags: u8, first: bool, last: bool) -> u8 {
    let not_here = match (first, last) {
        (true, true) => 0,
        (true, false) => Tcp::FIN | Tcp::PSH,
        (false, true) => Tcp::CWR,
        (false, false) => Tcp::FIN | Tcp::PSH | Tcp::CWR,
    };
    flags & !not_here
}
