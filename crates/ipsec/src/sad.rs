//! Security associations (RFC 4301 section 4.4.2): their configuration, and the lookup of
//! inbound ones. Keys are not here: they go to the engines.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use thiserror::Error;

use crate::ids::SaId;
use crate::replay;

/// Which way an SA works. An SA is one-way; a connection has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Seals what leaves.
    Out,
    /// Opens what arrives.
    In,
}

/// What ESP protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A whole packet, inside a new one.
    Tunnel,
    /// A packet's payload, between the same two hosts.
    Transport,
}

/// Ports of UDP encapsulation (RFC 3948), as seen from the sender of the SA's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpEncap {
    /// Source port.
    pub sport: u16,
    /// Destination port; an inbound SA's is where it is received.
    pub dport: u16,
}

/// UDP port of encapsulated ESP and of IKE beside it (RFC 3948 section 2).
pub const NAT_T_PORT: u16 = 4500;

impl Default for UdpEncap {
    fn default() -> Self {
        Self {
            sport: NAT_T_PORT,
            dport: NAT_T_PORT,
        }
    }
}

/// The one algorithm that ESP knows here so far; the key's length says which AES.
pub const AES_GCM_16: &str = "aes-gcm-16";

/// The largest weight of an SA.
pub const MAX_WEIGHT: u16 = 100;

/// An SA as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaSpec {
    /// Its number in the process.
    pub id: u32,
    /// Its team.
    pub team: u32,
    /// Its direction.
    pub direction: Direction,
    /// The SPI that its packets show.
    pub spi: u32,
    /// Outer source address.
    pub src: IpAddr,
    /// Outer destination address.
    pub dst: IpAddr,
    /// Tunnel or transport.
    pub mode: Mode,
    /// [`AES_GCM_16`].
    pub algorithm: String,
    /// Extended sequence numbers.
    #[serde(default)]
    pub esn: bool,
    /// Inbound: numbers that the replay window tells apart; 0 turns it off.
    #[serde(default)]
    pub replay_window: u32,
    /// ESP inside UDP.
    #[serde(default)]
    pub encap: Option<UdpEncap>,
    /// Its share of a full engine, against the other SAs' weights.
    #[serde(default = "one")]
    pub weight: u16,
    /// The member that carries it, where the policy has one SA per member.
    #[serde(default)]
    pub member: Option<u32>,
    /// The policy that it serves: an inbound packet must match it.
    #[serde(default)]
    pub policy: Option<u32>,
    /// Outbound: the first sequence number to use. Inbound: the highest one accepted.
    #[serde(default)]
    pub seq: u64,
    /// Outbound: numbers below this may be used, their mark is stored.
    #[serde(default = "all")]
    pub granted: u64,
}

const fn one() -> u16 {
    1
}

/// A key that does not outlive the process needs no stored mark.
const fn all() -> u64 {
    u64::MAX
}

/// Why an SA is refused. The text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// Outer addresses of two families.
    #[error("SA {id}: src {src} and dst {dst} are of different IP versions")]
    Families {
        /// The SA.
        id: u32,
        /// Its source.
        src: IpAddr,
        /// Its destination.
        dst: IpAddr,
    },
    /// RFC 4303 section 2.1: SPI 0 never goes over a wire.
    #[error("SA {id}: SPI 0 is never sent; choose one from 256 on")]
    SpiZero {
        /// The SA.
        id: u32,
    },
    /// An algorithm that is not known here.
    #[error("SA {id}: algorithm {algorithm:?} is not known; use {AES_GCM_16:?}")]
    Algorithm {
        /// The SA.
        id: u32,
        /// What was asked for.
        algorithm: String,
    },
    /// Wider than the window can be.
    #[error("SA {id}: replay_window {width} is too wide; at most {max}", max = replay::MAX_WIDTH)]
    Window {
        /// The SA.
        id: u32,
        /// What was asked for.
        width: u32,
    },
    /// RFC 4303 section 2.2.1: the receiver infers the upper half from the window.
    #[error("SA {id}: ESN needs a replay window; set replay_window to 32 or more")]
    EsnWithoutWindow {
        /// The SA.
        id: u32,
    },
    /// No share at all, or one that leaves others next to nothing.
    #[error("SA {id}: weight {weight} is out of range; use 1 to {MAX_WEIGHT}")]
    Weight {
        /// The SA.
        id: u32,
        /// What was asked for.
        weight: u16,
    },
    /// A first or last number that 32 bits do not hold.
    #[error("SA {id}: sequence number {seq} needs esn = true")]
    SeqWithoutEsn {
        /// The SA.
        id: u32,
        /// The number.
        seq: u64,
    },
}

