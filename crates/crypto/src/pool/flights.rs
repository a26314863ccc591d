//! Jobs that were accepted and have not come back.

use std::sync::Arc;

use esprit_packet::Time;

use crate::grants::EngineId;
use crate::job::{Job, JobInput, Shape};
use crate::key::{AeadKey, Direction};
use crate::placement::Ask;
use crate::pool::Request;
use crate::pool::check::Check;
use crate::pool::report::{Done, LostReason};

/// Jobs accepted and not yet back, at most: what may wait for engines ([`queue`](super::queue): 6144), and
/// more than the engines' queues hold together in most hosts (5 ms of each).
pub(crate) const MAX_IN_FLIGHT: usize = 16_384;

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
    pub(crate) flow: u32,
    pub(crate) weight: u16,
    pub(crate) shape: Shape,
    pub(crate) memory: u64,
    /// When it was accepted.
    pub(crate) accepted: Time,
}

impl Origin {
    pub(crate) const fn new(now: Time, request: &Request, ask: &Ask) -> Self {
        Self {
            team: request.team,
            member: ask.member,
            flow: request.flow,
            weight: request.weight,
            shape: ask.shape,
            memory: ask.memory,
            accepted: now,
        }
    }
}

/// Why a job is done.
#[derive(Debug)]
pub(crate) enum Task {
    /// Somebody asked for it.
    Work,
    /// To see whether another one was done rightly.
    Check(Box<Check>),
    /// To see whether the engine still does what is known: the canary's number.
    Canary(usize),
}

/// All that is needed to do a job again.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) origin: Origin,
    pub(crate) key: Arc<AeadKey>,
    pub(crate) direction: Direction,
    pub(crate) input: Arc<JobInput>,
    pub(crate) task: Task,
    /// How often it was given to an engine.
    pub(crate) attempts: u8,
    /// Attempts that came back failed.
    pub(crate) failures: u8,
    /// No engine has the newest attempt: it waits for one.
    pub(crate) waits: bool,
    /// The engine that it was taken away from; another is preferred.
    pub(crate) from: Option<EngineId>,
    /// It is done, and leaves once another engine has opened it.
    pub(crate) checked: bool,
}

impl Flight {
    /// The flight of a job on its first attempt.
    pub(crate) fn new(job: &Job, origin: Origin) -> Self {
        Self {
            attempts: 1,
            ..Self::waiting(&job.key, job.direction, &job.input, origin, Task::Work)
        }
    }

    /// The flight of a job that no engine has had.
    pub(crate) fn waiting(
        key: &Arc<AeadKey>,
        direction: Direction,
        input: &Arc<JobInput>,
        origin: Origin,
        task: Task,
    ) -> Self {
        Self {
            origin,
            key: Arc::clone(key),
            direction,
            input: Arc::clone(input),
            task,
            attempts: 0,
            failures: 0,
            waits: false,
            from: None,
            checked: false,
        }
    }

    /// Its end without a result.
    pub(crate) fn lost(self, ticket: u64, reason: LostReason) -> Done {
        let request = Request {
            team: self.origin.team,
            key: self.key,
            direction: self.direction,
            input: self.input,
            member: self.origin.member,
            flow: self.origin.flow,
            weight: self.origin.weight,
        };
        Done::Lost {
            ticket,
            reason,
            request,
            engine: self.from,
        }
    }

    /// Whether this attempt is the one that is waited for.
    pub(crate) const fn awaits(&self, attempt: u8) -> bool {
        self.attempts == attempt.saturating_add(1) && !self.waits && !self.checked
    }

    /// Who may not have it: who sealed it is not asked whether it did so rightly.
    pub(crate) fn never(&self) -> Option<EngineId> {
        match &self.task {
            Task::Check(check) => Some(check.engine),
            Task::Work | Task::Canary(_) => None,
        }
    }

    const fn asked_for(&self) -> bool {
        matches!(self.task, Task::Work)
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
    /// Those that somebody asked for.
    asked_for: usize,
}

impl Flights {
    /// Those that somebody asked for.
    pub(crate) const fn len(&self) -> usize {
        self.asked_for
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
        self.asked_for += usize::from(flight.asked_for());
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

    pub(crate) fn get(&self, ticket: u64) -> Option<&Flight> {
        self.slots
            .get(Self::slot(ticket))
            .filter(|slot| slot.ticket == ticket)
            .and_then(|slot| slot.flight.as_ref())
    }

    pub(crate) fn remove(&mut self, ticket: u64) -> Option<Flight> {
        let at = Self::slot(ticket);
        let slot = self
            .slots
            .get_mut(at)
            .filter(|slot| slot.ticket == ticket)?;
        let flight = slot.flight.take()?;
        self.asked_for -= usize::from(flight.asked_for());
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
            task: Task::Work,
            attempts: 0,
            failures: 0,
            waits: false,
            from: None,
            checked: false,
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
