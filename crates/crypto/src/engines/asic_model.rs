//! The *simulated* NIC encryption processor: what it is, and how long it takes. Pure: no
//! thread, no clock, no cipher.

use std::collections::BTreeMap;

use esprit_packet::Time;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::engine::{
    Capabilities, DEFAULT_PATIENCE_NS, DEFAULT_QUEUE_JOBS, DEFAULT_QUEUE_NS, Kind, Transfer,
};
use crate::key::Algorithm;

/// What a simulated encryption processor is like.
///
/// The defaults are those of a small controller of today: 10 Gbit/s and 20 µs from the
/// doorbell to the completion, 4 MiB of its own for packets in flight, 1024 SAs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AsicSpec {
    /// Bits of plaintext per second.
    pub rate_bps: u64,
    /// Nanoseconds for each packet, whatever its length.
    pub ns_per_packet: u64,
    /// Nanoseconds from the end of the work to the completion.
    pub latency_ns: u64,
    /// Completions are gathered for so many nanoseconds and told together; 0: each by itself.
    pub coalesce_ns: u64,
    /// Work taken ahead of time at most, in nanoseconds.
    pub queue_ns: u64,
    /// Jobs in flight at most.
    pub queue_jobs: u32,
    /// Bytes of input and output in flight at most.
    #[serde(alias = "memory")]
    pub memory_bytes: u64,
    /// Keys that it holds.
    pub sa_slots: u32,
    /// Nanoseconds to install one.
    pub key_install_ns: u64,
    /// What it can do.
    pub algorithms: Vec<Algorithm>,
    /// Takes a job and gives it back.
    pub lookaside: bool,
    /// Works on its own NIC's traffic as it passes.
    pub inline: bool,
    /// Fit for its own member's traffic.
    pub primary: bool,
    /// Fit for others' traffic.
    pub secondary: bool,
    /// Takes extended sequence numbers.
    pub esn: bool,
    /// The largest replay window it could keep.
    pub max_replay_window: u32,
    /// A job counts as hung when it is late by this at least.
    pub patience_ns: u64,
    /// The way there and back for secondary use.
    pub transfer: Transfer,
    /// Chooses which bits a wrong result has wrong.
    pub seed: u64,
}

impl Default for AsicSpec {
    fn default() -> Self {
        Self {
            rate_bps: 10_000_000_000,
            ns_per_packet: 50,
            latency_ns: 20_000,
            coalesce_ns: 0,
            queue_ns: DEFAULT_QUEUE_NS,
            queue_jobs: DEFAULT_QUEUE_JOBS,
            memory_bytes: 4 << 20,
            sa_slots: 1024,
            key_install_ns: 5_000,
            algorithms: Algorithm::ALL.to_vec(),
            lookaside: true,
            inline: false,
            primary: true,
            secondary: true,
            esn: true,
            max_replay_window: 8192,
            patience_ns: DEFAULT_PATIENCE_NS,
            transfer: Transfer::default(),
            seed: 0,
        }
    }
}

