//! Sequence numbers of an outbound SA.
//!
//! With AES-GCM the sequence number is also the IV (RFC 4106 section 3.1 allows a counter), so a
//! number used twice would seal two plaintexts under one nonce. Hence: one allocator per SA, it
//! only moves forward, and it never wraps.
//!
//! Keys that outlive the process carry a high-water mark on disk: numbers may be used only below
//! the mark that is known to be stored. The allocator asks for the next block at half use and
//! refuses ([`SeqError::NotGranted`]) rather than overtake the mark.

use thiserror::Error;

/// Without ESN, numbers end at 2^32 - 1 (RFC 4303 section 3.3.3: the counter must not cycle).
pub const END: u128 = 1 << 32;

/// With ESN, numbers end at 2^64 - 1.
pub const END_ESN: u128 = 1 << 64;

/// Without ESN a new SA is asked for at three quarters of the range: at 10 million packets per
/// second, about what one 100 Gbit/s port sends, 107 s remain, ample for a key exchange.
pub const REKEY: u64 = 3 << 30;

/// With ESN the key's own limit comes first: AES-GCM gives an eavesdropper an advantage of about
/// (blocks sealed)^2 / 2^129 (the single-key bound of the CFRG's note on AEAD limits). 2^48
/// blocks keep it below 2^-32; at 2^9 blocks per packet (8 KiB) that is 2^39 packets.
pub const REKEY_ESN: u64 = 1 << 39;

/// Consecutive sequence numbers, reserved for one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqRange {
    /// The first number.
    pub first: u64,
    /// How many.
    pub count: u32,
}

impl SeqRange {
    /// The number at `index`, counted from zero; the caller stays below `count`.
    #[must_use]
    pub const fn at(self, index: u32) -> u64 {
        debug_assert!(index < self.count);
        // Cannot overflow below `count`: the allocator proved the last one.
        self.first.wrapping_add(index as u64)
    }

    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = u64> {
        (0..self.count).map(move |index| self.at(index))
    }
}

/// Why no numbers were given. Nothing was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SeqError {
    /// The range of numbers is at its end; the SA seals nothing more.
    #[error("the SA's sequence numbers are used up; replace the SA")]
    Exhausted,
    /// The high-water mark that is stored does not reach that far yet.
    #[error("the high-water mark of the SA's sequence numbers is not stored yet")]
    NotGranted,
}

impl SeqError {
    /// The name under which this drop is counted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exhausted => "seq-exhausted",
            Self::NotGranted => "seq-not-granted",
        }
    }
}

/// The only source of an outbound SA's sequence numbers.
#[derive(Debug)]
pub struct SeqAllocator {
    /// The next number to give out. Wider than a number, so that its end needs no special case.
    next: u128,
    /// One past the last number there is.
    end: u128,
    /// One past the last number that may be used.
    granted: u128,
    /// At this number the next block is asked for.
    ask_at: u128,
    /// Whether it was asked for since the last grant.
    asked: bool,
    /// At this number a new SA is asked for.
    rekey_at: u128,
}

impl SeqAllocator {
    /// An allocator whose first number is `start` (0 is taken as 1: RFC 4303 section 2.2, the
    /// first packet has number 1) and that may use numbers below `granted`. `u64::MAX` grants
    /// all there are: for keys that do not outlive the process.
    #[must_use]
    pub fn new(start: u64, esn: bool, granted: u64) -> Self {
        let end = if esn { END_ESN } else { END };
        let mut allocator = Self {
            next: u128::from(start.max(1)),
            end,
            granted: 0,
            ask_at: 0,
            asked: true,
            rekey_at: u128::from(if esn { REKEY_ESN } else { REKEY }),
        };
        allocator.grant(granted);
        allocator
    }

    /// Reserves `n` consecutive numbers, all or none.
    ///
    /// # Errors
    /// [`SeqError::Exhausted`] where fewer than `n` are left at all, else
    /// [`SeqError::NotGranted`] where fewer are granted.
    pub fn reserve(&mut self, n: u32) -> Result<SeqRange, SeqError> {
        let after = self.next + u128::from(n);
        if after > self.end {
            return Err(SeqError::Exhausted);
        }
        if after > self.granted {
            return Err(SeqError::NotGranted);
        }
        // `next` may stand at `end` only with n = 0, which reserves nothing.
        let first = u64::try_from(self.next).unwrap_or(u64::MAX);
        self.next = after;
        Ok(SeqRange { first, count: n })
    }

