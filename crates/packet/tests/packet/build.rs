//! Packets for the tests, written byte by byte and without the crate's own views and sums.

use esprit_packet::VnetHdr;
use esprit_packet::vnet_hdr::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM};
use proptest::prelude::*;

pub const ETH: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const URG: u8 = 0x20;
pub const ECE: u8 = 0x40;
pub const CWR: u8 = 0x80;

/// All that can be said of a packet of TCP or UDP.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub v6: bool,
    pub tcp: bool,
    pub host: u8,
    pub ports: (u16, u16),
    pub tos: u8,
    pub ttl: u8,
    pub id: u16,
    pub df: bool,
    /// IPv4 options, or IPv6 destination options, of 8 bytes.
    pub options: bool,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub urgent: u16,
    /// TCP timestamp option, padded to 12 bytes.
    pub stamp: Option<u32>,
    pub payload: Vec<u8>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            v6: false,
            tcp: true,
            host: 1,
            ports: (5000, 6000),
            tos: 0,
            ttl: 64,
            id: 7,
            df: true,
            options: false,
            seq: 1,
            ack: 2,
            flags: ACK,
            window: 256,
            urgent: 0,
            stamp: Some(1),
            payload: Vec::new(),
        }
    }
}

pub fn any_spec(payload: std::ops::Range<usize>) -> impl Strategy<Value = Spec> {
    let network = (
        any::<bool>(),
        any::<bool>(),
        any::<u8>(),
        any::<u8>(),
        1..=255_u8,
        any::<u16>(),
        any::<bool>(),
        any::<bool>(),
    );
    let transport = (
        any::<(u16, u16)>(),
        any::<u32>(),
        any::<u32>(),
        0..8_u8,
        any::<u16>(),
        any::<Option<u32>>(),
        prop::collection::vec(any::<u8>(), payload),
    );
    (network, transport).prop_map(|(network, transport)| {
        let (v6, tcp, host, tos, ttl, id, df, options) = network;
        let (ports, seq, ack, flags, window, stamp, payload) = transport;
        let bit = |n: u8, flag: u8| if flags >> n & 1 == 1 { flag } else { 0 };
        Spec {
            v6,
            tcp,
            host,
            ports,
            tos,
            ttl,
            id,
            df,
            options,
            seq,
            ack,
            flags: ACK | bit(0, PSH) | bit(1, ECE) | bit(2, FIN),
            window,
            urgent: 0,
            stamp,
            payload,
        }
    })
}

/// The checksum by its definition, word by word.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    !sum(parts)
}

fn sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

impl Spec {
    pub fn protocol(&self) -> u8 {
        if self.tcp { 6 } else { 17 }
    }

    pub fn l4(&self) -> usize {
        (if self.v6 { 40 } else { 20 }) + if self.options { 8 } else { 0 }
    }

    pub fn transport_len(&self) -> usize {
        match (self.tcp, self.stamp) {
            (false, _) => 8,
            (true, None) => 20,
            (true, Some(_)) => 32,
        }
    }

    fn addresses(&self) -> Vec<u8> {
        if self.v6 {
            let mut both = vec![0x20; 32];
            both[15] = self.host;
            both
        } else {
            vec![10, 0, 0, self.host, 10, 0, 1, 1]
        }
    }

    fn pseudo(&self) -> Vec<u8> {
        let len = (self.transport_len() + self.payload.len()) as u32;
        let mut pseudo = self.addresses();
        pseudo.extend_from_slice(&len.to_be_bytes());
        pseudo.extend_from_slice(&[0, 0, 0, self.protocol()]);
        pseudo
    }