impl SaSpec {
    /// Whether an SA like this can be.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn validate(&self) -> Result<(), SpecError> {
        let id = self.id;
        if self.src.is_ipv4() != self.dst.is_ipv4() {
            return Err(SpecError::Families {
                id,
                src: self.src,
                dst: self.dst,
            });
        }
        // Received packets with a reserved SPI are refused by having no SA; an SA that someone
        // sets up for one is that someone's decision.
        if self.spi == 0 && self.direction == Direction::Out {
            return Err(SpecError::SpiZero { id });
        }
        if self.algorithm != AES_GCM_16 {
            return Err(SpecError::Algorithm {
                id,
                algorithm: self.algorithm.clone(),
            });
        }
        if self.replay_window > replay::MAX_WIDTH {
            return Err(SpecError::Window {
                id,
                width: self.replay_window,
            });
        }
        if self.direction == Direction::In && self.esn && self.replay_window == 0 {
            return Err(SpecError::EsnWithoutWindow { id });
        }
        if !(1..=MAX_WEIGHT).contains(&self.weight) {
            return Err(SpecError::Weight {
                id,
                weight: self.weight,
            });
        }
        if !self.esn && self.seq > u64::from(u32::MAX) {
            return Err(SpecError::SeqWithoutEsn { id, seq: self.seq });
        }
        Ok(())
    }
}

/// Another SA has this SPI and destination already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("SA {held} has SPI {spi:#010x} and destination {dst} already")]
pub struct DuplicateSpi {
    /// The SA that has them.
    pub held: SaId,
    /// The SPI.
    pub spi: u32,
    /// The destination.
    pub dst: IpAddr,
}

/// Inbound SAs by SPI and destination address.
#[derive(Clone, Debug, Default)]
pub struct InboundSad {
    /// An ordered map: a step of the data path must not depend on a hash's order, and no stranger
    /// chooses its keys.
    by_spi: BTreeMap<u32, SmallVec<[(IpAddr, SaId); 1]>>,
    /// UDP ports on which encapsulated ESP is received, with the number of SAs that do.
    ports: BTreeMap<u16, u32>,
}

