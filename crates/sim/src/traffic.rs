//! Who sends what, when.

use std::net::Ipv4Addr;

use esprit_packet::Time;
use serde::Deserialize;

use crate::probe::{MIN_PACKET, Template};
use crate::random::Random;

/// When packets come.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "pattern", rename_all = "kebab-case")]
pub enum Pattern {
    /// Evenly.
    Constant {
        /// Bits of IP packets per second.
        rate_bps: u64,
    },
    /// Each independently of the others: exponentially distributed gaps.
    Poisson {
        /// On average.
        rate_bps: u64,
    },
    /// Evenly for a while, then nothing for a while.
    OnOff {
        /// While it is on.
        rate_bps: u64,
        /// Nanoseconds.
        on_ns: u64,
        /// Nanoseconds.
        off_ns: u64,
    },
    /// As recorded: nanoseconds from the start, and bytes of each IP packet; once through.
    Recorded {
        /// In the order of their time.
        packets: Vec<(u64, u32)>,
    },
}

/// How long IP packets are.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sizes {
    /// All alike.
    Fixed(u32),
    /// By weight: bytes and how many of them.
    Mix(Vec<(u32, u32)>),
}

/// A flow: five-tuple, and by what it comes where it is the peer's.
#[derive(Clone, Debug, Deserialize)]
pub struct FlowSpec {
    /// Inner source.
    pub src: Ipv4Addr,
    /// Inner destination.
    pub dst: Ipv4Addr,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Of the peer's: the SPI that it seals with; none: plain.
    #[serde(default)]
    pub spi: Option<u32>,
    /// Of the peer's: sent to this member's own address; none: to the team's.
    #[serde(default)]
    pub via: Option<u32>,
}

/// A source of packets.
#[derive(Clone, Debug, Deserialize)]
pub struct TrafficSpec {
    /// Its name.
    pub name: String,
    /// The team that sends or receives it.
    pub team: u32,
    /// The peer sends it.
    #[serde(default)]
    pub inbound: bool,
    /// No policy protects it: it leaves as it is.
    #[serde(default)]
    pub plain: bool,
    /// Of the peer's: it asks for our address, and sends where it was told.
    #[serde(default)]
    pub asks: bool,
    /// When.
    #[serde(flatten)]
    pub pattern: Pattern,
    /// How long.
    pub sizes: Sizes,
    /// Flows, in turn.
    pub flows: Vec<FlowSpec>,
    /// Its first packet, in nanoseconds.
    #[serde(default)]
    pub start_ns: u64,
    /// No packet from here on.
    pub stop_ns: u64,
    /// Packets that come together each time.
    #[serde(default = "one")]
    pub burst: u32,
}

const fn one() -> u32 {
    1
}

/// A source at work.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) spec: TrafficSpec,
    pub(crate) templates: Vec<Template>,
    /// The number of its first flow among those of all sources.
    pub(crate) first_flow: u32,
    random: Random,
    weight: u64,
    turn: u32,
    taken: usize,
    /// Exact time of the next packet: rounding each gap would drift.
    at: f64,
}

impl Source {
    pub(crate) fn new(
        spec: TrafficSpec,
        templates: Vec<Template>,
        first_flow: u32,
        seed: u64,
    ) -> Self {
        let weight = match &spec.sizes {
            Sizes::Fixed(_) => 1,
            Sizes::Mix(mix) => mix.iter().map(|&(_, weight)| u64::from(weight)).sum(),
        };
        let at = spec.start_ns as f64;
        let mut source = Self {
            spec,
            templates,
            first_flow,
            random: Random::new(seed),
            weight,
            turn: 0,
            taken: 0,
            at,
        };
        if let Pattern::Poisson { .. } = source.spec.pattern {
            source.advance(source.mean());
        }
        source
    }

    /// When the next packets come; none when it has ended.
    pub(crate) fn next(&self) -> Option<Time> {
        let at = match &self.spec.pattern {
            Pattern::Recorded { packets } => {
                self.spec.start_ns + packets.get(self.taken).map(|&(at, _)| at)?
            }
            Pattern::Constant { .. } | Pattern::Poisson { .. } | Pattern::OnOff { .. } => {
                self.at as u64
            }
        };
        (at < self.spec.stop_ns).then_some(Time(at))
    }

    /// The flow and the length of the packet that is due.
    pub(crate) fn take(&mut self) -> (u32, usize) {
        let flow = self.turn;
        self.turn = (self.turn + 1) % self.spec.flows.len().max(1) as u32;
        let bytes = match &self.spec.pattern {
            Pattern::Recorded { packets } => packets[self.taken].1,
            Pattern::Constant { .. } | Pattern::Poisson { .. } | Pattern::OnOff { .. } => {
                match &self.spec.sizes {
                    Sizes::Fixed(bytes) => *bytes,
                    Sizes::Mix(mix) => {
                        let mut at = self.random.below(self.weight);
                        let mut found = MIN_PACKET as u32;
                        for &(bytes, weight) in mix {
                            found = bytes;
                            if at < u64::from(weight) {
                                break;
                            }
                            at -= u64::from(weight);
                        }
                        found
                    }
                }
            }
        };
        self.taken += 1;
        self.advance(bytes as usize);
        (flow, (bytes as usize).max(MIN_PACKET))
    }

    fn mean(&self) -> usize {
        match &self.spec.sizes {
            Sizes::Fixed(bytes) => *bytes as usize,
            Sizes::Mix(mix) => {
                let sum: u64 = mix.iter().map(|&(b, w)| u64::from(b) * u64::from(w)).sum();
                (sum / self.weight.max(1)) as usize
            }
        }
    }

    /// Moves on by what `bytes` take.
    fn advance(&mut self, bytes: usize) {
        let gap = |rate: u64, bytes: usize| bytes as f64 * 8e9 / rate.max(1) as f64;
        match self.spec.pattern {
            Pattern::Constant { rate_bps } => self.at += gap(rate_bps, bytes),
            Pattern::Poisson { rate_bps } => {
                self.at += gap(rate_bps, self.mean()) * -self.random.unit().ln();
            }
            Pattern::OnOff {
                rate_bps,
                on_ns,
                off_ns,
            } => {
                self.at += gap(rate_bps, bytes);
                let period = (on_ns + off_ns).max(1) as f64;
                let since = self.at - self.spec.start_ns as f64;
                let within = since % period;
                if within >= on_ns as f64 {
                    self.at += period - within;
                }
            }
            Pattern::Recorded { .. } => {}
        }
    }
}
