//! Which packets a policy means (RFC 4301 section 4.4.1.1): addresses, protocol, ports.
//!
//! A selector is written from the host's side, *local* and *remote*, and holds for both
//! directions: what leaves matches local against its source, what arrives against its
//! destination.

use core::fmt;
use core::str::FromStr;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An address range that is a network, or one host. Written `10.1.0.0/24`; an address alone is
/// that host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    /// INVARIANT: no bit is set beyond the first `len`.
    address: IpAddr,
    /// INVARIANT: at most 32 for IPv4, 128 for IPv6.
    len: u8,
}

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// Neither an address nor an address with a length.
    #[error("{0:?} is no network; write one as 10.1.0.0/24 or fd00:1::/64")]
    Syntax(String),
    /// A host's address with a network's length.
    #[error("{given} has bits set beyond its length; the network is {meant}")]
    HostBits {
        /// As given.
        given: String,
        /// The network that it lies in.
        meant: Prefix,
    },
}

impl Prefix {
    /// The network of `len` bits that `address` lies in, `None` where the address has fewer bits.
    #[must_use]
    pub fn network(address: IpAddr, len: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) => {
                let host = 32_u32.checked_sub(len.into())?;
                let mask = u32::MAX.checked_shl(host).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let host = 128_u32.checked_sub(len.into())?;
                let mask = u128::MAX.checked_shl(host).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        Some(Self { address, len })
    }

    /// One host.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self {
            address,
            len: if address.is_ipv4() { 32 } else { 128 },
        }
    }

    /// Whether `address` lies in it. An IPv4 address lies in no IPv6 network, nor the reverse.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::network(address, self.len).is_some_and(|network| network.address == self.address)
    }

    /// Whether it is of IPv4.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let syntax = || PrefixError::Syntax(text.to_owned());
        let (address, len) = match text.split_once('/') {
            None => {
                let address: IpAddr = text.parse().map_err(|_| syntax())?;
                return Ok(Self::host(address));
            }
            Some((address, len)) => (address, len),
        };
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        let len: u8 = len.parse().map_err(|_| syntax())?;
        let meant = Self::network(address, len).ok_or_else(syntax)?;
        if meant.address == address {
            Ok(meant)
        } else {
            Err(PrefixError::HostBits {
                given: text.to_owned(),
                meant,
            })
        }
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

/// A policy's selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selector {
    /// Addresses on the host's side.
    pub local: Prefix,
    /// Addresses on the peer's side.
    pub remote: Prefix,
    /// The transport protocol; none: all of them.
    #[serde(default)]
    pub protocol: Option<u8>,
    /// First and last port on the host's side; none: all, and packets without ports.
    #[serde(default)]
    pub local_port: Option<(u16, u16)>,
    /// First and last port on the peer's side.
    #[serde(default)]
    pub remote_port: Option<(u16, u16)>,
}

/// Why a selector cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// Addresses of two families: it would match nothing.
    #[error("local {local} and remote {remote} are of different IP versions")]
    Families {
        /// The host's side.
        local: Prefix,
        /// The peer's side.
        remote: Prefix,
    },
    /// The last port lies before the first.
    #[error("port range {first}-{last} is empty; write the smaller port first")]
    PortRange {
        /// The first port.
        first: u16,
        /// The last.
        last: u16,
    },
    /// Ports of a protocol that has none: it would match nothing.
    #[error("protocol {protocol} has no ports; leave out local_port and remote_port")]
    NoPorts {
        /// The protocol.
        protocol: u8,
    },
}

/// All ports there are: such a range means the same as none (RFC 4301 section 4.4.1.1, ANY).
const ALL_PORTS: (u16, u16) = (0, u16::MAX);

/// How a packet stands to a selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It matches.
    Yes,
    /// It does not.
    No,
    /// All that it shows matches, but its ports or protocol cannot be seen: a fragment.
    Unknown,
}

/// What a selector looks at, from the host's side.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// Address on the host's side.
    pub local: IpAddr,
    /// Address on the peer's side.
    pub remote: IpAddr,
    /// The transport protocol; none where a fragment hides it.
    pub protocol: Option<u8>,
    /// Ports of the host's and the peer's side; none where there are none, or where a fragment
    /// hides them.
    pub ports: Option<(u16, u16)>,
}

