//! How soon a worker that has nothing left to do looks for frames again: at once while there is
//! little to do, and a little later under load, so that each look finds a batch.
//!
//! A worker whose priority is higher than the sender's wakes for each frame that the sender gives
//! it: two switches of context and four system calls for one super-frame, where a batch has them for
//! all of its frames. NICs moderate their interrupts for the same reason (ethtool(8), `adaptive-rx`).
//! Only frames wait. Links, commands and what engines give back end the pause.

use esprit_packet::Time;

/// The load is judged anew so often: the time of five pauses, in which one more or less does not show.
const WINDOW: Time = Time(1_000_000);

/// The pause under load. At 10 Gbit/s 250 kB come meanwhile, four super-frames, of a queue that holds
/// hundreds. Measured in turns by one TCP stream over two cores, as shares of the raw pair: plain 0.77
/// without, 0.90 at 50, 0.97 at 200 microseconds; ESP in UDP 0.51, 0.51, 0.56, and at 400 no more.
const PAUSE: Time = Time(200_000);

/// Says whether to pause, from how long the worker works and sleeps.
#[derive(Debug)]
pub struct Moderation {
    /// When the window began, and for how long the worker has worked in it, in nanoseconds.
    began: Time,
    worked: u64,
    /// When it began to work last.
    woke: Time,
    loaded: bool,
}

impl Moderation {
    /// No load so far.
    pub const fn new(now: Time) -> Self {
        Self {
            began: now,
            worked: 0,
            woke: now,
            loaded: false,
        }
    }

    /// The worker begins to work.
    pub const fn wake(&mut self, now: Time) {
        self.woke = now;
    }

    /// The worker has nothing left to do: how long it is not to look for frames. None: not at all.
    pub fn rest(&mut self, now: Time) -> Option<Time> {
        self.worked += now.since(self.woke).0;
        let window = now.since(self.began);
        if window >= WINDOW {
            self.loaded = self.worked * 2 > window.0;
            self.began = now;
            self.worked = 0;
        }
        self.loaded.then_some(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that works and sleeps in turns, for so many microseconds each: whether it pauses
    /// after a while.
    fn pauses(moderation: &mut Moderation, from: u64, works: u64, sleeps: u64) -> bool {
        let mut now = from * 1000;
        let mut pause = None;
        while now < (from + 5000) * 1000 {
            moderation.wake(Time(now));
            now += works * 1000;
            pause = moderation.rest(Time(now));
            now += sleeps * 1000;
        }
        pause.is_some()
    }

    #[test]
    fn a_worker_pauses_while_it_works_for_most_of_the_time() {
        let mut moderation = Moderation::new(Time::ZERO);
        assert_eq!(moderation.rest(Time(10_000)), None, "nothing is known yet");
        assert!(!pauses(&mut moderation, 1_000, 5, 45));
        assert!(pauses(&mut moderation, 10_000, 30, 10));
        assert!(
            pauses(&mut moderation, 20_000, 230, 200),
            "the pause itself is no sign of rest"
        );
        assert!(!pauses(&mut moderation, 30_000, 20, 480));
    }

    #[test]
    fn a_long_sleep_ends_the_load() {
        let mut moderation = Moderation::new(Time::ZERO);
        assert!(pauses(&mut moderation, 0, 40, 5));
        moderation.wake(Time(60_000_000));
        assert_eq!(moderation.rest(Time(60_005_000)), None);
    }
}
