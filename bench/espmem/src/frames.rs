//! The packets that the bench sends.

use esprit_packet::checksum::Sum;
use esprit_packet::vnet_hdr::{GSO_TCPV4, NEEDS_CSUM};
use esprit_packet::{Pool, RxFrame, VnetHdr};

/// Ethernet, without tags.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
const TCP: usize = 20;

/// One frame to be repeated.
pub struct Model {
    vnet: VnetHdr,
    bytes: Vec<u8>,
    headers: usize,
}

/// Equal frames, as a port would hand them over.
pub struct Batch {
    vnet: VnetHdr,
    bytes: Vec<u8>,
    headers: usize,
    count: usize,
}

impl Batch {
    /// `count` frames like `model`.
    pub fn new(model: Model, count: usize) -> Self {
        let Model {
            vnet,
            bytes,
            headers,
        } = model;
        Self {
            vnet,
            bytes,
            headers,
            count,
        }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// Bytes before the payload of each frame.
    pub fn headers(&self) -> usize {
        self.headers
    }

    /// Payload of the whole batch, as the other host is to get it, in however many frames.
    pub fn payload(&self) -> usize {
        self.count * (self.bytes.len() - self.headers)
    }

    /// Frames in buffers of `pool`; fewer where it is exhausted.
    pub fn frames(&self, pool: &Pool) -> impl Iterator<Item = RxFrame> {
        (0..self.count).filter_map(|_| frame(pool, self.vnet, &self.bytes))
    }
}

/// One frame in a buffer of `pool`.
pub fn frame(pool: &Pool, vnet: VnetHdr, bytes: &[u8]) -> Option<RxFrame> {
    let mut buf = pool.get(bytes.len())?;
    buf.set_len(bytes.len());
    buf.data_mut().copy_from_slice(bytes);
    Some(RxFrame { vnet, buf })
}

/// A UDP packet of `len` bytes from the IP header on.
pub fn udp_frame(len: usize) -> Model {
    let mut bytes = ethernet_and_ip(len, 17);
    let udp = &mut bytes[ETHERNET + IPV4..];
    udp[..2].copy_from_slice(&40_000_u16.to_be_bytes());
    udp[2..4].copy_from_slice(&5_201_u16.to_be_bytes());
    udp[4..6].copy_from_slice(&((len - IPV4) as u16).to_be_bytes());
    // No checksum, which IPv4 allows (RFC 768): the bench is not about it.
    udp[UDP..].fill(0xa5);
    Model {
        vnet: VnetHdr::default(),
        bytes,
        headers: ETHERNET + IPV4 + UDP,
    }
}

/// A TCP super-frame that is to be cut into `segments` IP packets of `len` bytes.
pub fn super_frame(len: usize, segments: usize) -> Model {
    let payload = len - IPV4 - TCP;
    let mut bytes = ethernet_and_ip(IPV4 + TCP + payload * segments, 6);
    let tcp = &mut bytes[ETHERNET + IPV4..];
    tcp[..2].copy_from_slice(&40_000_u16.to_be_bytes());
    tcp[2..4].copy_from_slice(&5_201_u16.to_be_bytes());
    tcp[12] = (TCP as u8 / 4) << 4;
    tcp[13] = 0x10; // ACK
    tcp[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    tcp[TCP..].fill(0xa5);
    let vnet = VnetHdr {
        flags: NEEDS_CSUM,
        gso_type: GSO_TCPV4,
        hdr_len: (ETHERNET + IPV4 + TCP) as u16,
        gso_size: payload as u16,
        csum_start: (ETHERNET + IPV4) as u16,
        csum_offset: 16,
    };
    Model {
        vnet,
        bytes,
        headers: ETHERNET + IPV4 + TCP,
    }
}

fn ethernet_and_ip(len: usize, protocol: u8) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET + len];
    bytes[..6].copy_from_slice(&crate::gateway::RIGHT_MAC);
    bytes[6..12].copy_from_slice(&crate::gateway::LEFT_MAC);
    bytes[12..14].copy_from_slice(&0x0800_u16.to_be_bytes());
    let ip = &mut bytes[ETHERNET..ETHERNET + IPV4];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    ip[6] = 0x40; // do not fragment
    ip[8] = 64;
    ip[9] = protocol;
    ip[12..16].copy_from_slice(&[10, 91, 0, 1]);
    ip[16..20].copy_from_slice(&[10, 91, 0, 2]);
    let sum = Sum::default().add(ip).finish();
    bytes[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
    bytes
}