    fn network(&self) -> Vec<u8> {
        let behind = self.transport_len() + self.payload.len();
        let mut header;
        if self.v6 {
            let len = (self.l4() - 40 + behind) as u16;
            header = vec![0x60 | self.tos >> 4, self.tos << 4, 0x12, 0x34];
            header.extend_from_slice(&len.to_be_bytes());
            header.extend_from_slice(&[if self.options { 60 } else { self.protocol() }, self.ttl]);
            header.extend_from_slice(&self.addresses());
            if self.options {
                header.extend_from_slice(&[self.protocol(), 0, 1, 4, 0, 0, 0, 0]);
            }
        } else {
            let len = (self.l4() + behind) as u16;
            header = vec![0x40 | (self.l4() / 4) as u8, self.tos];
            header.extend_from_slice(&len.to_be_bytes());
            header.extend_from_slice(&self.id.to_be_bytes());
            header.extend_from_slice(&[if self.df { 0x40 } else { 0 }, 0]);
            header.extend_from_slice(&[self.ttl, self.protocol(), 0, 0]);
            header.extend_from_slice(&self.addresses());
            if self.options {
                header.extend_from_slice(&[0x94, 4, 0, 0, 1, 1, 1, 0]);
            }
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        header
    }

    /// The transport header with a checksum field of zero.
    fn transport(&self) -> Vec<u8> {
        let mut header = self.ports.0.to_be_bytes().to_vec();
        header.extend_from_slice(&self.ports.1.to_be_bytes());
        if self.tcp {
            header.extend_from_slice(&self.seq.to_be_bytes());
            header.extend_from_slice(&self.ack.to_be_bytes());
            header.extend_from_slice(&[(self.transport_len() * 4) as u8, self.flags]);
            header.extend_from_slice(&self.window.to_be_bytes());
            header.extend_from_slice(&[0; 2]);
            header.extend_from_slice(&self.urgent.to_be_bytes());
            if let Some(stamp) = self.stamp {
                header.extend_from_slice(&[1, 1, 8, 10]);
                header.extend_from_slice(&stamp.to_be_bytes());
                header.extend_from_slice(&[0, 0, 0, 9]);
            }
        } else {
            let len = (8 + self.payload.len()) as u16;
            header.extend_from_slice(&len.to_be_bytes());
            header.extend_from_slice(&[0; 2]);
        }
        header
    }

    pub const fn field(&self) -> usize {
        if self.tcp { 16 } else { 6 }
    }

    fn with_transport_sum(&self, sum: u16) -> Vec<u8> {
        let mut transport = self.transport();
        let field = self.field();
        transport[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        [self.network(), transport, self.payload.clone()].concat()
    }

    /// The packet as it stands on a wire, from its IP header on. A checksum of zero is written
    /// as all ones, as Linux does in TCP and UDP.
    pub fn packet(&self) -> Vec<u8> {
        let sum = checksum(&[&self.pseudo(), &self.transport(), &self.payload]);
        self.with_transport_sum(if sum == 0 { 0xffff } else { sum })
    }

    /// The Ethernet header, with these VLAN tags.
    pub fn ethernet(&self, tags: &[u16]) -> Vec<u8> {
        let mut header = ETH.to_vec();
        for tci in tags {
            header.extend_from_slice(&[0x81, 0]);
            header.extend_from_slice(&tci.to_be_bytes());
        }
        header.extend_from_slice(if self.v6 { &[0x86, 0xdd] } else { &[8, 0] });
        header
    }

    /// The frame as the host's stack leaves it to the device: the checksum unfinished, and to be
    /// cut into segments of `size` bytes where that is given.
    pub fn unfinished(&self, tags: &[u16], size: Option<u16>) -> (VnetHdr, Vec<u8>) {
        let packet = self.with_transport_sum(sum(&[&self.pseudo()]));
        let frame = [self.ethernet(tags), packet].concat();
        let l4 = 14 + 4 * tags.len() + self.l4();
        let gso_type = match (self.tcp, self.v6) {
            (true, false) => GSO_TCPV4,
            (true, true) => GSO_TCPV6,
            (false, _) => GSO_UDP_L4,
        };
        let vnet = VnetHdr {
            flags: NEEDS_CSUM,
            gso_type: size.map_or(0, |_| gso_type),
            hdr_len: (l4 + self.transport_len()) as u16,
            gso_size: size.unwrap_or(0),
            csum_start: l4 as u16,
            csum_offset: self.field() as u16,
        };
        (vnet, frame)
    }

    /// The packets that a NIC makes of it.
    pub fn cut(&self, size: usize) -> Vec<Self> {
        let count = self.payload.len().div_ceil(size).max(1);
        (0..count)
            .map(|n| {
                let (first, last) = (n == 0, n + 1 == count);
                let stop = self.payload.len().min((n + 1) * size);
                let mut flags = self.flags;
                if !first {
                    flags &= !CWR;
                }
                if !last {
                    flags &= !(FIN | PSH);
                }
                Self {
                    id: self.id.wrapping_add(n as u16),
                    seq: self.seq.wrapping_add((n * size) as u32),
                    flags,
                    payload: self.payload[n * size..stop].to_vec(),
                    ..self.clone()
                }
            })
            .collect()
    }
}
