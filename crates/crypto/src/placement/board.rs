//! What placement reads of every engine for every job: packed, so that a search over 256
//! engines stays within a first-level cache and within 2 µs.

use core::ops::{Deref, DerefMut};

use esprit_packet::Time;

use crate::engine::{Capabilities, Transfer};
use crate::grants::Class;
use crate::key::{Algorithm, Direction};
use crate::placement::Ask;
use crate::placement::headroom::{Lately, OwnTraffic};
use crate::rates::{Rate, Rates};

/// Fraction bits of rates: a nanosecond per byte or packet in steps of a millionth, so that 64
/// packets of 64 KiB are a nanosecond off at most, with a measured rate that is per cents off.
const FRACTION: u32 = 20;

/// A rate in nanoseconds as a fixed-point number; what is larger than any time saturates.
fn fixed(rate: f64) -> u64 {
    (rate * f64::from(1_u32 << FRACTION)) as u64
}

/// [`Rate`], as the search multiplies it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    per_packet: u64,
    per_byte: u64,
    pub(crate) latency_ns: u64,
    /// To install a key; beyond four seconds it is as good as never.
    key_ns: u32,
    /// It knows the algorithm at all.
    pub(crate) able: bool,
}

impl Cost {
    fn new(rate: Option<&Rate>) -> Self {
        rate.map_or_else(Self::default, |rate| Self {
            per_packet: fixed(rate.ns_per_packet),
            per_byte: fixed(rate.ns_per_byte),
            latency_ns: rate.latency_ns as u64,
            key_ns: rate.key_ns as u32,
            able: true,
        })
    }

    /// Nanoseconds that the engine at `seat` is busy with a job, its key installed.
    pub(crate) const fn work_ns(&self, seat: usize, ask: &Ask) -> u64 {
        let work = self.service_ns(ask.shape.packets, ask.shape.bytes);
        if ask.holders.has(seat) {
            work
        } else {
            work.saturating_add(self.key_ns as u64)
        }
    }

    /// The part of it that counts against headroom, where so much work is before it. A key that finds a
    /// free slot is installed once, and no job after it pays for it; where it pushes out another,
    /// every job may. But an engine that is idle is not kept so by a key: the job, and all that wait
    /// behind it, would wait for nothing.
    pub(crate) const fn lasting_ns(&self, seat: usize, ask: &Ask, backlog_ns: u64) -> u64 {
        if backlog_ns > 0 && ask.crowded.has(seat) {
            self.work_ns(seat, ask)
        } else {
            self.service_ns(ask.shape.packets, ask.shape.bytes)
        }
    }

    /// Nanoseconds that the engine is busy with `packets` packets of `bytes` bytes together.
    pub(crate) const fn service_ns(&self, packets: u32, bytes: u64) -> u64 {
        let packets = (packets as u64).saturating_mul(self.per_packet);
        packets.saturating_add(bytes.saturating_mul(self.per_byte)) >> FRACTION
    }
}

/// What an engine is and has before it. The search reads the first cache line; of the second
/// only what a grant asks for.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Hot {
    /// When it is expected to be done with all that it has.
    busy_until: Time,
    queue_ns: u64,
    /// Bytes of memory that its jobs keep busy.
    pub(crate) memory: u64,
    pub(crate) memory_limit: u64,
    /// The part of its work that is primary use.
    pub(crate) primary_ns: u64,
    /// Jobs that it has.
    pub(crate) jobs: u32,
    queue_jobs: u32,
    pub(crate) lanes: u32,
    /// Whether it may be given jobs.
    pub(crate) usable: bool,
    /// Whether the way to it takes time.
    has_way: bool,
    /// Work that it has, in nanoseconds of one of its lanes.
    pub(crate) service_ns: u64,
    way_per_job: u64,
    way_per_byte: u64,
    /// What it does for its own member.
    pub(crate) own: OwnTraffic,
    /// That it works for teams.
    pub(crate) teams: Lately,
}