    /// Numbers below `upto` may be used from now on: their mark is stored. A smaller mark than
    /// the present one changes nothing.
    pub fn grant(&mut self, upto: u64) {
        let upto = match upto {
            u64::MAX => self.end,
            _ => u128::from(upto).min(self.end),
        };
        if upto <= self.granted {
            return;
        }
        // The new block starts where the old one ended, or here if the old one was overtaken
        // by the start.
        let from = self.granted.max(self.next).min(upto);
        self.ask_at = from + (upto - from) / 2;
        self.granted = upto;
        self.asked = upto == self.end;
    }

    /// Whether a larger mark is to be stored: true once when half of the last granted block is
    /// used, and not again until the next grant.
    #[must_use]
    pub fn needs_grant(&mut self) -> bool {
        let needed = !self.asked && self.next > self.ask_at;
        self.asked |= needed;
        needed
    }

    /// Whether the SA should be replaced: past [`REKEY`], or [`REKEY_ESN`].
    #[must_use]
    pub fn wants_rekey(&self) -> bool {
        self.next > self.rekey_at
    }

    /// The next number that [`SeqAllocator::reserve`] would give, `None` after the last.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        (self.next < self.end)
            .then(|| u64::try_from(self.next).ok())
            .flatten()
    }

    /// How many numbers are left that may be used now.
    #[must_use]
    pub fn left(&self) -> u64 {
        u64::try_from(self.granted.saturating_sub(self.next)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_consecutive_and_given_once() {
        let mut seq = SeqAllocator::new(1, false, u64::MAX);
        let first = seq.reserve(45).unwrap();
        let second = seq.reserve(3).unwrap();
        let all: Vec<u64> = first.iter().chain(second.iter()).collect();
        assert_eq!(all, (1..=48).collect::<Vec<_>>());
    }

    #[test]
    fn zero_is_never_a_number() {
        let mut seq = SeqAllocator::new(0, false, u64::MAX);
        assert_eq!(seq.reserve(1).unwrap().first, 1);
    }

    #[test]
    fn it_ends_and_does_not_wrap() {
        for (esn, last) in [(false, u64::from(u32::MAX)), (true, u64::MAX)] {
            let mut seq = SeqAllocator::new(last - 1, esn, u64::MAX);
            assert_eq!(seq.reserve(3), Err(SeqError::Exhausted), "all or none");
            assert_eq!(seq.reserve(2).unwrap().at(1), last);
            assert_eq!(seq.next(), None);
            assert_eq!(seq.reserve(1), Err(SeqError::Exhausted));
            seq.grant(u64::MAX);
            assert_eq!(seq.reserve(1), Err(SeqError::Exhausted));
        }
    }

    #[test]
    fn with_esn_it_passes_the_low_half() {
        let mut seq = SeqAllocator::new(u64::from(u32::MAX), true, u64::MAX);
        let range = seq.reserve(2).unwrap();
        assert_eq!((range.at(0), range.at(1)), (0xffff_ffff, 0x1_0000_0000));
    }

    #[test]
    fn the_stored_mark_is_not_overtaken() {
        let mut seq = SeqAllocator::new(1, false, 11);
        assert_eq!(seq.reserve(11), Err(SeqError::NotGranted));
        assert_eq!(seq.reserve(10).unwrap().first, 1);
        assert_eq!(seq.reserve(1), Err(SeqError::NotGranted));
        seq.grant(5);
        assert_eq!(
            seq.reserve(1),
            Err(SeqError::NotGranted),
            "a mark only rises"
        );
        seq.grant(12);
        assert_eq!(seq.reserve(1).unwrap().first, 11);
    }

    #[test]
    fn the_next_block_is_asked_for_once_at_half_use() {
        let mut seq = SeqAllocator::new(1, false, 101);
        seq.reserve(50).unwrap();
        assert!(!seq.needs_grant());
        seq.reserve(1).unwrap();
        assert!(seq.needs_grant());
        assert!(!seq.needs_grant(), "once per block");
        seq.grant(201);
        assert!(!seq.needs_grant());
        seq.reserve(100).unwrap();
        assert!(seq.needs_grant());
    }

    #[test]
    fn a_key_without_a_mark_never_asks() {
        let mut seq = SeqAllocator::new(u64::from(u32::MAX) - 5, false, u64::MAX);
        seq.reserve(5).unwrap();
        assert!(!seq.needs_grant());
        assert!(seq.wants_rekey());
    }

    #[test]
    fn a_start_beyond_the_mark_waits_for_it() {
        let mut seq = SeqAllocator::new(1000, false, 10);
        assert_eq!(seq.left(), 0);
        assert_eq!(seq.reserve(1), Err(SeqError::NotGranted));
        assert!(seq.needs_grant());
        seq.grant(1100);
        assert_eq!(seq.reserve(1).unwrap().first, 1000);
        assert_eq!(seq.left(), 99);
    }
}