/// Why a specification describes no device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// Nothing would ever come back.
    #[error("`{0}` is zero")]
    Zero(&'static str),
    /// It could do nothing.
    #[error("`{0}` is empty")]
    Empty(&'static str),
    /// It takes no jobs from us; what passes through its own NIC is not simulated.
    #[error("`lookaside` is off: a simulated engine takes jobs and gives them back")]
    NotLookaside,
}

impl AsicSpec {
    /// What the device says of itself.
    ///
    /// # Errors
    /// A specification under which no job would be done.
    pub fn capabilities(&self) -> Result<Capabilities, SpecError> {
        for (value, name) in [
            (self.rate_bps, "rate_bps"),
            (self.queue_jobs.into(), "queue_jobs"),
            (self.memory_bytes, "memory_bytes"),
            (self.sa_slots.into(), "sa_slots"),
        ] {
            if value == 0 {
                return Err(SpecError::Zero(name));
            }
        }
        if self.algorithms.is_empty() {
            return Err(SpecError::Empty("algorithms"));
        }
        if !(self.lookaside || self.inline) {
            return Err(SpecError::NotLookaside);
        }
        Ok(Capabilities {
            kind: Kind::Asic,
            simulated: true,
            synchronous: false,
            host_cpu: false,
            lookaside: self.lookaside,
            inline: self.inline,
            primary: self.primary,
            secondary: self.secondary,
            algorithms: self.algorithms.clone(),
            esn: self.esn,
            max_replay_window: self.max_replay_window,
            sa_slots: Some(self.sa_slots),
            key_install_ns: self.key_install_ns,
            keys_survive_reset: false,
            memory_bytes: Some(self.memory_bytes),
            queue_ns: self.queue_ns,
            queue_jobs: self.queue_jobs,
            parallel: 1,
            patience_ns: self.patience_ns,
            transfer: self.transfer,
        })
    }
}

/// When a job is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The device begins.
    pub start: Time,
    /// It is free for the next job.
    pub done: Time,
    /// The job is back.
    pub ready: Time,
    /// Its key had to be installed first.
    pub installed: bool,
}

/// How long the device takes: one pipeline, first in, first out, with SA slots that the
/// least recently used key gives up.
#[derive(Clone, Debug)]
pub struct Model {
    rate_bps: u64,
    ns_per_packet: u64,
    latency_ns: u64,
    sa_slots: usize,
    key_install_ns: u64,
    /// What is left of the rate, in per cent.
    percent: u64,
    /// Completions wait for one another so long.
    coalesce_ns: u64,
    /// When those that are gathered now are told.
    told_at: Time,
    free_at: Time,
    /// When each installed key was used last, counted in jobs.
    used: BTreeMap<u64, u64>,
    jobs: u64,
}

impl Model {
    /// An idle device without keys.
    #[must_use]
    pub fn new(spec: &AsicSpec) -> Self {
        Self {
            rate_bps: spec.rate_bps.max(1),
            ns_per_packet: spec.ns_per_packet,
            latency_ns: spec.latency_ns,
            sa_slots: spec.sa_slots.max(1) as usize,
            key_install_ns: spec.key_install_ns,
            percent: 100,
            coalesce_ns: spec.coalesce_ns,
            told_at: Time::ZERO,
            free_at: Time::ZERO,
            used: BTreeMap::new(),
            jobs: 0,
        }
    }

    /// Takes a job of `packets` packets and `bytes` bytes with the key `key`, which arrives at
    /// `now`; answers when it is worked on.
    pub fn accept(&mut self, now: Time, key: u64, packets: u32, bytes: u64) -> Timing {
        let start = self.free_at.max(now);
        let installed = self.install(key);
        let mut span = self.service_ns(packets, bytes);
        if self.percent != 100 {
            span = span.saturating_mul(100) / self.percent;
        }
        if installed {
            span = span.saturating_add(self.key_install_ns);
        }
        let done = start + Time(span);
        self.free_at = done;
        let mut ready = done + Time(self.latency_ns);
        if self.coalesce_ns > 0 {
            // The first of a group starts the timer; what is done until then is told with it.
            if ready > self.told_at {
                self.told_at = ready + Time(self.coalesce_ns);
            }
            ready = self.told_at;
        }
        Timing {
            start,
            done,
            ready,
            installed,
        }
    }

    /// From here on it works at so many per cent of its rate, 1 at least.
    pub fn sag(&mut self, percent: u32) {
        self.percent = u64::from(percent.max(1));
    }

    /// From here on completions wait for one another so long.
    pub const fn coalesce(&mut self, ns: u64) {
        self.coalesce_ns = ns;
    }

    /// Nanoseconds of work in `packets` packets of `bytes` bytes together.
    #[must_use]
    pub fn service_ns(&self, packets: u32, bytes: u64) -> u64 {
        // In 128 bits: 8e9 times a job's bytes (2^17) fits 64, a caller's sum may not.
        let bits_ns = u128::from(bytes) * 8_000_000_000 / u128::from(self.rate_bps);
        u64::from(packets)
            .saturating_mul(self.ns_per_packet)
            .saturating_add(u64::try_from(bits_ns).unwrap_or(u64::MAX))
    }

