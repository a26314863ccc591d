//! Whether an engine may still be given jobs.
//!
//! ```text
//!          failed op            8 failed jobs, or a wrong result
//!     ok ------------> suspect ---------------------------------> quarantined
//!      ^------------------'                                           |
//!        256 good jobs            no completion in time               |
//!     ok, suspect ---------------------------------> hung             |
//!                                                      '------.-------'
//!                    out of the pool, reset, verified again, admitted
//! ```
//!
//! A forged packet is no evidence against an engine: `bad_icv` moves nothing here.

use serde::Serialize;

/// What is known about an engine in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Nothing speaks against it.
    Ok,
    /// It failed lately. It works on; a wrong ICV that it reports is looked at twice.
    Suspect,
    /// It did not answer in time. It is given nothing more.
    Hung,
    /// It failed too often, or computed wrongly. It is given nothing more.
    Quarantined,
}

impl Health {
    /// As it stands in snapshots.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Suspect => "suspect",
            Self::Hung => "hung",
            Self::Quarantined => "quarantined",
        }
    }

    /// Whether it is given jobs.
    #[must_use]
    pub const fn usable(self) -> bool {
        matches!(self, Self::Ok | Self::Suspect)
    }
}

/// Failed jobs, since it was last in order, that put a suspect into quarantine. One can be a
/// full table inside a device; eight without 256 good ones between them are a broken one.
const QUARANTINE_AFTER: u32 = 8;

/// Good jobs in a row that clear a suspect.
const CLEARED_AFTER: u32 = 256;

/// An engine's record.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    health: Health,
    failed: u32,
    good: u32,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            health: Health::Ok,
            failed: 0,
            good: 0,
        }
    }
}

impl Record {
    /// What is known.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// A job came back done. Answers whether that cleared a suspect.
    pub fn good(&mut self) -> bool {
        if self.health != Health::Suspect {
            return false;
        }
        self.good += 1;
        let cleared = self.good >= CLEARED_AFTER;
        if cleared {
            *self = Self::default();
        }
        cleared
    }

    /// A job came back with operations that the engine could not do. Answers whether it is
    /// in quarantine from now on.
    pub fn failed(&mut self) -> bool {
        self.good = 0;
        self.failed += 1;
        if !self.health.usable() {
            return false;
        }
        if self.failed < QUARANTINE_AFTER {
            self.health = Health::Suspect;
            return false;
        }
        self.health = Health::Quarantined;
        true
    }

    /// A job did not come back in time. Answers whether it was given jobs until now.
    pub fn hung(&mut self) -> bool {
        let was = self.health.usable();
        if was {
            self.health = Health::Hung;
        }
        was
    }

    /// A result was wrong. Answers whether it was given jobs until now.
    pub fn wrong(&mut self) -> bool {
        let was = self.health.usable();
        self.health = Health::Quarantined;
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_suspicion_and_good_work_clears_it() {
        let mut record = Record::default();
        assert!(!record.failed());
        assert_eq!(record.health(), Health::Suspect);
        for _ in 1..CLEARED_AFTER {
            assert!(!record.good());
        }
        assert!(record.good());
        assert_eq!(record.health(), Health::Ok);
    }

    #[test]
    fn failing_on_and_off_ends_in_quarantine_for_good() {
        let mut record = Record::default();
        for _ in 1..QUARANTINE_AFTER {
            assert!(!record.failed());
            record.good();
        }
        assert!(record.failed());
        assert_eq!(record.health(), Health::Quarantined);
        assert!(!record.good() && !record.hung() && !record.failed());
        assert!(!record.health().usable());
    }

    #[test]
    fn a_hung_engine_stays_hung_whatever_it_delivers() {
        let mut record = Record::default();
        assert!(record.hung());
        assert!(!record.good());
        assert_eq!(record.health(), Health::Hung);
        assert!(!record.wrong());
        assert_eq!(
            record.health(),
            Health::Quarantined,
            "wrong is worse than late"
        );
    }
}
