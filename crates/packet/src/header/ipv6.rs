//! IPv6 and its extension headers (RFC 8200).

use core::net::{IpAddr, Ipv6Addr};

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{protocol, size_must_be};

/// The fixed header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6 {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_flow: U32,
    /// Bytes behind this header, extension headers included.
    pub payload_len: U16,
    /// Protocol of what follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
}

impl Ipv6 {
    /// Bytes on the wire.
    pub const LEN: usize = size_must_be::<Self>(40);

    /// The version that the header claims.
    #[must_use]
    pub const fn version(&self) -> u8 {
        (self.version_class_flow.get() >> 28) as u8
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.src))
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.dst))
    }
}

/// Whether a header of this number is an extension header that leads on to the transport
/// header: hop-by-hop, routing, fragment and destination options. ESP and AH are not: they
/// are transports to whoever does not open them.
#[must_use]
pub const fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION
    )
}

/// The first 8 bytes of any extension header; what they mean beyond `next_header` depends on
/// which it is.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Extension {
    /// Protocol of what follows.
    pub next_header: u8,
    /// Length in units of 8 bytes, the first not counted; reserved in a fragment header.
    pub units: u8,
    /// In a fragment header: offset in units of 8 bytes (13 bits), reserved (2), [`Self::MORE`].
    pub fragment: U16,
    /// In a fragment header: identification.
    pub id: U32,
}

impl Extension {
    /// Bytes on the wire at the least, and of a fragment header exactly.
    pub const LEN: usize = size_must_be::<Self>(8);
    /// More fragments follow.
    pub const MORE: u16 = 1;

    /// The length in bytes of a header that is not a fragment header.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        (self.units as usize + 1) * 8
    }
}
