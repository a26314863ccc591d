//! Jobs between their submission and their release.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::release::Place;

/// What a ticket stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flight {
    /// Outbound: the SA and the place in its queue.
    Seal(u32, Place),
    /// Inbound, likewise.
    Open(u32, Place),
}

/// Tickets are the pool's own counter, so they spread by themselves and no stranger chooses
/// them: the number is its own hash.
#[derive(Default)]
pub struct TicketHasher(u64);

impl Hasher for TicketHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, ticket: u64) {
        // Fibonacci hashing: the table looks at the top bits, a counter moves the low ones.
        self.0 = ticket.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// The jobs in flight, by ticket. Bounded by the engines' queues and the pool's retry list.
pub type Flights = HashMap<u64, Flight, BuildHasherDefault<TicketHasher>>;
