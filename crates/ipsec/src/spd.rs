//! The security policy database (RFC 4301 section 4.4.1): ordered, first match decides.
//!
//! Before the policies stand the built-in rules of [`builtin`], without which no key could be
//! agreed and no neighbour found. After them stands the default: bypass, but discard towards and
//! from every network and peer that a `protect` policy names, since what falls through there was
//! most likely meant to be protected. A packet whose ports cannot be seen (a later fragment) and
//! that might match a policy with ports is discarded: it must not fall through to bypass.

use std::net::IpAddr;

use esprit_packet::parse::{Fragment, Net, Parsed};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::PolicyId;
use crate::selector::{Match, Prefix, Selector, SelectorError, Traits};

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Sealed on the way out; on the way in it must have come sealed.
    Protect,
    /// Passed in plaintext.
    Bypass,
    /// Dropped and counted.
    Discard,
}

/// A policy as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySpec {
    /// Its number in the process.
    pub id: u32,
    /// Its name, for people.
    #[serde(default)]
    pub name: String,
    /// What it does.
    pub action: Action,
    /// With which packets.
    #[serde(flatten)]
    pub selector: Selector,
}

/// A policy in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its number.
    pub id: PolicyId,
    /// Its name.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// With which packets.
    pub selector: Selector,
}

impl From<PolicySpec> for Policy {
    fn from(spec: PolicySpec) -> Self {
        let PolicySpec {
            id,
            name,
            action,
            selector,
        } = spec;
        Self {
            id: PolicyId(id),
            name,
            action,
            selector,
        }
    }
}

/// Why a set of policies is refused, as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpdError {
    /// A selector that cannot be.
    #[error("policy {id} ({name}): {error}")]
    Selector {
        /// The policy.
        id: u32,
        /// Its name.
        name: String,
        /// What is wrong.
        error: SelectorError,
    },
    /// Two policies with one number.
    #[error("policy {id} stands in the list twice")]
    Duplicate {
        /// The number.
        id: u32,
    },
}

/// A built-in rule. All of them are bypass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Builtin {
    /// IKE: UDP with port 500 on the host's side, which only a privileged process can use.
    Ike,
    /// IKE beside encapsulated ESP: UDP with port 4500 on the host's side, and four zero bytes
    /// first (RFC 3948 section 2.2).
    IkeNatT,
    /// ARP.
    Arp,
    /// Neighbour discovery: ICMPv6 types 133 to 137 (RFC 4861).
    NeighbourDiscovery,
}

impl Builtin {
    /// The name that `policy show` prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ike => "ike",
            Self::IkeNatT => "ike-nat-t",
            Self::Arp => "arp",
            Self::NeighbourDiscovery => "neighbour-discovery",
        }
    }

    /// What it matches, in one line for people.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Ike => "UDP, local port 500",
            Self::IkeNatT => "UDP, local port 4500, non-ESP marker",
            Self::Arp => "ARP",
            Self::NeighbourDiscovery => "ICMPv6, types 133-137",
        }
    }
}

/// The built-in rules, in the order in which they are tried.
#[must_use]
pub const fn builtin() -> &'static [Builtin] {
    &[
        Builtin::Ike,
        Builtin::IkeNatT,
        Builtin::Arp,
        Builtin::NeighbourDiscovery,
    ]
}

/// Which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A policy: [`Verdict::policy`].
    Policy,
    /// A built-in rule.
    Builtin(Builtin),
    /// The default, for addresses that no `protect` policy names: bypass.
    Default,
    /// The default, for a network or peer that one names: discard.
    Protected,
    /// Ports or protocol cannot be seen, and [`Verdict::policy`] might match: discard.
    Fragment,
    /// PPPoE or MPLS while a policy protects: what is inside cannot be judged: discard.
    Encapsulated,
}

/// What is done with a packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The policy that decided.
    pub policy: Option<PolicyId>,
    /// What is done.
    pub action: Action,
    /// Which rule decided.
    pub rule: Rule,
}

/// The direction of a packet, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Out,
    In,
}

/// The database.
#[derive(Clone, Debug, Default)]
pub struct Spd {
    policies: Vec<Policy>,
    /// Networks and peers that `protect` policies and SAs name.
    protected: Vec<Prefix>,
    protects: bool,
}

