//! Ethernet (IEEE 802.3, with the type field of Ethernet II).

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::size_must_be;

/// The header of an untagged frame; of a tagged one the addresses, and the first tag's TPID in
/// the place of the EtherType.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    /// Destination address.
    pub dst: [u8; 6],
    /// Source address.
    pub src: [u8; 6],
    /// EtherType, or below [`MIN_ETHERTYPE`] the frame's length.
    pub ethertype: U16,
}

impl Ethernet {
    /// Bytes on the wire.
    pub const LEN: usize = size_must_be::<Self>(14);
}

/// Below it the field is a length and an LLC header follows (IEEE 802.3 clause 3.2.6).
pub const MIN_ETHERTYPE: u16 = 0x0600;

/// IPv4 (RFC 894).
pub const IPV4: u16 = 0x0800;
/// ARP (RFC 826).
pub const ARP: u16 = 0x0806;
/// IPv6 (RFC 2464).
pub const IPV6: u16 = 0x86dd;

/// VLAN tags: 802.1Q, 802.1ad, and the numbers that switches used for stacked tags before it.
pub const TAGS: [u16; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];

/// EtherTypes behind which an IP packet may stand that nobody here looks at: PPPoE discovery
/// and session (RFC 2516), MPLS (RFC 3032, 5332), provider backbone bridging (802.1ah), TRILL
/// (RFC 6325), HSR (IEC 62439-3), NSH (RFC 8300).
pub const ENCAPSULATING: [u16; 8] = [
    0x8863, 0x8864, 0x8847, 0x8848, 0x88e7, 0x22f3, 0x892f, 0x894f,
];

/// LLC and SNAP headers before an EtherType (RFC 1042): DSAP, SSAP, control, and the OUI zero.
pub const SNAP: [u8; 6] = [0xaa, 0xaa, 3, 0, 0, 0];
