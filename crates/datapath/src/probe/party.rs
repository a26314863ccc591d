//! One member, as its probes show it.

use std::collections::BTreeMap;

use esprit_packet::Time;

use crate::plan::Mac;

/// Rounds that are remembered, a bit each.
pub const MEMORY: u32 = u64::BITS;

/// A member that is probed.
#[derive(Debug, Default)]
pub struct Party {
    /// Its own address.
    pub mac: Mac,
    /// Its link is up, so that it takes part.
    pub up: bool,
    /// It was found deaf and has not been heard for long enough since.
    pub deaf: bool,
    /// It has had a working path once.
    pub proved: bool,
    /// In this round: it heard a probe.
    pub hears: bool,
    /// In this round: its probe was heard.
    pub heard: bool,
    /// In this round: somebody it asked has answered.
    pub answered: bool,
    /// In this round: its probe with a foreign source was heard.
    pub foreign_heard: bool,
    /// Whether its wire takes a foreign source; unknown as yet.
    pub foreign: Option<bool>,
    /// Rounds in which it had no working path; the last is the lowest bit.
    missed: u64,
    /// Rounds in which it had one.
    passed: u64,
    /// Rounds in which it heard something that was none of ours.
    strange: u64,
    /// Rounds since the last in which it had a working path.
    since: u32,
    /// Since when it has missed nothing.
    well_since: Option<Time>,
    /// The last counter that was heard here, by the member that sent it.
    pub counters: BTreeMap<u32, u64>,
    /// Probes that it sent.
    pub sent: u64,
    /// Probes that it heard.
    pub got: u64,
    /// Rounds without a working path.
    pub misses: u64,
}

/// What a round showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A working path.
    Passed,
    /// None.
    Missed,
    /// What was heard had not been read yet, so nothing can be said.
    Void,
}

impl Party {
    /// Starts over: nothing is known.
    pub fn forget(&mut self) {
        self.begin();
        (self.missed, self.passed, self.strange) = (0, 0, 0);
        self.since = 0;
        self.well_since = None;
        self.proved = false;
        self.foreign = None;
    }

    /// A round begins.
    pub const fn begin(&mut self) {
        self.hears = false;
        self.heard = false;
        self.answered = false;
        self.foreign_heard = false;
    }

    /// A round ended.
    pub fn end(&mut self, now: Time, every: Time, outcome: Outcome, strange: bool) {
        let bit = match outcome {
            Outcome::Void => return,
            Outcome::Passed => {
                self.proved = true;
                self.since = 0;
                self.well_since.get_or_insert(now - every);
                0
            }
            Outcome::Missed => {
                self.since = self.since.saturating_add(1);
                self.well_since = None;
                self.misses += 1;
                1
            }
        };
        self.missed = self.missed << 1 | bit;
        self.passed = self.passed << 1 | (1 - bit);
        self.strange = self.strange << 1 | u64::from(strange);
    }

    /// Rounds of the last `of` in which it had no working path.
    pub const fn missed(&self, of: u32) -> u32 {
        (self.missed & last(of)).count_ones()
    }

    /// Whether it had one in the last `of`.
    pub const fn passed(&self, of: u32) -> bool {
        self.passed & last(of) != 0
    }

    /// Whether it has heard something that was none of ours since its path broke; the round in
    /// which that happened does not count, since it may have been heard before.
    pub const fn strange(&self) -> bool {
        self.strange & last(self.since.saturating_sub(1)) != 0
    }

    /// Whether it has had a working path for `hold`.
    pub fn well(&self, now: Time, hold: Time) -> bool {
        self.well_since
            .is_some_and(|since| now.since(since) >= hold)
    }
}

/// The lowest `rounds` bits.
const fn last(rounds: u32) -> u64 {
    if rounds >= MEMORY {
        u64::MAX
    } else {
        (1 << rounds) - 1
    }
}