impl Spd {
    /// The policies in their order, and the peers' addresses (the far endpoints of the SAs).
    ///
    /// # Errors
    /// [`SpdError`]: none of them is in force then.
    pub fn new(specs: Vec<PolicySpec>, endpoints: &[IpAddr]) -> Result<Self, SpdError> {
        for (at, spec) in specs.iter().enumerate() {
            if specs[..at].iter().any(|other| other.id == spec.id) {
                return Err(SpdError::Duplicate { id: spec.id });
            }
            spec.selector
                .validate()
                .map_err(|error| SpdError::Selector {
                    id: spec.id,
                    name: spec.name.clone(),
                    error,
                })?;
        }
        let protecting = |spec: &&PolicySpec| spec.action == Action::Protect;
        let mut protected: Vec<Prefix> = endpoints.iter().copied().map(Prefix::host).collect();
        for spec in specs.iter().filter(protecting) {
            if !protected.contains(&spec.selector.remote) {
                protected.push(spec.selector.remote);
            }
        }
        Ok(Self {
            protects: specs.iter().any(|spec| protecting(&spec)),
            policies: specs.into_iter().map(Policy::from).collect(),
            protected,
        })
    }

    /// The policies, in order.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// Whether any policy protects.
    #[must_use]
    pub const fn protects(&self) -> bool {
        self.protects
    }

    /// The verdict on a packet that the host sends. `bytes` is what `packet` was parsed from.
    #[must_use]
    pub fn lookup_out(&self, packet: &Parsed, bytes: &[u8]) -> Verdict {
        self.lookup(packet, bytes, Way::Out)
    }

    /// The verdict on a packet that arrives for the host: plain from the wire, or opened. For an
    /// opened one it must be [`Action::Protect`], by the policy of its SA.
    #[must_use]
    pub fn lookup_in(&self, packet: &Parsed, bytes: &[u8]) -> Verdict {
        self.lookup(packet, bytes, Way::In)
    }

    fn lookup(&self, packet: &Parsed, bytes: &[u8], way: Way) -> Verdict {
        let rule = |action, rule| Verdict {
            policy: None,
            action,
            rule,
        };
        match packet.net {
            Net::Arp => return rule(Action::Bypass, Rule::Builtin(Builtin::Arp)),
            Net::Encapsulated(_) if self.protects => {
                return rule(Action::Discard, Rule::Encapsulated);
            }
            Net::Encapsulated(_) | Net::Other(_) => return rule(Action::Bypass, Rule::Default),
            Net::Ipv4 | Net::Ipv6 => {}
        }
        let traits = traits(packet, way);
        if let Some(builtin) = builtin_for(packet, &traits, bytes) {
            return rule(Action::Bypass, Rule::Builtin(builtin));
        }
        for policy in &self.policies {
            let (action, rule) = match policy.selector.matches(&traits) {
                Match::No => continue,
                Match::Yes => (policy.action, Rule::Policy),
                Match::Unknown => (Action::Discard, Rule::Fragment),
            };
            return Verdict {
                policy: Some(policy.id),
                action,
                rule,
            };
        }
        if self.protected.iter().any(|net| net.contains(traits.remote)) {
            rule(Action::Discard, Rule::Protected)
        } else {
            rule(Action::Bypass, Rule::Default)
        }
    }
}

/// What selectors look at, turned to the host's side.
fn traits(packet: &Parsed, way: Way) -> Traits {
    let hidden = packet.fragment == Fragment::Later && is_extension(packet.protocol);
    let ports = packet.ports;
    let (local, remote, ports) = match way {
        Way::Out => (packet.src, packet.dst, ports),
        Way::In => (packet.dst, packet.src, ports.map(|(src, dst)| (dst, src))),
    };
    Traits {
        local,
        remote,
        protocol: (!hidden).then_some(packet.protocol),
        ports,
    }
}

/// IPv6 extension headers that may follow a fragment header (RFC 8200 section 4.1). In a later
/// fragment this number is all there is to see; the transport protocol lies in the first.
const fn is_extension(protocol: u8) -> bool {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
}

/// The built-in rule that matches, if any.
fn builtin_for(packet: &Parsed, traits: &Traits, bytes: &[u8]) -> Option<Builtin> {
    const UDP: u8 = 17;
    const ICMPV6: u8 = 58;
    const IKE_PORT: u16 = 500;
    const NON_ESP_MARKER: [u8; 4] = [0; 4];

    match (packet.protocol, traits.ports) {
        (UDP, Some((IKE_PORT, _))) => Some(Builtin::Ike),
        (UDP, Some((crate::sad::NAT_T_PORT, _))) => {
            let payload = bytes.get(packet.payload as usize..packet.end as usize)?;
            (payload.first_chunk() == Some(&NON_ESP_MARKER)).then_some(Builtin::IkeNatT)
        }
        (ICMPV6, _) if packet.net == Net::Ipv6 => {
            let (kind, _) = packet.icmp?;
            (133..=137)
                .contains(&kind)
                .then_some(Builtin::NeighbourDiscovery)
        }
        _ => None,
    }
}
