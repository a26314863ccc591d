//! The virtio-net header that stands before every frame of a TAP or an AF_PACKET socket with
//! PACKET_VNET_HDR (linux/virtio_net.h, `struct virtio_net_hdr`): what the checksum still
//! lacks, and into which segments a super-frame is to be cut.

/// `struct virtio_net_hdr`, in the host's byte order as both devices have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHdr {
    /// [`NEEDS_CSUM`] and [`DATA_VALID`].
    pub flags: u8,
    /// [`GSO_NONE`], [`GSO_TCPV4`], [`GSO_TCPV6`] or [`GSO_UDP_L4`], with [`GSO_ECN`] or-ed in.
    pub gso_type: u8,
    /// Ethernet + IP + transport header, in bytes; a hint.
    pub hdr_len: u16,
    /// Payload bytes per segment.
    pub gso_size: u16,
    /// Where the checksum starts, in bytes from the start of the frame.
    pub csum_start: u16,
    /// Where it is stored, in bytes from `csum_start`.
    pub csum_offset: u16,
}

/// The checksum is to be completed from `csum_start`.
pub const NEEDS_CSUM: u8 = 1;
/// The checksum was verified.
pub const DATA_VALID: u8 = 2;
/// No segmentation.
pub const GSO_NONE: u8 = 0;
/// TCP over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// TCP over IPv6.
pub const GSO_TCPV6: u8 = 4;
/// UDP, each segment a datagram of its own (USO).
pub const GSO_UDP_L4: u8 = 5;
/// TCP with ECN: CWR stands in the first segment only.
pub const GSO_ECN: u8 = 0x80;

impl VnetHdr {
    /// Bytes on the wire between us and the kernel.
    pub const LEN: usize = 10;

    /// Reads the header from its bytes.
    #[must_use]
    pub fn parse(bytes: &[u8; Self::LEN]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: word(2),
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
        }
    }

    /// Writes the header as bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        bytes[2..4].copy_from_slice(&self.hdr_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.csum_start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.csum_offset.to_ne_bytes());
        bytes
    }

    /// The kind of segmentation, without the ECN bit.
    #[must_use]
    pub const fn gso_kind(&self) -> u8 {
        self.gso_type & !GSO_ECN
    }

    /// Whether this is a super-frame.
    #[must_use]
    pub const fn is_gso(&self) -> bool {
        self.gso_kind() != GSO_NONE
    }

    /// How many packets a frame of `len` bytes with this header stands for.
    #[must_use]
    pub fn packets(&self, len: usize) -> u64 {
        if !self.is_gso() || self.gso_size == 0 {
            return 1;
        }
        let payload = len.saturating_sub(usize::from(self.hdr_len)).max(1);
        payload.div_ceil(usize::from(self.gso_size)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emit_and_parse_agree() {
        let header = VnetHdr {
            flags: NEEDS_CSUM,
            gso_type: GSO_TCPV4 | GSO_ECN,
            hdr_len: 66,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
        };
        assert_eq!(VnetHdr::parse(&header.emit()), header);
        assert!(header.is_gso());
        assert_eq!(header.gso_kind(), GSO_TCPV4);
    }
}
