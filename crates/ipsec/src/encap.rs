//! Outer headers: what stands before ESP on the wire, and how it goes off again.
//!
//! Tunnel mode writes new headers (RFC 4301 section 5.1.2): IPv4 or IPv6 whatever is inside,
//! traffic class copied (ECN: [`crate::ecn`]), DF copied from IPv4 and set for IPv6, hop limit 64.
//! Transport mode keeps the packet's own IP header: see [`crate::transport`]. Either may put
//! ESP into UDP (RFC 3948).

use std::net::IpAddr;

use esprit_packet::parse::{Fragment, Net, Parsed};
use smallvec::{Array, SmallVec};
use thiserror::Error;

use crate::bytes::{finish_ipv4, fold, put16, sum, u16_at};
use crate::ecn::{self, EcnDrop};
use crate::esp;
use crate::sad::{Mode, SaSpec, UdpEncap};
use crate::transport;

pub use crate::transport::restore as restore_transport;

/// An IPv4 header without options (RFC 791).
pub const IPV4_LEN: usize = 20;
/// An IPv6 header (RFC 8200).
pub const IPV6_LEN: usize = 40;
/// A UDP header (RFC 768).
pub const UDP_LEN: usize = 8;
/// The longest outer header of tunnel mode.
pub const MAX_TUNNEL: usize = IPV6_LEN + UDP_LEN;
/// Offset of the checksum in a UDP header: what `csum_offset` of a virtio-net header says.
pub const UDP_CHECKSUM: usize = 6;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The IP protocol number of UDP.
const PROTOCOL_UDP: u8 = 17;
/// Hop limit of tunnel headers: IP's recommended default (RFC 1700).
const HOP_LIMIT: u8 = 64;
/// Don't fragment, among IPv4's flags.
const DF: u16 = 0x4000;
/// Flow labels have 20 bits (RFC 6437).
const FLOW_LABEL: u32 = 0xf_ffff;

/// Bytes of a template that lie in the template itself: [`MAX_TUNNEL`], rounded up; headers with
/// options or extension headers may be longer.
const INLINE: usize = 64;

/// Why a packet cannot go by an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncapError {
    /// Not IPv4 or IPv6, or its headers are not what they were parsed as.
    #[error("not an IP packet")]
    NotIp,
    /// Transport mode takes whole packets only (RFC 4303 section 3.3.4).
    #[error("a fragment cannot go by a transport-mode SA")]
    Fragment,
    /// Transport mode is between the two hosts that the SA names.
    #[error("the addresses are not those of the transport-mode SA")]
    Addresses,
}

/// What stands before the ESP packets of one SA and one kind of inner packet: all that does not
/// change from packet to packet. Cheap to clone; equal templates may share a UDP super-frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OuterTemplate {
    /// IP header with its extension headers, then UDP: lengths, identification and checksums zero.
    bytes: SmallVec<[u8; INLINE]>,
    /// Bytes of it that are IP.
    l3_len: usize,
    ipv4: bool,
    udp: bool,
}

impl OuterTemplate {
    /// The template for `packet`, an IP packet from its header on that was parsed as `parsed`
    /// (whose offsets may count from an Ethernet header before it), by the SA `spec`.
    ///
    /// # Errors
    /// [`EncapError`].
    pub fn new(spec: &SaSpec, packet: &[u8], parsed: &Parsed) -> Result<Self, EncapError> {
        let mut template = match spec.mode {
            Mode::Tunnel => Self::tunnel(spec, packet)?,
            Mode::Transport => Self::transport(spec, packet, parsed)?,
        };
        if let Some(UdpEncap { sport, dport }) = spec.encap {
            template.bytes.extend_from_slice(&sport.to_be_bytes());
            template.bytes.extend_from_slice(&dport.to_be_bytes());
            template.bytes.extend_from_slice(&[0; UDP_LEN - 4]);
            template.udp = true;
        }
        Ok(template)
    }

