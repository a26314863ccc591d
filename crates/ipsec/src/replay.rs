//! The replay window of an inbound SA (RFC 4303 section 3.4.3 and appendix A).
//!
//! ```text
//!            bottom = top - width + 1                  top
//!   ----------|-----------------------------------------|-----------> sequence number
//!   too old   |   seen or not seen, one bit each        |   new
//! ```
//!
//! It is asked twice. Before a packet is opened, [`ReplayWindow::check`] infers the upper half of
//! an extended number and spares the work for what is certainly a replay. After the ICV was
//! verified, [`ReplayWindow::commit`] asks again, since another copy may have been committed in
//! between, and moves the window. Nothing unverified moves it.

use thiserror::Error;

/// The smallest window there is (RFC 4303 section 3.4.3: a minimum of 32 MUST be supported).
pub const MIN_WIDTH: u32 = 32;

/// The largest: 8192 packets are 12 ms of a 10 Gbit/s link at 1500 bytes, more than twice
/// the 5 ms by which our own engines may hold a job back.
pub const MAX_WIDTH: u32 = 8192;

/// Bits in a word of the bitmap.
const WORD: u64 = u64::BITS as u64;

/// Words in the ring of the largest window.
const MAX_WORDS: usize = (MAX_WIDTH as usize / u64::BITS as usize + 1).next_power_of_two();

/// Why a packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplayDrop {
    /// Its number was accepted before.
    #[error("the sequence number was accepted before")]
    Duplicate,
    /// Its number lies left of the window.
    #[error("the sequence number lies left of the replay window")]
    TooOld,
    /// Number 0, which no sender uses while anti-replay is on (RFC 4303 section 2.2).
    #[error("sequence number 0")]
    Zero,
}

impl ReplayDrop {
    /// The name under which this drop is counted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "replay-duplicate",
            Self::TooOld => "replay-too-old",
            Self::Zero => "replay-zero",
        }
    }
}

/// The window. One writer: the SA's home worker.
#[derive(Debug)]
pub struct ReplayWindow {
    /// The highest number accepted.
    top: u64,
    /// Numbers from `top` down that are told apart; 0: anti-replay is off.
    width: u64,
    esn: bool,
    /// A bit per number, at the number modulo the ring's size (RFC 6479): a power of two of
    /// words, at least those of `width` bits and one more, so that a word that is cleared on the
    /// way up holds nothing of the window. A bit is set where its number was accepted.
    ring: Box<[u64]>,
}

impl ReplayWindow {
    /// A window of `width` numbers whose highest accepted one is `top` (0: none yet).
    ///
    /// `width` is rounded up to a multiple of 32 and kept within [`MIN_WIDTH`] and [`MAX_WIDTH`];
    /// 0 turns anti-replay off, without ESN only (RFC 4303 section 2.2.1: with ESN the window
    /// is what the upper half is inferred from), so with ESN it becomes [`MIN_WIDTH`].
    ///
    /// What was accepted below `top` before is not known, so all of it counts as accepted: a
    /// packet of then that arrives now is lost, and none can be replayed.
    #[must_use]
    pub fn new(width: u32, esn: bool, top: u64) -> Self {
        let width = if width == 0 && !esn {
            0
        } else {
            u64::from(
                width
                    .clamp(MIN_WIDTH, MAX_WIDTH)
                    .next_multiple_of(MIN_WIDTH),
            )
        };
        let words = usize::try_from((width.div_ceil(WORD) + 1).next_power_of_two());
        let mut window = Self {
            top,
            width,
            esn,
            ring: vec![0; words.unwrap_or(MAX_WORDS)].into_boxed_slice(),
        };
        if top > 0 {
            window.ring.fill(u64::MAX);
            // What lies above the top in its own word is new, not accepted.
            let (word, bit) = window.position(top);
            window.ring[word] = bit | (bit - 1);
        }
        window
    }

    /// Whether a packet whose header shows `lo` can be new, and its whole number; the window does
    /// not move.
    ///
    /// # Errors
    /// As [`ReplayDrop`] says. The packet need not be opened.
    pub fn check(&self, lo: u32) -> Result<u64, ReplayDrop> {
        let seq = self.infer(lo)?;
        self.place(seq)?;
        Ok(seq)
    }

    /// The packet with this number was verified: it is accepted, or refused where another copy
    /// came first or the window moved past it meanwhile.
    ///
    /// # Errors
    /// As [`ReplayDrop`] says. The packet is dropped and the window is as it was.
    pub fn commit(&mut self, seq: u64) -> Result<(), ReplayDrop> {
        self.place(seq)?;
        if seq > self.top {
            self.advance(seq);
        }
        let (word, bit) = self.position(seq);
        self.ring[word] |= bit;
        Ok(())
    }

    /// The highest number accepted, 0 where there was none.
    #[must_use]
    pub const fn top(&self) -> u64 {
        self.top
    }

    /// Numbers that the window tells apart; 0 where anti-replay is off.
    #[must_use]
    pub const fn width(&self) -> u64 {
        self.width
    }

    /// Bytes that the window takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.ring)
    }

    /// RFC 4303 appendix A2.2: the upper half of an extended number, from where `lo` falls.
    fn infer(&self, lo: u32) -> Result<u64, ReplayDrop> {
        let lo = u64::from(lo);
        if !self.esn {
            return Ok(lo);
        }
        let (high, low) = (self.top >> 32, self.top & 0xffff_ffff);
        // Bottom of the window in the lower half; the window may reach below it.
        let high = match low.checked_sub(self.width - 1) {
            // Case A: the window lies within one subspace. "If Seql >= Bl, then Seqh = Th",
            // else the number belongs to the next one.
            Some(bottom) if lo >= bottom => high,
            // The last subspace has no next: such a number is one of the past.
            Some(_) => high
                .checked_add(1)
                .filter(|&next| next <= 0xffff_ffff)
                .unwrap_or(high),
            // Case B: the window spans two subspaces. "If Seql >= Bl, then Seqh = Th - 1". Below
            // the first subspace there is none, so there such a number is left of the window.
            None => {
                let bottom = low.wrapping_sub(self.width - 1) & 0xffff_ffff;
                if lo >= bottom {
                    high.checked_sub(1).ok_or(ReplayDrop::TooOld)?
                } else {
                    high
                }
            }
        };
        Ok(high << 32 | lo)
    }

    /// Where a whole number falls: new, or in the window and not seen.
    fn place(&self, seq: u64) -> Result<(), ReplayDrop> {
        if self.width == 0 {
            return Ok(());
        }
        if seq == 0 {
            return Err(ReplayDrop::Zero);
        }
        let Some(behind) = self.top.checked_sub(seq) else {
            return Ok(());
        };
        if behind >= self.width {
            return Err(ReplayDrop::TooOld);
        }
        let (word, bit) = self.position(seq);
        if self.ring[word] & bit == 0 {
            Ok(())
        } else {
            Err(ReplayDrop::Duplicate)
        }
    }

    /// Moves the top to `seq` and forgets what leaves the window.
    fn advance(&mut self, seq: u64) {
        let words = self.ring.len() as u64;
        let (from, to) = (self.top / WORD, seq / WORD);
        for word in 0..(to - from).min(words) {
            let (index, _) = self.position((to - word) * WORD);
            self.ring[index] = 0;
        }
        self.top = seq;
    }

    /// Word and bit of a number.
    fn position(&self, seq: u64) -> (usize, u64) {
        let mask = self.ring.len() as u64 - 1;
        let word = ((seq / WORD) & mask) as usize;
        (word, 1 << (seq % WORD))
    }
}
