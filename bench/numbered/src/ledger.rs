//! Which numbers of a stream came: once, twice, late, or never.

/// Numbers that a stream may have at most: a foreign packet cannot make the ledger grow for ever.
pub const NUMBERS: u64 = 1 << 32;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    seen: Vec<u64>,
    /// The number after the highest that came.
    pub next: u64,
    /// How many different numbers came.
    pub distinct: u64,
    pub duplicates: u64,
    /// How many came after a higher one.
    pub reordered: u64,
}

impl Ledger {
    /// Takes the next packet's number; false where that is beyond all bounds.
    pub fn take(&mut self, number: u64) -> bool {
        if number >= NUMBERS {
            return false;
        }
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            self.duplicates += 1;
            return true;
        }
        self.seen[word] |= bit;
        self.distinct += 1;
        if number < self.next {
            self.reordered += 1;
        } else {
            self.next = number + 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_accounted_for() {
        let mut ledger = Ledger::default();
        for number in [0, 1, 4, 3, 4, 200] {
            assert!(ledger.take(number));
        }
        assert!(!ledger.take(NUMBERS));
        assert_eq!(ledger.next, 201);
        assert_eq!(ledger.distinct, 5);
        assert_eq!(ledger.duplicates, 1);
        assert_eq!(ledger.reordered, 1);
    }
}
