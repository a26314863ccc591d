//! Parse once: where the headers of a frame lie, and what the policies look at.
//!
//! Every offset in a [`Parsed`] was checked against the bytes that it was made from, and
//! `l3 <= l4 <= payload <= end <= bytes.len()` holds. Later stages take the `Parsed` and do
//! not look at lengths again.

use core::net::{IpAddr, Ipv4Addr};

use zerocopy::FromBytes;

use crate::checksum::Sum;
use crate::header::ethernet::{self, Ethernet};
use crate::header::ipv6::{self, Extension};
use crate::header::vlan::{Tag, Vlan};
use crate::header::{Icmp, Ipv4, Ipv6, Tcp, Udp, protocol};
use crate::vnet_hdr::VnetHdr;

/// Length of an Ethernet header without VLAN tags.
pub const ETHERNET_LEN: usize = Ethernet::LEN;

/// IPv6 extension headers that are followed at most. RFC 8200 section 4.1 knows an order of
/// six; more than eight is no traffic but work for us.
pub const MAX_EXTENSIONS: usize = 8;

/// The common header of SCTP up to its checksum (RFC 9260 section 3.1).
const SCTP_LEN: usize = 12;

/// Why a frame or packet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Shorter than its headers.
    Truncated,
    /// The IP version is not what the EtherType says, or neither 4 nor 6.
    Version,
    /// A header length below the minimum, or beyond the packet.
    HeaderLength,
    /// A total length below the headers, or beyond the frame.
    TotalLength,
    /// More than [`MAX_EXTENSIONS`] IPv6 extension headers.
    Extensions,
    /// More than two VLAN tags.
    Tags,
}

impl ParseError {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Truncated,
        Self::Version,
        Self::HeaderLength,
        Self::TotalLength,
        Self::Extensions,
        Self::Tags,
    ];

    /// The name, for logs and counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Version => "version",
            Self::HeaderLength => "header-length",
            Self::TotalLength => "total-length",
            Self::Extensions => "extensions",
            Self::Tags => "tags",
        }
    }
}

impl core::fmt::Display for ParseError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for ParseError {}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// ARP.
    Arp,
    /// PPPoE, MPLS and the like ([`ethernet::ENCAPSULATING`]), or IP behind an LLC and SNAP
    /// header: an IP packet may be inside, and is not looked for.
    Encapsulated(u16),
    /// Any other EtherType (or an 802.3 length).
    Other(u16),
}

/// Whether a packet is a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// It is whole; an IPv6 "atomic" fragment (RFC 6946) is, too.
    Whole,
    /// The first fragment: its transport header is there.
    First,
    /// A later one: it has no transport header.
    Later,
}

/// What parsing found. Offsets count from the start of the bytes that were parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Behind the VLAN tags, in host order; of a packet without Ethernet, what it would be.
    pub ethertype: u16,
    /// The VLAN tags.
    pub vlan: Vlan,
    /// Where layer 3 begins.
    pub l3: u16,
    /// What layer 3 is.
    pub net: Net,
    /// Where the transport header begins; behind IPv4 options and IPv6 extension headers. As
    /// `l3` where layer 3 is not IP.
    pub l4: u16,
    /// The transport protocol; behind IPv6 extension headers. Of a later fragment of IPv6 it is
    /// what the fragment header names, which may be a further extension header
    /// ([`ipv6::is_extension`]). Zero where layer 3 is not IP.
    pub protocol: u8,
    /// Whether it is a fragment.
    pub fragment: Fragment,
    /// Source address; unspecified where layer 3 is not IP.
    pub src: IpAddr,
    /// Destination address; unspecified where layer 3 is not IP.
    pub dst: IpAddr,
    /// Source and destination port, where there are such and they can be seen.
    pub ports: Option<(u16, u16)>,
    /// ICMP type and code, where they can be seen.
    pub icmp: Option<(u8, u8)>,
    /// Where the transport payload begins; as `l4` where the protocol is not known.
    pub payload: u32,
    /// One past the last byte of the packet; trailing Ethernet padding is beyond it.
    pub end: u32,
}

// Copied per packet and kept per packet of a batch.
const _: () = assert!(size_of::<Parsed>() <= 80);

