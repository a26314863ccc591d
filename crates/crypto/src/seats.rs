//! Sets of engines, by seat.

/// Engines in a pool at most: one for each of 64 members and as many again three times, which
/// is the largest host that we have a scenario for.
pub const MAX_ENGINES: usize = 256;

const WORDS: usize = MAX_ENGINES / u64::BITS as usize;

/// A set of seats below [`MAX_ENGINES`], a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeatSet([u64; WORDS]);

impl SeatSet {
    /// No seat.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Every seat that there may be.
    pub const ALL: Self = Self([u64::MAX; WORDS]);

    /// One seat alone.
    #[must_use]
    pub const fn only(seat: usize) -> Self {
        let mut set = Self::EMPTY;
        set.insert(seat);
        set
    }

    /// Puts a seat in. One that cannot exist is not put in.
    pub const fn insert(&mut self, seat: usize) {
        if seat < MAX_ENGINES {
            self.0[seat / 64] |= 1 << (seat % 64);
        }
    }

    /// Takes a seat out.
    pub const fn remove(&mut self, seat: usize) {
        if seat < MAX_ENGINES {
            self.0[seat / 64] &= !(1 << (seat % 64));
        }
    }

    /// Whether a seat is in it.
    #[must_use]
    pub const fn has(&self, seat: usize) -> bool {
        seat < MAX_ENGINES && self.0[seat / 64] & (1 << (seat % 64)) != 0
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// What is in either.
    #[must_use]
    pub const fn union(&self, other: &Self) -> Self {
        let mut all = *self;
        let mut word = 0;
        while word < WORDS {
            all.0[word] |= other.0[word];
            word += 1;
        }
        all
    }

    /// Its seats, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let words = self.0;
        (0..WORDS).flat_map(move |word| {
            let mut left = words[word];
            core::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                let found = left != 0;
                left &= left.wrapping_sub(1);
                found.then_some(word * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_there_until_it_is_taken_out() {
        let seats = [0, 1, 63, 64, 127, 128, 255];
        let mut set = SeatSet::default();
        assert!(set.is_empty());
        for seat in seats {
            set.insert(seat);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), seats);
        set.remove(64);
        assert!(!set.has(64) && set.has(63) && !set.has(2));
        let both = set.union(&SeatSet::only(64));
        assert_eq!(both.iter().collect::<Vec<_>>(), seats);
    }

    #[test]
    fn a_seat_that_cannot_exist_is_in_no_set() {
        let mut set = SeatSet::only(MAX_ENGINES);
        set.remove(MAX_ENGINES);
        assert!(set.is_empty() && !set.has(MAX_ENGINES));
    }
}
