//! How fast an engine is, as measured.

use serde::Serialize;

use crate::key::{Algorithm, Direction};

/// Time as a function of packets and bytes; what is left, for a job, is its latency. A rate in
/// bytes alone would be wrong by a factor of six at 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rate {
    /// Nanoseconds for each packet.
    pub ns_per_packet: f64,
    /// Nanoseconds for each byte.
    pub ns_per_byte: f64,
    /// Nanoseconds for each job besides: the way through the engine, or the cost of a call.
    pub latency_ns: f64,
    /// Nanoseconds to install a key that it does not hold.
    pub key_ns: f64,
}

impl Rate {
    /// Nanoseconds that the engine is busy with `packets` packets of `bytes` bytes together.
    #[must_use]
    pub fn service_ns(&self, packets: u32, bytes: u64) -> u64 {
        // A float saturates when it is cast, so no sum of a caller's can wrap.
        (f64::from(packets) * self.ns_per_packet + bytes as f64 * self.ns_per_byte) as u64
    }
}

/// All rates of an engine; none where it does not know the algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates([[Option<Rate>; 2]; Algorithm::ALL.len()]);

impl Rates {
    /// The rate for one algorithm and direction.
    #[must_use]
    pub const fn get(&self, algorithm: Algorithm, direction: Direction) -> Option<&Rate> {
        self.0[algorithm.index()][direction.index()].as_ref()
    }

    /// Sets it.
    pub const fn set(&mut self, algorithm: Algorithm, direction: Direction, rate: Rate) {
        self.0[algorithm.index()][direction.index()] = Some(rate);
    }

    /// All there are, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (Algorithm, Direction, &Rate)> {
        Algorithm::ALL.into_iter().flat_map(move |algorithm| {
            Direction::ALL.into_iter().filter_map(move |direction| {
                self.get(algorithm, direction)
                    .map(|rate| (algorithm, direction, rate))
            })
        })
    }
}

/// One line of [`Rates`], as snapshots show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateLine {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Seal or open.
    pub direction: Direction,
    /// As measured.
    #[serde(flatten)]
    pub rate: Rate,
}

impl Rates {
    /// As snapshots show them.
    #[must_use]
    pub fn lines(&self) -> Vec<RateLine> {
        self.iter()
            .map(|(algorithm, direction, &rate)| RateLine {
                algorithm,
                direction,
                rate,
            })
            .collect()
    }
}
