//! Order in, order out: a queue per SA of what was accepted, released from the front only
//! (rule 4). A packet that is lost leaves a tombstone, so that nothing waits for it.

use std::collections::VecDeque;

/// A place in a [`Release`] queue; stays valid until its entry is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

#[derive(Debug)]
enum Slot<W, R> {
    Waiting(W),
    Ready(R),
    Tombstone,
}

/// A FIFO whose entries become ready in any order. `W` is kept while an engine works, `R` is
/// what can be released.
#[derive(Debug)]
pub struct Release<W, R> {
    slots: VecDeque<Slot<W, R>>,
    /// The place of the first slot.
    base: u64,
}

impl<W, R> Default for Release<W, R> {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            base: 0,
        }
    }
}

impl<W, R> Release<W, R> {
    /// Appends an entry that is being worked on.
    pub fn push(&mut self, waiting: W) -> Place {
        self.slots.push_back(Slot::Waiting(waiting));
        Place(self.base + self.slots.len() as u64 - 1)
    }

    /// The entry at `place` is done: `finish` makes of it what is released, or `None` where
    /// it is lost.
    pub fn finish(&mut self, place: Place, finish: impl FnOnce(W) -> Option<R>) {
        let index = usize::try_from(place.0.wrapping_sub(self.base)).ok();
        let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) else {
            return;
        };
        if let Slot::Waiting(waiting) = core::mem::replace(slot, Slot::Tombstone)
            && let Some(ready) = finish(waiting)
        {
            *slot = Slot::Ready(ready);
        }
    }

    /// The next entry whose turn it is, where it is ready; tombstones are passed over.
    pub fn pop(&mut self) -> Option<R> {
        loop {
            match self.slots.front()? {
                Slot::Waiting(_) => return None,
                Slot::Ready(_) | Slot::Tombstone => {}
            }
            self.base += 1;
            if let Some(Slot::Ready(ready)) = self.slots.pop_front() {
                return Some(ready);
            }
        }
    }

    /// How many entries were ever released, tombstones included.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.base
    }

    /// How many entries ever came: [`Release::start`] once all that is here now is released.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// The entry whose turn it is, where it is ready.
    pub fn peek(&mut self) -> Option<&R> {
        while matches!(self.slots.front(), Some(Slot::Tombstone)) {
            self.slots.pop_front();
            self.base += 1;
        }
        match self.slots.front() {
            Some(Slot::Ready(ready)) => Some(ready),
            Some(Slot::Waiting(_) | Slot::Tombstone) | None => None,
        }
    }

    /// What entries come to that are not yet released: those worked on by `waiting`, those that can be
    /// released by `ready`; those that were lost are nothing any more.
    pub fn sum(&self, waiting: impl Fn(&W) -> u64, ready: impl Fn(&R) -> u64) -> u64 {
        let each = |slot: &Slot<W, R>| match slot {
            Slot::Waiting(entry) => waiting(entry),
            Slot::Ready(entry) => ready(entry),
            Slot::Tombstone => 0,
        };
        self.slots.iter().map(each).sum()
    }

    /// Entries not yet released.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether all was released.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_leave_in_the_order_they_came(
            finish_order in Just((0..40_usize).collect::<Vec<_>>()).prop_shuffle(),
            lost in prop::collection::hash_set(0..40_usize, 0..20),
        ) {
            let mut queue = Release::<usize, usize>::default();
            let places: Vec<_> = (0..40).map(|n| queue.push(n)).collect();
            let mut out = Vec::new();
            for n in finish_order {
                queue.finish(places[n], |entry| (!lost.contains(&entry)).then_some(entry));
                while let Some(entry) = queue.pop() {
                    out.push(entry);
                }
            }
            let expected: Vec<_> = (0..40).filter(|n| !lost.contains(n)).collect();
            prop_assert_eq!(out, expected);
            prop_assert!(queue.is_empty());
        }
    }

    #[test]
    fn a_place_that_was_released_is_not_finished_again() {
        let mut queue = Release::<u8, u8>::default();
        let first = queue.push(1);
        queue.finish(first, Some);
        assert_eq!(queue.pop(), Some(1));
        let second = queue.push(2);
        queue.finish(first, |_| Some(9));
        assert_eq!(queue.pop(), None);
        queue.finish(second, Some);
        assert_eq!(queue.pop(), Some(2));
    }
}