impl Selector {
    /// Whether a selector like this can be.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn validate(&self) -> Result<(), SelectorError> {
        if self.local.is_ipv4() != self.remote.is_ipv4() {
            return Err(SelectorError::Families {
                local: self.local,
                remote: self.remote,
            });
        }
        for (first, last) in [self.local_port, self.remote_port].into_iter().flatten() {
            if first > last {
                return Err(SelectorError::PortRange { first, last });
            }
        }
        match self.protocol {
            Some(protocol) if self.has_ports() && !carries_ports(protocol) => {
                Err(SelectorError::NoPorts { protocol })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Compares a packet with it.
    #[must_use]
    pub fn matches(&self, packet: &Traits) -> Match {
        if !self.local.contains(packet.local) || !self.remote.contains(packet.remote) {
            return Match::No;
        }
        let Some(protocol) = packet.protocol else {
            return if self.protocol.is_none() && !self.has_ports() {
                Match::Yes
            } else {
                Match::Unknown
            };
        };
        if self.protocol.is_some_and(|wanted| wanted != protocol) {
            return Match::No;
        }
        if !self.has_ports() {
            return Match::Yes;
        }
        match packet.ports {
            Some((local, remote)) => {
                if within(self.local_port, local) && within(self.remote_port, remote) {
                    Match::Yes
                } else {
                    Match::No
                }
            }
            None if carries_ports(protocol) => Match::Unknown,
            None => Match::No,
        }
    }

    /// Whether it asks for ports.
    fn has_ports(&self) -> bool {
        [self.local_port, self.remote_port]
            .into_iter()
            .flatten()
            .any(|range| range != ALL_PORTS)
    }
}

fn within(range: Option<(u16, u16)>, port: u16) -> bool {
    range.is_none_or(|(first, last)| (first..=last).contains(&port))
}

/// Protocols whose header begins with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const fn carries_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.1.0.0/24", "10.1.0.255", "10.1.1.0"),
            ("10.1.0.7", "10.1.0.7", "10.1.0.6"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("::/0", "ffff::1", "10.0.0.1"),
            ("fd00:1::/64", "fd00:1::ffff:0:0:1", "fd00:1:0:1::"),
            ("128.0.0.0/1", "128.0.0.0", "127.255.255.255"),
        ] {
            assert!(prefix(network).contains(ip(inside)), "{network} {inside}");
            assert!(
                !prefix(network).contains(ip(outside)),
                "{network} {outside}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_was_meant() {
        let error = "10.1.0.7/24".parse::<Prefix>().unwrap_err().to_string();
        assert!(error.contains("10.1.0.0/24"), "{error}");
        for text in [
            "",
            "/",
            "10.1.0.0/33",
            "10.1.0.0/-1",
            "fd00::/129",
            "10.1/16",
            "a/b",
            "::1/",
        ] {
            assert!(
                matches!(text.parse::<Prefix>(), Err(PrefixError::Syntax(_))),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_network_and_its_text_are_the_same(bits: u128, len in 0_u8..=128, v4: bool) {
            let address = if v4 {
                IpAddr::V4((bits as u32).into())
            } else {
                IpAddr::V6(bits.into())
            };
            let len = if v4 { len % 33 } else { len };
            let network = Prefix::network(address, len).unwrap();
            prop_assert!(network.contains(address));
            prop_assert_eq!(network.to_string().parse::<Prefix>(), Ok(network));
        }
    }

    fn selector(protocol: Option<u8>, remote_port: Option<(u16, u16)>) -> Selector {
        Selector {
            local: prefix("10.1.0.0/24"),
            remote: prefix("10.2.0.0/24"),
            protocol,
            local_port: None,
            remote_port,
        }
    }

    fn packet(protocol: Option<u8>, ports: Option<(u16, u16)>) -> Traits {
        Traits {
            local: ip("10.1.0.5"),
            remote: ip("10.2.0.5"),
            protocol,
            ports,
        }
    }

    #[test]
    fn ports_match_where_they_can_be_seen() {
        let web = selector(Some(6), Some((80, 443)));
        let matches = |protocol, ports| web.matches(&packet(protocol, ports));
        assert_eq!(matches(Some(6), Some((1024, 80))), Match::Yes);
        assert_eq!(matches(Some(6), Some((1024, 443))), Match::Yes);
        assert_eq!(matches(Some(6), Some((80, 444))), Match::No);
        assert_eq!(matches(Some(17), Some((1024, 80))), Match::No);
        assert_eq!(matches(Some(6), None), Match::Unknown);
        assert_eq!(matches(None, None), Match::Unknown);
        assert_eq!(
            matches(Some(1), None),
            Match::No,
            "ICMP has no ports to hide"
        );
    }

    #[test]
    fn without_ports_or_protocol_a_fragment_matches() {
        assert_eq!(
            selector(None, None).matches(&packet(None, None)),
            Match::Yes
        );
        assert_eq!(
            selector(Some(17), None).matches(&packet(Some(17), None)),
            Match::Yes
        );
        assert_eq!(
            selector(Some(17), None).matches(&packet(None, None)),
            Match::Unknown
        );
        let all = selector(Some(17), Some(ALL_PORTS));
        assert_eq!(all.matches(&packet(Some(17), None)), Match::Yes);
        let mut elsewhere = packet(None, None);
        elsewhere.remote = ip("10.3.0.5");
        assert_eq!(selector(None, Some((1, 2))).matches(&elsewhere), Match::No);
    }

    #[test]
    fn selectors_that_match_nothing_are_refused() {
        let mut wrong = selector(None, None);
        wrong.remote = prefix("fd00::/64");
        assert!(
            wrong
                .validate()
                .unwrap_err()
                .to_string()
                .contains("IP versions")
        );
        assert!(selector(Some(6), Some((9, 8))).validate().is_err());
        assert!(selector(Some(1), Some((8, 9))).validate().is_err());
        assert_eq!(selector(Some(17), Some((8, 9))).validate(), Ok(()));
    }
}
