//! TCP (RFC 9293).

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::size_must_be;

/// The header without options.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub src: U16,
    /// Destination port.
    pub dst: U16,
    /// Sequence number of the first byte of the payload.
    pub seq: U32,
    /// Acknowledgement number.
    pub ack: U32,
    /// Header length in words of 32 bits (4 bits), reserved (3), accurate ECN (1).
    pub offset: u8,
    /// Flags.
    pub flags: u8,
    /// Window.
    pub window: U16,
    /// Checksum of pseudo-header, header and payload.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}

impl Tcp {
    /// Bytes on the wire without options.
    pub const LEN: usize = size_must_be::<Self>(20);
    /// Offset of the checksum: `csum_offset` of a virtio-net header.
    pub const CHECKSUM: usize = core::mem::offset_of!(Self, checksum);

    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// Acknowledgement.
    pub const ACK: u8 = 0x10;
    /// Urgent.
    pub const URG: u8 = 0x20;
    /// ECN echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;

    /// The length in bytes that the header claims to have: 0 to 60.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        (self.offset >> 4) as usize * 4
    }
}
