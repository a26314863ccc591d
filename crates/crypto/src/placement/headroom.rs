//! How much of others' work an engine can take before its own member's traffic feels it.
//!
//! Let *T* be the time that a member's job takes through its own engine, and *h* the headroom.
//! Others' work is given to the engine only while all that it has, with the new job, is at most
//! `T x h / (1 + h)`. Then whatever the member sends waits no longer for it than by *h* times what it
//! would take alone:
//!
//! Compare the engine's work before it, *V*, with what it would have without others' work, *P*. The
//! member's jobs raise both alike, and time lowers both alike until *P* is 0, after which only *V*
//! falls: the difference grows by others' work alone, at whose arrival *V*, so the difference too, is
//! at most the bound. And since *T* was measured with that work in the way, it is at most
//! `1 + h` times what it would be without.

use esprit_packet::Time;

/// What the member sends counts as over when nothing came for so long: 100 ms, twice the distance of
/// the packets of slow speech, and less than a person notices where the engine then is busy for
/// others when the next one comes.
const QUIET: Time = Time(100_000_000);

/// A new time through the engine counts one in so many: over some twenty milliseconds at a
/// thousand jobs a second, and a single slow one moves the mean by little.
const SMOOTH: u64 = 16;

/// Whether something goes on: when it happened last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lately(Option<Time>);

impl Lately {
    /// It happens now.
    pub(crate) const fn happens(&mut self, now: Time) {
        self.0 = Some(now);
    }

    /// Whether it was [`QUIET`] no longer than that.
    pub(crate) const fn goes_on(self, now: Time) -> bool {
        match self.0 {
            Some(last) => now.since(last).0 < QUIET.0,
            None => false,
        }
    }
}

/// An engine's work for its own member, as it was lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnTraffic {
    /// The mean time through it.
    through_ns: u64,
    sent: Lately,
}

impl OwnTraffic {
    /// It was given a job of its member that takes `alone_ns` through it with nothing before it.
    pub(crate) const fn given(&mut self, now: Time, alone_ns: u64) {
        if !self.sent.goes_on(now) {
            // What was measured then says nothing of now.
            self.through_ns = alone_ns;
        }
        self.sent.happens(now);
    }

    pub(crate) const fn back(&mut self, took_ns: u64) {
        // Division last, so that small differences add up.
        self.through_ns = (self.through_ns * (SMOOTH - 1) + took_ns + SMOOTH / 2) / SMOOTH;
    }

    /// Nanoseconds of work that the engine may have, one more job of others' included; none while
    /// its member sends nothing.
    pub(crate) const fn bound_ns(&self, now: Time, headroom: &Headroom) -> Option<u64> {
        if self.sent.goes_on(now) {
            Some(headroom.of(self.through_ns))
        } else {
            None
        }
    }
}

/// A grant's headroom, as `h / (1 + h)` in 65536ths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headroom(u32);

impl Headroom {
    pub(crate) fn new(share: f64) -> Self {
        let share = share.max(0.0);
        Self((share / (1.0 + share) * 65_536.0) as u32)
    }

    const fn of(self, ns: u64) -> u64 {
        ns.saturating_mul(self.0 as u64) >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_bounds_while_the_member_sends_and_not_after() {
        let mut own = OwnTraffic::default();
        let headroom = Headroom::new(0.1);
        assert_eq!(own.bound_ns(Time(5), &headroom), None);
        own.given(Time(10), 11_000);
        let expected = own.bound_ns(Time(11), &headroom).unwrap();
        assert!((990..=1000).contains(&expected), "{expected}");
        for _ in 0..100 {
            own.back(22_000);
        }
        let bound = own.bound_ns(Time(11), &headroom).unwrap();
        assert!((1990..=2000).contains(&bound), "{bound}");
        assert_eq!(own.bound_ns(Time(10) + QUIET, &headroom), None);
    }

    #[test]
    fn the_mean_follows_and_no_headroom_means_none() {
        let mut own = OwnTraffic::default();
        own.given(Time(1), 1000);
        for _ in 0..200 {
            own.back(9000);
        }
        let all = own.bound_ns(Time(2), &Headroom::new(f64::INFINITY));
        assert!(all.is_none_or(|ns| ns == 0), "nonsense is no headroom");
        let half = own.bound_ns(Time(2), &Headroom::new(1.0)).unwrap();
        assert!((4490..=4510).contains(&half), "{half}");
        assert_eq!(own.bound_ns(Time(2), &Headroom::new(-1.0)), Some(0));
        assert_eq!(own.bound_ns(Time(2), &Headroom::new(0.0)), Some(0));
    }
}
