//! The first segment of a joined packet: what is asked of it.

use zerocopy::FromBytes;

use super::likeness::{Facts, Likeness};
use crate::checksum::Sum;
use crate::header::{Ipv4, Ipv6, Tcp, protocol};
use crate::parse::{Fragment, Net, Parsed};

/// A packet that others may be joined to.
pub(super) struct Candidate<'a> {
    /// Its headers from layer 3 on, and what of them the next ones must have too.
    pub(super) headers: &'a [u8],
    pub(super) likeness: Likeness,
    pub(super) facts: Facts,
}

impl<'a> Candidate<'a> {
    /// TCP data with ACK and at most ECE, PSH and FIN, no IPv4 options, no extension headers, and
    /// right checksums.
    pub(super) fn of(bytes: &'a [u8], parsed: &Parsed) -> Option<Self> {
        let (l4, end) = (usize::from(parsed.l4), parsed.end as usize);
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
        let headers = &bytes[..header];
        let pseudo = Sum::default().pseudo(parsed.src, parsed.dst, protocol::TCP, 0);
        let likeness = Likeness::of(headers, parsed.net == Net::Ipv4, pseudo)?;
        if !likeness.transport_checksum_ok(bytes, end) {
            return None;
        }
        let facts = likeness.facts(headers, tcp, end);
        Some(Self {
            headers,
            likeness,
            facts,
        })
    }
}