impl InboundSad {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            by_spi: BTreeMap::new(),
            ports: BTreeMap::new(),
        }
    }

    /// Adds an SA.
    ///
    /// # Errors
    /// [`DuplicateSpi`]; nothing has changed then.
    pub fn insert(&mut self, spec: &SaSpec) -> Result<(), DuplicateSpi> {
        let (spi, dst) = (spec.spi, spec.dst);
        let entries = self.by_spi.entry(spi).or_default();
        if let Some(&(_, held)) = entries.iter().find(|(of, _)| *of == dst) {
            return Err(DuplicateSpi { held, spi, dst });
        }
        entries.push((dst, SaId(spec.id)));
        if let Some(UdpEncap { dport, .. }) = spec.encap {
            *self.ports.entry(dport).or_default() += 1;
        }
        Ok(())
    }

    /// Takes an SA out again, and says whether it was there.
    pub fn remove(&mut self, spec: &SaSpec) -> bool {
        let Some(entries) = self.by_spi.get_mut(&spec.spi) else {
            return false;
        };
        let held = (spec.dst, SaId(spec.id));
        let Some(at) = entries.iter().position(|&entry| entry == held) else {
            return false;
        };
        entries.remove(at);
        if entries.is_empty() {
            self.by_spi.remove(&spec.spi);
        }
        if let Some(UdpEncap { dport, .. }) = spec.encap
            && let Some(count) = self.ports.get_mut(&dport)
        {
            *count -= 1;
            if *count == 0 {
                self.ports.remove(&dport);
            }
        }
        true
    }

    /// Whether any SA receives ESP in UDP on this port.
    #[must_use]
    pub fn listens(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }

    /// The SA of a packet that shows `spi` and was sent to `dst`. Where none has this
    /// destination, the SPI alone decides (RFC 4301 section 4.1), if only one SA has it: the
    /// address of a host behind a NAT may have changed.
    #[must_use]
    pub fn lookup(&self, spi: u32, dst: IpAddr) -> Option<SaId> {
        let entries = self.by_spi.get(&spi)?;
        entries
            .iter()
            .find(|(of, _)| *of == dst)
            .or_else(|| entries.first().filter(|_| entries.len() == 1))
            .map(|&(_, id)| id)
    }

    /// How many SAs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_spi.values().map(SmallVec::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_spi.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 2));

    fn inbound(id: u32, spi: u32, dst: IpAddr) -> SaSpec {
        SaSpec {
            id,
            spi,
            dst,
            ..spec()
        }
    }

    #[test]
    fn the_destination_decides_between_two_with_one_spi() {
        let mut sad = InboundSad::new();
        sad.insert(&inbound(1, 256, A)).unwrap();
        sad.insert(&inbound(2, 256, B)).unwrap();
        assert_eq!(sad.lookup(256, A), Some(SaId(1)));
        assert_eq!(sad.lookup(256, B), Some(SaId(2)));
        assert_eq!(
            sad.lookup(256, IpAddr::from([10, 1, 0, 3])),
            None,
            "no guess"
        );
        assert_eq!(sad.lookup(257, A), None);
    }

    #[test]
    fn the_spi_alone_decides_where_it_can() {
        let mut sad = InboundSad::new();
        sad.insert(&inbound(1, 256, A)).unwrap();
        assert_eq!(sad.lookup(256, B), Some(SaId(1)));
    }

    #[test]
    fn a_second_sa_with_both_is_refused_and_changes_nothing() {
        let mut sad = InboundSad::new();
        let (first, second) = (inbound(1, 256, A), inbound(2, 256, A));
        sad.insert(&first).unwrap();
        assert_eq!(sad.insert(&second).unwrap_err().held, SaId(1));
        assert!(!sad.remove(&second), "it was never in");
        assert_eq!(sad.lookup(256, A), Some(SaId(1)));
        assert!(sad.remove(&first) && !sad.remove(&first));
        assert!(sad.is_empty() && !sad.listens(4500));
    }

    #[test]
    fn a_port_is_listened_on_as_long_as_an_sa_uses_it() {
        let mut sad = InboundSad::new();
        let (first, second) = (inbound(1, 256, A), inbound(2, 257, A));
        sad.insert(&first).unwrap();
        sad.insert(&second).unwrap();
        sad.remove(&first);
        assert!(sad.listens(4500) && !sad.listens(4501));
        sad.remove(&second);
        assert!(!sad.listens(4500));
    }

    fn spec() -> SaSpec {
        serde_json::from_str(
            r#"{"id": 7, "team": 1, "direction": "in", "spi": 4096, "src": "10.1.0.2",
                "dst": "10.1.0.1", "mode": "tunnel", "algorithm": "aes-gcm-16", "esn": true,
                "replay_window": 1024, "encap": {"sport": 4500, "dport": 4500}, "member": null,
                "policy": 3, "seq": 0, "granted": 0}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_specification_reads_and_writes_as_json() {
        let spec = spec();
        assert_eq!((spec.mode, spec.direction), (Mode::Tunnel, Direction::In));
        assert_eq!(spec.weight, 1, "as it is left out");
        let text = serde_json::to_string(&spec).unwrap();
        assert!(text.contains(r#""direction":"in""#), "{text}");
        assert_eq!(serde_json::from_str::<SaSpec>(&text).unwrap(), spec);
        assert!(serde_json::from_str::<SaSpec>(&text.replace("\"spi\"", "\"spy\"")).is_err());
        assert_eq!(spec.validate(), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_remedy() {
        let wrong = |change: &dyn Fn(&mut SaSpec)| {
            let mut spec = spec();
            change(&mut spec);
            spec.validate().unwrap_err().to_string()
        };
        assert!(wrong(&|s| s.dst = "fd00::1".parse().unwrap()).contains("IP versions"));
        assert!(wrong(&|s| s.algorithm = "rot13".into()).contains("aes-gcm-16"));
        assert!(wrong(&|s| s.replay_window = 8193).contains("at most 8192"));
        assert!(wrong(&|s| s.replay_window = 0).contains("32 or more"));
        assert!(wrong(&|s| s.weight = 0).contains("use 1 to 100"));
        assert!(wrong(&|s| s.weight = 101).contains("use 1 to 100"));
        assert!(
            wrong(&|s| {
                s.esn = false;
                s.seq = 1 << 32;
            })
            .contains("esn = true")
        );
        assert!(
            wrong(&|s| {
                s.direction = Direction::Out;
                s.spi = 0;
            })
            .contains("from 256 on")
        );
    }
}