const _: () = assert!(core::mem::offset_of!(Hot, service_ns) <= 64);

impl Hot {
    fn new(capabilities: &Capabilities) -> Self {
        Self {
            busy_until: Time::ZERO,
            jobs: 0,
            queue_jobs: capabilities.queue_jobs,
            queue_ns: capabilities.queue_ns,
            memory: 0,
            memory_limit: capabilities.memory_bytes.unwrap_or(u64::MAX),
            service_ns: 0,
            primary_ns: 0,
            usable: true,
            lanes: capabilities.parallel.max(1),
            has_way: capabilities.transfer != Transfer::default(),
            way_per_job: capabilities.transfer.ns_per_job,
            way_per_byte: fixed(capabilities.transfer.ns_per_byte),
            own: OwnTraffic::default(),
            teams: Lately::default(),
        }
    }

    /// Nanoseconds until it is expected to have done all that it has.
    pub(crate) const fn backlog_ns(&self, now: Time) -> u64 {
        self.busy_until.since(now).0
    }

    /// Jobs that it may have: an idle engine takes one, whatever it declares.
    pub(crate) const fn most_jobs(&self) -> u64 {
        if self.queue_jobs == 0 {
            1
        } else {
            self.queue_jobs as u64
        }
    }

    /// `ns` of work, spread over its lanes.
    pub(crate) const fn spread(&self, ns: u64) -> u64 {
        // Most engines have one, and a division costs as much as the rest of the formula.
        if self.lanes == 1 {
            ns
        } else {
            ns / self.lanes as u64
        }
    }

    /// Whether a job of `memory` bytes has room now. A queue is bounded in time, in bytes and
    /// in jobs; an idle engine takes any one job. The bound in time does not ask for the
    /// job's own length: where it did, short jobs would keep a queue full for long ones.
    pub(crate) const fn has_room(&self, backlog_ns: u64, memory: u64) -> bool {
        self.jobs == 0
            || (self.jobs < self.queue_jobs
                && backlog_ns < self.queue_ns
                && self.memory.saturating_add(memory) <= self.memory_limit)
    }

    /// The way of a secondary job of `memory` bytes to it and back.
    pub(crate) const fn transfer_ns(&self, memory: u64) -> u64 {
        if !self.has_way {
            return 0;
        }
        let bytes = memory.saturating_mul(self.way_per_byte) >> FRACTION;
        self.way_per_job.saturating_add(bytes)
    }

    /// It was given a job of `service_ns` that is expected back after `expected_ns`.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        (service_ns, expected_ns): (u64, u64),
        memory: u64,
        class: Class,
    ) {
        self.jobs += 1;
        self.memory += memory;
        self.service_ns += service_ns;
        if class != Class::Application {
            self.teams.happens(now);
        }
        if class == Class::Primary {
            self.primary_ns += service_ns;
            let alone = expected_ns.saturating_sub(self.backlog_ns(now));
            self.own.given(now, alone);
        }
        self.busy_until = self.busy_until.max(now) + Time(self.spread(service_ns));
    }

    /// What it should have given back is late by so much: as late again it may be from now on, and
    /// has all of its work before it.
    pub(crate) fn late(&mut self, now: Time, late: Time) {
        let left = Time(self.spread(self.service_ns));
        self.busy_until = self.busy_until.max(now + late + left);
    }

    /// It gave one back that it had been given at `since`. The expectation is corrected by what
    /// is seen: what it still has was not done `latency_ns` ago, and takes no longer from now
    /// than it would from the start.
    pub(crate) fn end(
        &mut self,
        now: Time,
        since: Time,
        service_ns: u64,
        memory: u64,
        class: Class,
        latency_ns: u64,
    ) {
        self.jobs = self.jobs.saturating_sub(1);
        self.memory = self.memory.saturating_sub(memory);
        self.service_ns = self.service_ns.saturating_sub(service_ns);
        if class == Class::Primary {
            self.primary_ns = self.primary_ns.saturating_sub(service_ns);
            self.own.back(now.since(since).0);
        }
        let left = Time(self.spread(self.service_ns));
        let latest = now + left;
        let earliest = now - Time(latency_ns) + left;
        self.busy_until = self.busy_until.clamp(earliest.min(latest), latest);
    }
}

