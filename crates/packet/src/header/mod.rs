//! Header views: one file per header, each a struct that lies over the bytes of the wire.
//!
//! `ref_from_prefix` and `mut_from_prefix` (zerocopy) give a view of the first `LEN` bytes and
//! the bytes behind them, or an error where there are fewer. A view proves a length and nothing
//! else: versions, header lengths and total lengths in it are still a stranger's claim. They
//! are checked once, by [`crate::parse`].
//!
//! A view for *writing* lies over old contents (buffers are reused): whoever builds a header
//! writes every field of it.

pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;
pub mod vlan;

pub use ethernet::Ethernet;
pub use icmp::Icmp;
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use tcp::Tcp;
pub use udp::Udp;
pub use vlan::Tag;

/// The length of a view, checked by the compiler against the number that the standard gives.
const fn size_must_be<T>(len: usize) -> usize {
    assert!(size_of::<T>() == len);
    len
}

/// Transport protocol and IPv6 next-header numbers (IANA, "Protocol Numbers").
pub mod protocol {
    /// IPv6 hop-by-hop options (RFC 8200 section 4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// IPv6 routing header (RFC 8200 section 4.4).
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header (RFC 8200 section 4.5).
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options (RFC 8200 section 4.6).
    pub const DESTINATION: u8 = 60;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
    /// UDP-Lite (RFC 3828).
    pub const UDP_LITE: u8 = 136;
}
