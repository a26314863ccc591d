//! IPv4 (RFC 791).

use core::net::{IpAddr, Ipv4Addr};

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::size_must_be;

/// The header without options.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    /// Version (4 bits), header length in words of 32 bits (4).
    pub version_ihl: u8,
    /// DSCP (6 bits, RFC 2474), ECN (2, RFC 3168).
    pub tos: u8,
    /// Bytes of header and payload.
    pub total_len: U16,
    /// Identification.
    pub id: U16,
    /// Reserved (1 bit), [`Ipv4::DF`], [`Ipv4::MF`], fragment offset in units of 8 bytes.
    pub fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// Transport protocol.
    pub protocol: u8,
    /// Checksum of the header, options included.
    pub checksum: U16,
    /// Source address.
    pub src: [u8; 4],
    /// Destination address.
    pub dst: [u8; 4],
}

impl Ipv4 {
    /// Bytes on the wire without options.
    pub const LEN: usize = size_must_be::<Self>(20);
    /// Don't fragment.
    pub const DF: u16 = 0x4000;
    /// More fragments.
    pub const MF: u16 = 0x2000;
    /// Mask of the fragment offset.
    pub const OFFSET: u16 = 0x1fff;

    /// The version that the header claims.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// The length in bytes that the header claims to have: 0 to 60.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        (self.version_ihl & 0xf) as usize * 4
    }

    /// Source address.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        let [a, b, c, d] = self.src;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    }

    /// Destination address.
    #[must_use]
    pub const fn destination(&self) -> IpAddr {
        let [a, b, c, d] = self.dst;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    }
}