/// The costs of one algorithm and direction, by seat.
type Column = Vec<Cost>;

/// Every seat's part, in the order of the seats.
#[derive(Debug, Default)]
pub(crate) struct Board {
    hot: Vec<Hot>,
    /// [`Hot::busy_until`] of each once more, side by side: most of many engines are passed over
    /// by it and their costs, and 256 of these and of those lie in a first-level cache.
    free_at: Vec<Time>,
    costs: [[Column; 2]; Algorithm::ALL.len()],
}

impl Board {
    /// One more seat, behind the others.
    pub(crate) fn push(&mut self, capabilities: &Capabilities, rates: &Rates) {
        self.hot.push(Hot::new(capabilities));
        self.free_at.push(Time::ZERO);
        for algorithm in Algorithm::ALL {
            for direction in Direction::ALL {
                let cost = Cost::new(rates.get(algorithm, direction));
                self.costs[algorithm.index()][direction.index()].push(cost);
            }
        }
    }

    /// A seat less; those behind it move up.
    pub(crate) fn remove(&mut self, seat: usize) {
        self.hot.remove(seat);
        self.free_at.remove(seat);
        for column in self.costs.iter_mut().flatten() {
            column.remove(seat);
        }
    }

    pub(crate) fn at(&self, seat: usize) -> &Hot {
        &self.hot[seat]
    }

    /// A seat's part, to be changed.
    pub(crate) fn at_mut(&mut self, seat: usize) -> HotMut<'_> {
        HotMut {
            hot: &mut self.hot[seat],
            free_at: &mut self.free_at[seat],
        }
    }

    /// When each seat is expected to be done with all that it has.
    pub(crate) fn free_at(&self) -> &[Time] {
        &self.free_at
    }

    /// All of it, for a search.
    pub(crate) fn all(&self, algorithm: Algorithm, direction: Direction) -> (&[Hot], &[Cost]) {
        let costs = &self.costs[algorithm.index()][direction.index()];
        (&self.hot, costs)
    }
}

/// A [`Hot`] being changed; the board's own arrays follow when it is done with.
pub(crate) struct HotMut<'a> {
    hot: &'a mut Hot,
    free_at: &'a mut Time,
}

impl Deref for HotMut<'_> {
    type Target = Hot;

    fn deref(&self) -> &Hot {
        self.hot
    }
}

impl DerefMut for HotMut<'_> {
    fn deref_mut(&mut self) -> &mut Hot {
        self.hot
    }
}

impl Drop for HotMut<'_> {
    fn drop(&mut self) {
        *self.free_at = self.hot.busy_until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_point_is_as_good_as_the_measured_rate() {
        for (packet, byte) in [(24.5, 0.055), (50.0, 0.8), (1e6, 8000.0), (0.0, 0.0)] {
            let rate = Rate {
                ns_per_packet: packet,
                ns_per_byte: byte,
                ..Rate::default()
            };
            let cost = Cost::new(Some(&rate));
            for (packets, bytes) in [(1, 64), (64, 4096), (64, 90_000), (1, 65_536)] {
                let want = rate.service_ns(packets, bytes) as f64;
                let got = cost.service_ns(packets, bytes) as f64;
                assert!((got - want).abs() <= want * 1e-3 + 1.0, "{got}, not {want}");
            }
        }
        let endless = Cost::new(Some(&Rate {
            ns_per_packet: f64::INFINITY,
            ..Rate::default()
        }));
        assert_eq!(endless.service_ns(64, 1), u64::MAX >> FRACTION);
    }
}
