//! UDP (RFC 768). UDP-Lite (RFC 3828) has the same form.

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::size_must_be;

/// The header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub src: U16,
    /// Destination port.
    pub dst: U16,
    /// Bytes of header and payload; in UDP-Lite how many of them the checksum covers.
    pub len: U16,
    /// Checksum of pseudo-header, header and payload; zero: there is none.
    pub checksum: U16,
}

impl Udp {
    /// Bytes on the wire.
    pub const LEN: usize = size_must_be::<Self>(8);
    /// Offset of the checksum: `csum_offset` of a virtio-net header.
    pub const CHECKSUM: usize = core::mem::offset_of!(Self, checksum);
}
