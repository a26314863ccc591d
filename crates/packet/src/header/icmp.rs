//! ICMP (RFC 792) and ICMPv6 (RFC 4443): what they have in common.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::size_must_be;

/// Type and code, which are all that policies look at.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
}

impl Icmp {
    /// Bytes on the wire.
    pub const LEN: usize = size_must_be::<Self>(2);
    /// ICMPv6 types of neighbour discovery: router solicitation to redirect (RFC 4861 section 4).
    pub const NEIGHBOUR_DISCOVERY: core::ops::RangeInclusive<u8> = 133..=137;
}