    fn tunnel(spec: &SaSpec, packet: &[u8]) -> Result<Self, EncapError> {
        let first = u16_at(packet, 0).ok_or(EncapError::NotIp)?;
        // RFC 6040, normal mode: the whole traffic class is copied.
        let (class, df) = match first >> 12 {
            4 => {
                let flags = u16_at(packet, 6).ok_or(EncapError::NotIp)?;
                (first & 0xff, flags & DF)
            }
            // An IPv6 sender expects no one to fragment what it sent.
            6 => (first >> 4 & 0xff, DF),
            _ => return Err(EncapError::NotIp),
        };
        let protocol = if spec.encap.is_some() {
            PROTOCOL_UDP
        } else {
            esp::PROTOCOL
        };
        let mut bytes = SmallVec::new();
        let ipv4 = match (spec.src, spec.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                bytes.extend_from_slice(&(0x4500 | class).to_be_bytes());
                bytes.extend_from_slice(&[0; 4]);
                bytes.extend_from_slice(&df.to_be_bytes());
                bytes.extend_from_slice(&[HOP_LIMIT, protocol, 0, 0]);
                bytes.extend_from_slice(&src.octets());
                bytes.extend_from_slice(&dst.octets());
                true
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let first = 6 << 28 | u32::from(class) << 20 | flow_label(spec.spi);
                bytes.extend_from_slice(&first.to_be_bytes());
                bytes.extend_from_slice(&[0, 0, protocol, HOP_LIMIT]);
                bytes.extend_from_slice(&src.octets());
                bytes.extend_from_slice(&dst.octets());
                false
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                return Err(EncapError::Addresses);
            }
        };
        Ok(Self {
            l3_len: bytes.len(),
            bytes,
            ipv4,
            udp: false,
        })
    }

    fn transport(spec: &SaSpec, packet: &[u8], parsed: &Parsed) -> Result<Self, EncapError> {
        if parsed.fragment != Fragment::Whole {
            return Err(EncapError::Fragment);
        }
        if parsed.src != spec.src || parsed.dst != spec.dst {
            return Err(EncapError::Addresses);
        }
        let l3_len = usize::from(parsed.l4)
            .checked_sub(usize::from(parsed.l3))
            .ok_or(EncapError::NotIp)?;
        let header = packet.get(..l3_len).ok_or(EncapError::NotIp)?;
        let protocol = if spec.encap.is_some() {
            PROTOCOL_UDP
        } else {
            esp::PROTOCOL
        };
        let mut bytes = SmallVec::from_slice(header);
        transport::replace_protocol(&mut bytes, protocol)?;
        let ipv4 = parsed.net == Net::Ipv4;
        transport::clear_variable(&mut bytes, ipv4);
        Ok(Self {
            bytes,
            l3_len,
            ipv4,
            udp: false,
        })
    }

    /// Bytes before the ESP packet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: there is always an IP header. For completeness beside [`OuterTemplate::len`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether ESP goes into UDP.
    #[must_use]
    pub const fn is_udp(&self) -> bool {
        self.udp
    }

    /// The EtherType before these headers.
    #[must_use]
    pub const fn ethertype(&self) -> u16 {
        if self.ipv4 {
            ETHERTYPE_IPV4
        } else {
            ETHERTYPE_IPV6
        }
    }

    /// Whether packets behind this and behind `other` may share one UDP super-frame.
    #[must_use]
    pub fn joins(&self, other: &Self) -> bool {
        self.udp && self == other
    }

    /// Appends the headers for `esp_len` bytes of ESP: one packet, or in `segmented` super-frames
    /// all packets together. `id` is IPv4's identification, of the first packet.
    ///
    /// Returns the offset in `out` of the UDP header whose checksum is still to be completed
    /// over all that follows (NEEDS_CSUM, with [`UDP_CHECKSUM`]); the sum over its pseudo-header
    /// stands there already. That is the case for UDP over IPv6, where zero means "no checksum"
    /// to nobody, and for super-frames, which the kernel cuts only so. UDP over IPv4 has none
    /// otherwise (RFC 3948 section 2.1: it SHOULD be zero).
    ///
    /// Lengths beyond 65,535 cannot be written and come out as 0, as IPv6 writes jumbograms; the
    /// caller keeps packets and super-frames below that.
    pub fn write<A: Array<Item = u8>>(
        &self,
        out: &mut SmallVec<A>,
        id: u16,
        esp_len: usize,
        segmented: bool,
    ) -> Option<usize> {
        let l3 = out.len();
        out.extend_from_slice(&self.bytes);
        let header = &mut out[l3..];
        let l4_len = header.len() - self.l3_len + esp_len;
        if self.ipv4 {
            let ip = &mut header[..self.l3_len];
            put16(ip, 2, length(self.l3_len + l4_len));
            put16(ip, 4, id);
            finish_ipv4(ip);
        } else {
            put16(header, 4, length(self.l3_len - IPV6_LEN + l4_len));
        }
        if !self.udp {
            return None;
        }
        let (ip, udp) = header.split_at_mut(self.l3_len);
        put16(udp, 4, length(l4_len));
        if self.ipv4 && !segmented {
            return None;
        }
        // Addresses, protocol and length (RFC 768, RFC 8200 section 8.1); not inverted, since
        // the sum is carried on.
        let addresses = if self.ipv4 { &ip[12..20] } else { &ip[8..40] };
        let pseudo = sum(addresses) + u32::from(PROTOCOL_UDP) + u32::from(length(l4_len));
        put16(udp, UDP_CHECKSUM, fold(pseudo));
        Some(l3 + self.l3_len)
    }
}

/// A length field; see [`OuterTemplate::write`] for what does not fit.
fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(0)
}

/// One label per SA (RFC 6437: never zero where flows are to be told apart). It is made from the
/// SPI, which is public, and not from the inner flow, about which an eavesdropper should learn
/// nothing.
const fn flow_label(spi: u32) -> u32 {
    // Fibonacci hashing: SPIs are often consecutive.
    let label = spi.wrapping_mul(0x9e37_79b9) >> 12 & FLOW_LABEL;
    if label == 0 { 1 } else { label }
}

/// Takes the congestion mark of the outer header over to an opened tunnel packet ([`ecn`]). What
/// is no IP packet stays as it is: parsing refuses it.
///
/// # Errors
/// [`EcnDrop`]: the packet is dropped.
pub fn decapsulate_ecn(outer: &[u8], inner: &mut [u8]) -> Result<(), EcnDrop> {
    let (Some(outer_class), Some(old)) = (class_of(outer), u16_at(inner, 0)) else {
        return Ok(());
    };
    let Some(inner_class) = class_of(inner) else {
        return Ok(());
    };
    let class = ecn::decapsulate(inner_class, outer_class)?;
    if class == inner_class {
        return Ok(());
    }
    if old >> 12 == 6 {
        put16(inner, 0, old & 0xf00f | u16::from(class) << 4);
        return Ok(());
    }
    let Some(checksum) = u16_at(inner, 10) else {
        return Ok(());
    };
    let new = old & 0xff00 | u16::from(class);
    put16(inner, 0, new);
    // RFC 1624: HC' = ~(~HC + ~m + m'). A checksum that was wrong stays wrong.
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    put16(inner, 10, !fold(sum));
    Ok(())
}

/// The traffic class of an IP packet.
fn class_of(packet: &[u8]) -> Option<u8> {
    let first = u16_at(packet, 0)?;
    match first >> 12 {
        4 => Some(first as u8),
        6 => Some((first >> 4) as u8),
        _ => None,
    }
}
