//! Probes: packets that say which they are, so that each one's fate is known.
//!
//! IPv4 and UDP around a payload of mark, flow and number, filled up with a pattern that follows
//! from these. The mark of protected traffic is the canary that no wire may show.

use crate::random::mix;

/// Ethernet, IPv4 and UDP headers.
pub(crate) const ETHERNET: usize = 14;
pub(crate) const IPV4: usize = 20;
pub(crate) const UDP: usize = 8;
/// Mark, flow, number.
const LABEL: usize = 16;
/// The shortest IP packet that a probe fits into.
pub(crate) const MIN_PACKET: usize = IPV4 + UDP + LABEL;

pub(crate) type Mark = [u8; 8];

/// Which probe it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) flow: u32,
    pub(crate) number: u32,
}

impl Probe {
    const fn word(self) -> u64 {
        mix((self.flow as u64) << 32 | self.number as u64)
    }

    /// Writes it over a payload of [`LABEL`] bytes at least.
    fn write(self, mark: &Mark, payload: &mut [u8]) {
        payload[..8].copy_from_slice(mark);
        payload[8..12].copy_from_slice(&self.flow.to_be_bytes());
        payload[12..16].copy_from_slice(&self.number.to_be_bytes());
        let word = self.word().to_le_bytes();
        for chunk in payload[LABEL..].chunks_mut(8) {
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// Reads it from a UDP payload, where all bytes are what they were.
    pub(crate) fn read(mark: &Mark, payload: &[u8]) -> Option<Self> {
        let label: &[u8; LABEL] = payload.first_chunk()?;
        if label[..8] != mark[..] {
            return None;
        }
        let number = |at: usize| {
            u32::from_be_bytes([label[at], label[at + 1], label[at + 2], label[at + 3]])
        };
        let probe = Self {
            flow: number(8),
            number: number(12),
        };
        let word = probe.word().to_le_bytes();
        payload[LABEL..]
            .chunks(8)
            .all(|chunk| chunk == &word[..chunk.len()])
            .then_some(probe)
    }
}

/// What all packets of a flow have in common.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    head: [u8; ETHERNET + IPV4 + UDP],
    /// Ones' complement sum of the IPv4 header without its length.
    sum: u32,
}

impl Template {
    pub(crate) fn new(
        to: [u8; 6],
        from: [u8; 6],
        src: [u8; 4],
        dst: [u8; 4],
        ports: (u16, u16),
    ) -> Self {
        let mut head = [0; ETHERNET + IPV4 + UDP];
        head[..6].copy_from_slice(&to);
        head[6..12].copy_from_slice(&from);
        head[12] = 8;
        let ip = &mut head[ETHERNET..];
        ip[0] = 0x45;
        ip[6] = 0x40;
        ip[8] = 64;
        ip[9] = 17;
        ip[12..16].copy_from_slice(&src);
        ip[16..20].copy_from_slice(&dst);
        ip[20..22].copy_from_slice(&ports.0.to_be_bytes());
        ip[22..24].copy_from_slice(&ports.1.to_be_bytes());
        let sum = head[ETHERNET..ETHERNET + IPV4]
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&pair| u32::from(u16::from_be_bytes(pair)))
            .sum();
        Self { head, sum }
    }

    /// A whole frame whose IP packet has `packet` bytes.
    pub(crate) fn frame(&self, mark: &Mark, probe: Probe, packet: usize) -> Vec<u8> {
        let packet = packet.max(MIN_PACKET);
        let mut frame = vec![0; ETHERNET + packet];
        frame[..self.head.len()].copy_from_slice(&self.head);
        let total = packet as u16;
        frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&total.to_be_bytes());
        let sum = fold(self.sum + u32::from(total));
        frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&(!sum).to_be_bytes());
        let udp = ETHERNET + IPV4;
        let udp_len = (packet - IPV4) as u16;
        frame[udp + 4..udp + 6].copy_from_slice(&udp_len.to_be_bytes());
        probe.write(mark, &mut frame[udp + UDP..]);
        frame
    }
}

/// A ones' complement sum of 16 bits (RFC 1071).
pub(crate) const fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_reads_back_and_a_changed_byte_is_seen() {
        let template = Template::new([2; 6], [4; 6], [10, 0, 0, 1], [10, 0, 0, 2], (1, 2));
        let probe = Probe { flow: 7, number: 9 };
        let mark = *b"canary!!";
        let mut frame = template.frame(&mark, probe, 61);
        assert_eq!(frame.len(), 75);
        let payload = ETHERNET + IPV4 + UDP;
        assert_eq!(Probe::read(&mark, &frame[payload..]), Some(probe));
        let sum: u32 = frame[14..34]
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&pair| u32::from(u16::from_be_bytes(pair)))
            .sum();
        assert_eq!(fold(sum), 0xffff);
        let last = frame.len() - 1;
        frame[last] ^= 1;
        assert_eq!(Probe::read(&mark, &frame[payload..]), None);
    }
}