/// Parses a frame from its Ethernet header on. Of a super-frame (`vnet`) the end of the frame
/// is the end of the packet: its IP length may not fit 16 bits and then is zero.
///
/// # Errors
/// [`ParseError`]: a bad frame is a counted drop.
pub fn parse_frame(frame: &[u8], vnet: &VnetHdr) -> Result<Parsed, ParseError> {
    let (header, mut rest) = Ethernet::ref_from_prefix(frame).map_err(|_| ParseError::Truncated)?;
    let mut ethertype = header.ethertype.get();
    let mut vlan = Vlan::default();
    let mut l3 = Ethernet::LEN;
    while ethernet::TAGS.contains(&ethertype) {
        let (tag, behind) = Tag::ref_from_prefix(rest).map_err(|_| ParseError::Truncated)?;
        if !vlan.push(ethertype, tag.tci.get()) {
            return Err(ParseError::Tags);
        }
        ethertype = tag.ethertype.get();
        rest = behind;
        l3 += Tag::LEN;
    }
    let mut parsed = match ethertype {
        ethernet::IPV4 => ipv4(frame, l3, vnet.is_gso())?,
        ethernet::IPV6 => ipv6(frame, l3, vnet.is_gso())?,
        other => Parsed::new(kind(other, rest), l3, u32_len(frame)?),
    };
    parsed.ethertype = ethertype;
    parsed.vlan = vlan;
    Ok(parsed)
}

/// Parses a packet from its IP header on.
///
/// # Errors
/// [`ParseError`].
pub fn parse_packet(packet: &[u8]) -> Result<Parsed, ParseError> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => ipv4(packet, 0, false),
        Some(6) => ipv6(packet, 0, false),
        Some(_) => Err(ParseError::Version),
        None => Err(ParseError::Truncated),
    }
}

/// What is not IP: `rest` is what stands behind the EtherType.
fn kind(ethertype: u16, rest: &[u8]) -> Net {
    let hides = |inner: u16| {
        matches!(inner, ethernet::IPV4 | ethernet::IPV6)
            || ethernet::TAGS.contains(&inner)
            || ethernet::ENCAPSULATING.contains(&inner)
    };
    if ethertype == ethernet::ARP {
        return Net::Arp;
    }
    if ethernet::ENCAPSULATING.contains(&ethertype) {
        return Net::Encapsulated(ethertype);
    }
    if ethertype < ethernet::MIN_ETHERTYPE
        && let Some(snap) = rest.strip_prefix(&ethernet::SNAP)
        && let Some(&[high, low]) = snap.first_chunk()
        && hides(u16::from_be_bytes([high, low]))
    {
        return Net::Encapsulated(ethertype);
    }
    Net::Other(ethertype)
}

fn u32_len(bytes: &[u8]) -> Result<u32, ParseError> {
    u32::try_from(bytes.len()).map_err(|_| ParseError::TotalLength)
}

/// The end of an IP packet of `len` bytes at `l3`, within `bytes` or not at all.
fn end_of(bytes: &[u8], l3: usize, len: usize, gso: bool) -> Result<u32, ParseError> {
    let end = if gso { bytes.len() } else { l3 + len };
    if end > bytes.len() {
        return Err(ParseError::TotalLength);
    }
    u32::try_from(end).map_err(|_| ParseError::TotalLength)
}

fn ipv4(bytes: &[u8], l3: usize, gso: bool) -> Result<Parsed, ParseError> {
    let packet = bytes.get(l3..).ok_or(ParseError::Truncated)?;
    let (header, _) = Ipv4::ref_from_prefix(packet).map_err(|_| ParseError::Truncated)?;
    if header.version() != 4 {
        return Err(ParseError::Version);
    }
    let header_len = header.header_len();
    if header_len < Ipv4::LEN || header_len > packet.len() {
        return Err(ParseError::HeaderLength);
    }
    let end = end_of(bytes, l3, usize::from(header.total_len.get()), gso)?;
    let l4 = l3 + header_len;
    if (end as usize) < l4 {
        return Err(ParseError::TotalLength);
    }
    let field = header.fragment.get();
    let mut parsed = Parsed::new(Net::Ipv4, l3, end);
    parsed.ethertype = ethernet::IPV4;
    parsed.src = header.source();
    parsed.dst = header.destination();
    parsed.fragment = match (field & Ipv4::OFFSET, field & Ipv4::MF) {
        (0, 0) => Fragment::Whole,
        (0, _) => Fragment::First,
        _ => Fragment::Later,
    };
    parsed.transport(bytes, l4, header.protocol)?;
    Ok(parsed)
}

