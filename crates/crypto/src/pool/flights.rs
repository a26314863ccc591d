//! Jobs that were accepted and have not come back.

use std::sync::Arc;

use esprit_packet::Time;

use crate::grants::EngineId;
use crate::job::{Job, JobInput, Shape};
use crate::key::{AeadKey, Direction};
use crate::placement::Ask;

/// Jobs accepted and not yet back, at most: all engines' queues together hold fewer (5 ms of
/// each), so it bounds what waits to be redone when engines fail.
pub(crate) const MAX_IN_FLIGHT: usize = 8192;

/// Low bits of a ticket that are its slot; the rest is a serial number.
const SLOT_BITS: u32 = 16;

/// The slot of a job that came back at once and never had one.
const NO_SLOT: u64 = (1 << SLOT_BITS) - 1;

const _: () = assert!((MAX_IN_FLIGHT as u64) < NO_SLOT);

/// What a request says besides the job itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) team: u32,
    pub(crate) member: Option<u32>,
    pub(crate) shape: Shape,
    pub(crate) memory: u64,
    /// When it was accepted.
    pub(crate) accepted: Time,
}

impl Origin {
    pub(crate) const fn new(now: Time, team: u32, ask: &Ask) -> Self {
        Self {
            team,
            member: ask.member,
            shape: ask.shape,
            memory: ask.memory,
            accepted: now,
        }
    }
}

/// All that is needed to do a job again.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) origin: Origin,
    pub(crate) key: Arc<AeadKey>,
    pub(crate) direction: Direction,
    pub(crate) input: Arc<JobInput>,
    /// The newest attempt.
    pub(crate) attempt: u8,
    /// Attempts that came back failed.
    pub(crate) failures: u8,
    /// No engine has the newest attempt: it waits for one.
    pub(crate) waits: bool,
    /// The engine that it was taken away from; another is preferred.
    pub(crate) from: Option<EngineId>,
}

impl Flight {
    /// The flight of a job on its first attempt.
    pub(crate) fn new(job: &Job, origin: Origin) -> Self {
        Self {
            origin,
            key: Arc::clone(&job.key),
            direction: job.direction,
            input: Arc::clone(&job.input),
            attempt: job.attempt,
            failures: 0,
            waits: false,
            from: None,
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    ticket: u64,
    flight: Option<Flight>,
}

/// The table of flights. A ticket names a slot and is never used twice.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    slots: Vec<Slot>,
    free: Vec<u32>,
    serial: u64,
}

impl Flights {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= MAX_IN_FLIGHT
    }

    /// A ticket for a job that needs no slot.
    pub(crate) fn ticket(&mut self) -> u64 {
        self.serial += 1;
        (self.serial << SLOT_BITS) | NO_SLOT
    }

    /// The ticket that the next `insert` will give.
    pub(crate) fn next_ticket(&self) -> u64 {
        let slot = self
            .free
            .last()
            .map_or(self.slots.len() as u64, |&slot| slot.into());
        ((self.serial + 1) << SLOT_BITS) | slot
    }

    /// Keeps a flight. The table must not be full.
    pub(crate) fn insert(&mut self, flight: Flight) -> u64 {
        let ticket = self.next_ticket();
        self.serial += 1;
        let slot = Slot {
            ticket,
            flight: Some(flight),
        };
        match self.free.pop() {
            Some(at) => self.slots[at as usize] = slot,
            None => self.slots.push(slot),
        }
        ticket
    }

    fn slot(ticket: u64) -> usize {
        (ticket & NO_SLOT) as usize
    }

    pub(crate) fn get_mut(&mut self, ticket: u64) -> Option<&mut Flight> {
        self.slots
            .get_mut(Self::slot(ticket))
            .filter(|slot| slot.ticket == ticket)
            .and_then(|slot| slot.flight.as_mut())
    }

    pub(crate) fn remove(&mut self, ticket: u64) -> Option<Flight> {
        let at = Self::slot(ticket);
        let slot = self
            .slots
            .get_mut(at)
            .filter(|slot| slot.ticket == ticket)?;
        let flight = slot.flight.take()?;
        self.free.push(at as u32);
        Some(flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Algorithm;

    fn flight() -> Flight {
        Flight {
            origin: Origin::default(),
            key: AeadKey::new(Algorithm::Aes128Gcm16, &[0; 16]).unwrap(),
            direction: Direction::Seal,
            input: Arc::default(),
            attempt: 0,
            failures: 0,
            waits: false,
            from: None,
        }
    }

    #[test]
    fn an_old_ticket_does_not_open_a_slot_used_again() {
        let mut flights = Flights::default();
        assert_eq!(flights.next_ticket(), flights.next_ticket());
        let first = flights.insert(flight());
        assert!(flights.remove(first).is_some());
        let second = flights.insert(flight());
        assert_ne!(first, second);
        assert!(flights.get_mut(first).is_none());
        assert!(flights.remove(first).is_none());
        assert!(flights.get_mut(second).is_some());
        assert_eq!(flights.len(), 1);
    }

    #[test]
    fn it_is_full_at_its_limit_and_room_comes_back() {
        let mut flights = Flights::default();
        let tickets: Vec<u64> = (0..MAX_IN_FLIGHT)
            .map(|_| flights.insert(flight()))
            .collect();
        assert!(flights.is_full());
        flights.remove(tickets[17]);
        assert!(!flights.is_full());
        let odd = flights.ticket();
        assert!(flights.get_mut(odd).is_none());
    }
}