    /// Idle, and without keys.
    pub fn reset(&mut self) {
        self.free_at = Time::ZERO;
        self.told_at = Time::ZERO;
        self.used.clear();
    }

    /// Answers whether the key was not there.
    fn install(&mut self, key: u64) -> bool {
        self.jobs += 1;
        if self.used.insert(key, self.jobs).is_some() {
            return false;
        }
        if self.used.len() > self.sa_slots {
            let oldest = self.used.iter().min_by_key(|&(_, &used)| used);
            if let Some((&key, _)) = oldest {
                self.used.remove(&key);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> AsicSpec {
        AsicSpec {
            rate_bps: 8_000_000_000,
            ns_per_packet: 10,
            latency_ns: 1000,
            sa_slots: 2,
            key_install_ns: 500,
            ..AsicSpec::default()
        }
    }

    #[test]
    fn jobs_queue_behind_one_another_and_the_latency_is_hidden() {
        let mut model = Model::new(&spec());
        let first = model.accept(Time(100), 1, 2, 1000);
        assert_eq!(
            first,
            Timing {
                start: Time(100),
                done: Time(100 + 500 + 20 + 1000),
                ready: Time(100 + 500 + 20 + 1000 + 1000),
                installed: true,
            }
        );
        let second = model.accept(Time(100), 1, 1, 0);
        assert_eq!(second.start, first.done);
        assert_eq!(second.done, first.done + Time(10));
        assert!(!second.installed);
    }

    #[test]
    fn the_key_not_used_for_longest_gives_up_its_slot() {
        let mut model = Model::new(&spec());
        let mut installs = |keys: &[u64]| -> Vec<bool> {
            let accept = |&key| model.accept(Time::ZERO, key, 1, 0).installed;
            keys.iter().map(accept).collect()
        };
        assert_eq!(
            installs(&[1, 2, 1, 3, 1, 2]),
            [true, true, false, true, false, true]
        );
        model.reset();
        assert!(
            model.accept(Time::ZERO, 1, 1, 0).installed,
            "a reset loses keys"
        );
    }

    #[test]
    fn completions_are_gathered_from_the_first_of_them_on() {
        let mut model = Model::new(&AsicSpec {
            coalesce_ns: 2_000,
            ..spec()
        });
        let ready: Vec<u64> = [0, 500, 1_500, 9_000]
            .into_iter()
            .map(|now| model.accept(Time(now), 1, 1, 0).ready.0)
            .collect();
        // The first is done at 510, and back at 1510 but for the gathering.
        assert_eq!(ready, [3_510, 3_510, 3_510, 12_010]);
        model.coalesce(0);
        assert_eq!(model.accept(Time(20_000), 1, 1, 0).ready, Time(21_010));
    }

    #[test]
    fn a_rate_that_sags_takes_its_share_longer() {
        let mut model = Model::new(&spec());
        model.accept(Time::ZERO, 1, 1, 0);
        model.sag(25);
        let slow = model.accept(Time(10_000), 1, 2, 1000);
        assert_eq!(slow.done.since(slow.start), Time(4 * 1020));
        model.sag(100);
        let well = model.accept(Time(50_000), 1, 2, 1000);
        assert_eq!(well.done.since(well.start), Time(1020));
    }

    #[test]
    fn a_device_that_does_nothing_is_refused() {
        let with = |change: fn(&mut AsicSpec)| {
            let mut spec = spec();
            change(&mut spec);
            spec.capabilities().unwrap_err()
        };
        assert_eq!(with(|s| s.rate_bps = 0), SpecError::Zero("rate_bps"));
        assert_eq!(
            with(|s| s.algorithms.clear()),
            SpecError::Empty("algorithms")
        );
        assert_eq!(with(|s| s.lookaside = false), SpecError::NotLookaside);
    }
}