fn ipv6(bytes: &[u8], l3: usize, gso: bool) -> Result<Parsed, ParseError> {
    let packet = bytes.get(l3..).ok_or(ParseError::Truncated)?;
    let (header, _) = Ipv6::ref_from_prefix(packet).map_err(|_| ParseError::Truncated)?;
    if header.version() != 6 {
        return Err(ParseError::Version);
    }
    let len = Ipv6::LEN + usize::from(header.payload_len.get());
    let end = end_of(bytes, l3, len, gso)?;
    let mut parsed = Parsed::new(Net::Ipv6, l3, end);
    parsed.ethertype = ethernet::IPV6;
    parsed.src = header.source();
    parsed.dst = header.destination();

    let mut next = header.next_header;
    let mut at = l3 + Ipv6::LEN;
    let mut followed = 0;
    while ipv6::is_extension(next) && parsed.fragment != Fragment::Later {
        if followed == MAX_EXTENSIONS {
            return Err(ParseError::Extensions);
        }
        followed += 1;
        let rest = bytes.get(at..end as usize).ok_or(ParseError::Truncated)?;
        let (extension, _) = Extension::ref_from_prefix(rest).map_err(|_| ParseError::Truncated)?;
        let len = if next == protocol::FRAGMENT {
            let field = extension.fragment.get();
            parsed.fragment = match (field >> 3, field & Extension::MORE) {
                // Whole, unless a header before this one said otherwise.
                (0, 0) => parsed.fragment,
                (0, _) => Fragment::First,
                _ => Fragment::Later,
            };
            Extension::LEN
        } else {
            extension.header_len()
        };
        if len > rest.len() {
            return Err(ParseError::HeaderLength);
        }
        next = extension.next_header;
        at += len;
    }
    parsed.transport(bytes, at, next)?;
    Ok(parsed)
}

impl Parsed {
    /// Nothing known yet but that layer 3 lies in `l3..end`.
    fn new(net: Net, l3: usize, end: u32) -> Self {
        Self {
            ethertype: 0,
            vlan: Vlan::default(),
            // At most an Ethernet header and two tags.
            l3: l3 as u16,
            net,
            l4: l3 as u16,
            protocol: 0,
            fragment: Fragment::Whole,
            src: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            dst: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ports: None,
            icmp: None,
            payload: l3 as u32,
            end,
        }
    }

    /// Fills in what the transport header at `l4` says. One that is cut off is an error of the
    /// whole packet: no policy with ports could judge it (RFC 7112 demands as much of IPv6, RFC
    /// 1858 section 3 of IPv4's TCP).
    fn transport(&mut self, bytes: &[u8], l4: usize, number: u8) -> Result<(), ParseError> {
        // At most MAX_EXTENSIONS of 2 KiB before it, so it fits.
        self.l4 = l4 as u16;
        self.payload = l4 as u32;
        self.protocol = number;
        if self.fragment == Fragment::Later {
            return Ok(());
        }
        let segment = bytes
            .get(l4..self.end as usize)
            .ok_or(ParseError::Truncated)?;
        let header_len = match number {
            protocol::TCP => {
                let (tcp, _) = Tcp::ref_from_prefix(segment).map_err(|_| ParseError::Truncated)?;
                if tcp.header_len() < Tcp::LEN || tcp.header_len() > segment.len() {
                    return Err(ParseError::HeaderLength);
                }
                tcp.header_len()
            }
            protocol::UDP | protocol::UDP_LITE => Udp::LEN,
            protocol::SCTP => SCTP_LEN,
            protocol::ICMP | protocol::ICMPV6 => {
                // An empty one is a packet all the same: no policy looks at its type, and what
                // it lacks is its receiver's business.
                let icmp = Icmp::ref_from_prefix(segment).ok();
                self.icmp = icmp.map(|(icmp, _)| (icmp.kind, icmp.code));
                return Ok(());
            }
            _ => return Ok(()),
        };
        // All of them begin with the two ports.
        let (&[a, b, c, d], _) = segment.split_first_chunk().ok_or(ParseError::Truncated)?;
        if segment.len() < header_len {
            return Err(ParseError::Truncated);
        }
        self.ports = Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])));
        self.payload += header_len as u32;
        Ok(())
    }

    /// Whether it is IPv6 neighbour discovery: ICMPv6 133 to 137 (RFC 4861).
    #[must_use]
    pub fn is_neighbour_discovery(&self) -> bool {
        self.net == Net::Ipv6
            && self.protocol == protocol::ICMPV6
            && self
                .icmp
                .is_some_and(|(kind, _)| Icmp::NEIGHBOUR_DISCOVERY.contains(&kind))
    }

    /// Whether the IPv4 header checksum is right (RFC 791); `bytes` is what was parsed. To be
    /// asked of what a member received: what comes from the TAP was made on this host.
    #[must_use]
    pub fn header_checksum_ok(&self, bytes: &[u8]) -> bool {
        self.net == Net::Ipv4
            && bytes
                .get(usize::from(self.l3)..usize::from(self.l4))
                .is_some_and(|header| {
                    let sum = match <&[u8; Ipv4::LEN]>::try_from(header) {
                        Ok(plain) => Sum::default().ipv4_header(plain),
                        Err(_) => Sum::default().add(header),
                    };
                    sum.finish() == 0
                })
    }
}
