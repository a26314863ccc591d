//! How full is what has a bound (rule 6): for simulations, which look after every step.

use crate::grants::Class;
use crate::pool::Pool;
use crate::pool::flights::MAX_IN_FLIGHT;
use crate::pool::queue::{CLASS_BYTES, CLASS_JOBS};

/// How much of something there is, and how much of it there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Of what.
    pub what: &'static str,
    /// Whose: an engine's, a member's, a team's or an SA's number; 0 where there is only one.
    pub of: u32,
    /// So much.
    pub holds: u64,
    /// At most.
    pub most: u64,
}

impl Level {
    /// Whether there is more than there may be.
    #[must_use]
    pub const fn is_beyond(&self) -> bool {
        self.holds > self.most
    }
}

impl Pool {
    /// Shows all that has a bound here: what waits for an engine, by class; what is done again; what
    /// was accepted and has not come back; and what each engine has. An engine's bound in time is
    /// not among them: it is asked when a job is placed, and a device that slows down afterwards
    /// has then more work than it was taken to have.
    pub fn levels(&self, see: &mut dyn FnMut(Level)) {
        let mut show = |what, of, holds, most| {
            see(Level {
                what,
                of,
                holds,
                most,
            });
        };
        for (class, jobs_of, bytes_of) in [
            (Class::Primary, "primary jobs", "primary bytes"),
            (Class::Secondary, "secondary jobs", "secondary bytes"),
            (
                Class::Application,
                "applications' jobs",
                "applications' bytes",
            ),
        ] {
            let (jobs, bytes) = self.queue.level(class);
            show(jobs_of, 0, jobs as u64, CLASS_JOBS as u64);
            show(bytes_of, 0, bytes, CLASS_BYTES);
        }
        let most = MAX_IN_FLIGHT as u64;
        show("jobs in flight", 0, self.flights.len() as u64, most);
        // Each is an accepted job, or the check of one.
        show("jobs done again", 0, self.redo.len() as u64, 2 * most);
        for (at, seat) in self.seats.iter().enumerate() {
            let hot = self.board.at(at);
            let jobs = seat.outstanding.len() as u64;
            show("an engine's jobs", seat.id.0, jobs, hot.most_jobs());
            // One that is idle takes any one job.
            if jobs > 1 {
                let most = hot.memory_limit;
                show("an engine's memory", seat.id.0, hot.memory, most);
            }
        }
    }

    /// Whether nobody has a job, canaries included, and none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.busy.is_empty()
            && self.flights.len() == 0
            && self.queue.is_empty()
            && self.redo.is_empty()
            && self.done.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::Wake;
    use crate::key::{Algorithm, Direction};
    use crate::pool::queue::{GroupKey, LEAST_BYTES, Waiting};

    struct Nobody;
    impl Wake for Nobody {
        fn wake(&self) {}
    }

    fn beyond(pool: &Pool) -> Vec<&'static str> {
        let mut found = Vec::new();
        pool.levels(&mut |level| {
            if level.is_beyond() {
                found.push(level.what);
            }
        });
        found
    }

    #[test]
    fn one_more_than_may_wait_is_shown() {
        let mut pool = Pool::new(Arc::new(Nobody));
        let key = GroupKey {
            team: 1,
            member: None,
            algorithm: Algorithm::Aes128Gcm16,
            direction: Direction::Seal,
        };
        let job = Waiting {
            ticket: 1,
            cost: 1,
            bytes: LEAST_BYTES,
        };
        assert!(pool.is_empty());
        for flow in 0..CLASS_JOBS as u32 {
            pool.queue.push(Class::Secondary, &key, (flow, 1), job);
        }
        assert_eq!(beyond(&pool), [""; 0]);
        assert!(!pool.is_empty());
        pool.queue.push(Class::Secondary, &key, (0, 1), job);
        assert_eq!(beyond(&pool), ["secondary jobs", "secondary bytes"]);
        pool.redo.extend(0..=2 * MAX_IN_FLIGHT as u64);
        assert_eq!(
            beyond(&pool),
            ["secondary jobs", "secondary bytes", "jobs done again"]
        );
    }
}
