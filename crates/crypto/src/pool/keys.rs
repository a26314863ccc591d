//! Which engine holds which key, as far as is known from the jobs that it was given: an engine
//! with SA slots installs a key that it lacks first, and the one not used for longest gives way.
//!
//! Verification and an earlier life in the pool are not in it: an engine begins without keys, as
//! after a reset. So what is believed to be there is there; what is not may be, at the cost of one
//! estimate that is too long.

use std::collections::{BTreeMap, VecDeque};

use crate::engine::Capabilities;
use crate::seats::SeatSet;

/// Keys that are followed of an engine that says no bound: more than the largest host that we
/// have a scenario for has SAs (100,000).
const UNBOUNDED: usize = 131_072;

/// One engine's keys, by their last use.
#[derive(Debug)]
struct Table {
    slots: usize,
    /// When each was used last, counted in changes of key.
    used: BTreeMap<u64, u64>,
    /// Every use, oldest first; all but a key's newest are out of date.
    order: VecDeque<(u64, u64)>,
    last: Option<u64>,
    turn: u64,
}

impl Table {
    const fn new(slots: usize) -> Self {
        Self {
            slots,
            used: BTreeMap::new(),
            order: VecDeque::new(),
            last: None,
            turn: 0,
        }
    }

    /// Answers whether it is new, and which one gave way.
    fn touch(&mut self, key: u64) -> (bool, Option<u64>) {
        // Jobs with one key come in rows.
        if self.last == Some(key) {
            return (false, None);
        }
        self.last = Some(key);
        self.turn += 1;
        let new = self.used.insert(key, self.turn).is_none();
        self.order.push_back((key, self.turn));
        let gone = if self.used.len() > self.slots {
            self.oldest()
        } else {
            None
        };
        // Kept within twice what is in it, at a constant cost for each use.
        if self.order.len() > 2 * self.used.len() + 64 {
            let used = &self.used;
            self.order.retain(|(key, turn)| used.get(key) == Some(turn));
        }
        (new, gone)
    }

    fn is_full(&self) -> bool {
        self.used.len() >= self.slots
    }

    fn oldest(&mut self) -> Option<u64> {
        while let Some((key, turn)) = self.order.pop_front() {
            if self.used.get(&key) == Some(&turn) {
                self.used.remove(&key);
                return Some(key);
            }
        }
        None
    }
}

/// All engines' keys, by seat.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// None: installing one takes it no time.
    tables: Vec<Option<Table>>,
    /// The seats of those.
    free: SeatSet,
    /// Those whose slots are all taken.
    full: SeatSet,
    holders: BTreeMap<u64, SeatSet>,
}

impl Keys {
    /// One more seat, behind the others.
    pub(crate) fn push(&mut self, capabilities: &Capabilities) {
        let slots = match capabilities.sa_slots {
            Some(slots) => slots.max(1) as usize,
            None => UNBOUNDED,
        };
        let installs = capabilities.key_install_ns > 0;
        self.tables.push(installs.then(|| Table::new(slots)));
        self.recount();
    }

    /// A seat less; those behind it move up.
    pub(crate) fn remove(&mut self, seat: usize) {
        self.tables.remove(seat);
        self.recount();
    }

    fn recount(&mut self) {
        self.free = SeatSet::EMPTY;
        self.full = SeatSet::EMPTY;
        self.holders.clear();
        for (seat, table) in self.tables.iter().enumerate() {
            let Some(table) = table else {
                self.free.insert(seat);
                continue;
            };
            if table.is_full() {
                self.full.insert(seat);
            }
            for &key in table.used.keys() {
                self.holders.entry(key).or_default().insert(seat);
            }
        }
    }

    /// Seats that do a job with this key without installing it first.
    pub(crate) fn holders(&self, key: u64) -> SeatSet {
        match self.holders.get(&key) {
            Some(holders) => holders.union(&self.free),
            None => self.free,
        }
    }

    /// Seats that have to give up a key for a new one.
    pub(crate) const fn full(&self) -> SeatSet {
        self.full
    }

    /// An engine was given a job with this key.
    pub(crate) fn used(&mut self, seat: usize, key: u64) {
        let Some(Some(table)) = self.tables.get_mut(seat) else {
            return;
        };
        let (new, gone) = table.touch(key);
        if table.is_full() {
            self.full.insert(seat);
        }
        if new {
            self.holders.entry(key).or_default().insert(seat);
        }
        if let Some(gone) = gone
            && let Some(holders) = self.holders.get_mut(&gone)
        {
            holders.remove(seat);
            if holders.is_empty() {
                self.holders.remove(&gone);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::asic_model::{AsicSpec, Model};
    use esprit_packet::Time;

    fn with(slots: u32, install_ns: u64) -> Capabilities {
        let spec = AsicSpec {
            sa_slots: slots,
            key_install_ns: install_ns,
            ..AsicSpec::default()
        };
        spec.capabilities().unwrap()
    }

    #[test]
    fn it_foretells_what_a_device_installs() {
        let mut keys = Keys::default();
        keys.push(&with(7, 500));
        let mut model = Model::new(&AsicSpec {
            sa_slots: 7,
            ..AsicSpec::default()
        });
        // Some keys more often than others, more of them than there are slots.
        for turn in 0..20_000_u64 {
            let key = (turn * turn / 3 + turn) % (3 + turn % 11);
            let known = keys.holders(key).has(0);
            let installed = model.accept(Time::ZERO, key, 1, 0).installed;
            assert_eq!(known, !installed, "turn {turn}");
            keys.used(0, key);
        }
        assert!(keys.full().has(0));
        let table = keys.tables[0].as_ref().unwrap();
        assert_eq!(table.used.len(), 7);
        assert!(table.order.len() <= 2 * 7 + 64);
        assert_eq!(keys.holders.len(), 7);
    }

    #[test]
    fn seats_move_up_with_their_keys() {
        let mut keys = Keys::default();
        keys.push(&with(4, 500));
        keys.push(&with(4, 0));
        keys.push(&with(4, 500));
        keys.used(2, 9);
        keys.used(1, 9);
        assert_eq!(keys.holders(9).iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(keys.holders(8).iter().collect::<Vec<_>>(), [1]);
        assert!(keys.full().is_empty());
        keys.remove(0);
        assert_eq!(keys.holders(9).iter().collect::<Vec<_>>(), [0, 1]);
        // Out and in again, it has none.
        keys.remove(1);
        keys.push(&with(4, 500));
        assert_eq!(keys.holders(9).iter().collect::<Vec<_>>(), [0]);
    }
}
