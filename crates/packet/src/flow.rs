//! Flows: what is hashed to spread traffic over members, and kept in order.

use core::net::IpAddr;

use crate::parse::{Fragment, Parsed};

/// What the packets of a flow have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Transport protocol; zero for fragments.
    pub protocol: u8,
    /// Source and destination port; zero where there are none or they cannot be seen.
    pub ports: (u16, u16),
}

impl FlowKey {
    /// The flow of a packet. Of a fragment only the addresses count, also of the first one:
    /// so all fragments of a packet go one way. (The ports stand in the first alone; in
    /// IPv6 the later ones may not even know the transport protocol.)
    #[must_use]
    pub fn of(parsed: &Parsed) -> Self {
        let (protocol, ports) = match parsed.fragment {
            Fragment::Whole => (parsed.protocol, parsed.ports.unwrap_or_default()),
            Fragment::First | Fragment::Later => (0, (0, 0)),
        };
        Self {
            src: parsed.src,
            dst: parsed.dst,
            protocol,
            ports,
        }
    }

    /// A hash that is the same on every machine and in every run. The two directions of a
    /// connection are two flows.
    #[must_use]
    pub fn hash(&self, seed: u64) -> u32 {
        let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
        let mut mix = |word: u64| {
            // The finaliser of splitmix64: every bit of the input reaches every bit of the output.
            state ^= word;
            state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            state ^= state >> 31;
        };
        for address in [self.src, self.dst] {
            match address {
                IpAddr::V4(v4) => mix(u64::from(u32::from(v4))),
                IpAddr::V6(v6) => {
                    let bits = u128::from(v6);
                    mix((bits >> 64) as u64);
                    mix(bits as u64);
                }
            }
        }
        let (from, to) = self.ports;
        mix(u64::from(self.protocol) << 32 | u64::from(from) << 16 | u64::from(to));
        (state >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_packet;

    fn key(port: u16) -> FlowKey {
        FlowKey {
            src: IpAddr::from([10, 0, 0, 1]),
            dst: IpAddr::from([10, 0, 0, 2]),
            protocol: 6,
            ports: (port, 5201),
        }
    }

    #[test]
    fn it_is_the_same_in_every_run() {
        // Computed by another implementation of the same definition.
        assert_eq!(key(40_000).hash(0), 0x60e6_a581);
        let v6 = FlowKey {
            src: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
            dst: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2]),
            ..key(40_000)
        };
        assert_eq!(v6.hash(7), 0x25ab_420f);
    }

    #[test]
    fn connections_from_neighbouring_ports_spread_over_256_buckets() {
        let mut buckets = [0_u32; 256];
        for port in 32_768..32_768 + 256 * 64 {
            buckets[key(port).hash(0) as usize % 256] += 1;
        }
        // 64 each on average; a binomial bucket strays beyond 24..=124 once in 10^6 at most.
        assert!(
            buckets.iter().all(|n| (24..=124).contains(n)),
            "{buckets:?}"
        );
    }

    #[test]
    fn source_and_destination_are_not_exchangeable() {
        let there = key(40_000);
        let back = FlowKey {
            src: there.dst,
            dst: there.src,
            ports: (there.ports.1, there.ports.0),
            ..there
        };
        assert_ne!(there.hash(0), back.hash(0));
    }

    #[test]
    fn all_fragments_of_a_packet_go_one_way() {
        let of = |fragment: [u8; 2]| {
            let mut packet = [0; 28];
            packet[..2].copy_from_slice(&[0x45, 0]);
            packet[3] = 28;
            packet[6..8].copy_from_slice(&fragment);
            packet[9] = 17;
            packet[12..24].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 0x14, 0x51]);
            FlowKey::of(&parse_packet(&packet).unwrap())
        };
        assert_eq!(
            of([0, 0]),
            FlowKey {
                protocol: 17,
                ..key(40_000)
            }
        );
        assert_eq!(of([0x20, 0]), of([0x20, 9]));
        assert_eq!(of([0x20, 0]), of([0, 18]));
        assert_ne!(of([0, 18]), of([0, 0]));
    }
}
