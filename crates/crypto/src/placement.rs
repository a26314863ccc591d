//! Placement: which engine does a job. A pure function of the grants and the queues.
//!
//! Primary use comes first: a member's traffic is done by that member's own engine. What it
//! lacks, or cannot take within the limit, becomes secondary work: the first tier with an
//! engine whose expected completion lies within the class's spill limit, and in it the
//! cheapest by one formula, in nanoseconds:
//!
//! ```text
//! cost = backlog + packets x ns_per_packet + bytes x ns_per_byte + latency + transfer + bias
//! ```
//!
//! Where no tier keeps within its limit, the cheapest engine that still has room takes the job.
//! Equal costs go to the engine that was admitted first, so that every run decides alike.

use esprit_packet::Time;

use crate::engine::Capabilities;
use crate::grants::{Class, Grant, Grants};
use crate::health::Health;
use crate::job::Shape;
use crate::key::{Algorithm, Direction};
use crate::pool::Reject;
use crate::rates::{Rate, Rates};

/// Engines in a pool at most: sets of them are bits of a `u64`.
pub const MAX_ENGINES: usize = u64::BITS as usize;

/// What an engine has before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Jobs that it has.
    pub jobs: u32,
    /// Bytes of memory that they keep busy.
    pub memory: u64,
    /// Their work, in nanoseconds of one of its lanes.
    pub service_ns: u64,
    /// The part of it that is primary use.
    pub primary_ns: u64,
    /// When it is expected to be done with all of it.
    busy_until: Time,
}

impl Load {
    /// Nanoseconds until it is expected to have done all that it has.
    #[must_use]
    pub const fn backlog_ns(&self, now: Time) -> u64 {
        self.busy_until.since(now).0
    }

    /// It was given a job of `service_ns`.
    pub fn begin(&mut self, now: Time, service_ns: u64, memory: u64, class: Class, lanes: u32) {
        self.jobs += 1;
        self.memory += memory;
        self.service_ns += service_ns;
        if class == Class::Primary {
            self.primary_ns += service_ns;
        }
        let lanes = u64::from(lanes.max(1));
        self.busy_until = self.busy_until.max(now) + Time(service_ns / lanes);
    }

    /// It gave one back. The expectation is corrected by what is seen: what it still has was
    /// not done `latency_ns` ago, and takes no longer from now than it would from the start.
    pub fn end(
        &mut self,
        now: Time,
        service_ns: u64,
        memory: u64,
        class: Class,
        lanes: u32,
        latency_ns: u64,
    ) {
        self.jobs = self.jobs.saturating_sub(1);
        self.memory = self.memory.saturating_sub(memory);
        self.service_ns = self.service_ns.saturating_sub(service_ns);
        if class == Class::Primary {
            self.primary_ns = self.primary_ns.saturating_sub(service_ns);
        }
        let left = Time(self.service_ns / u64::from(lanes.max(1)));
        let latest = now + left;
        let earliest = now - Time(latency_ns) + left;
        self.busy_until = self.busy_until.clamp(earliest.min(latest), latest);
    }
}

/// What placement knows of an engine.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What it declared.
    pub capabilities: Capabilities,
    /// What was measured.
    pub rates: Rates,
    /// Whether it may be given jobs.
    pub health: Health,
    /// What it has.
    pub load: Load,
}

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Now.
    pub now: Time,
    /// With what.
    pub algorithm: Algorithm,
    /// Seal or open.
    pub direction: Direction,
    /// How much.
    pub shape: Shape,
    /// Bytes of memory that it will keep busy.
    pub memory: u64,
    /// Whose traffic.
    pub member: Option<u32>,
    /// An application's.
    pub application: bool,
    /// Seats that are out of the question, a bit each.
    pub exclude: u64,
}

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The engine's seat.
    pub seat: usize,
    /// The use that this is.
    pub class: Class,
    /// Work in it, in nanoseconds of one of the engine's lanes.
    pub service_ns: u64,
    /// Nanoseconds until it is expected back.
    pub expected_ns: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    seat: usize,
    tier: u8,
    grant: Grant,
}

/// A team's grants, by class, in the order of their tiers, with engines by seat.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    by_class: [Vec<Entry>; 3],
    spill_ns: [u64; 3],
}

impl Lanes {
    /// Compiles `grants`; `seat_of` knows the engines there are, others are left out.
    #[must_use]
    pub fn compile(grants: &Grants, seat_of: impl Fn(u32) -> Option<usize>) -> Self {
        let mut lanes = Self {
            by_class: Default::default(),
            spill_ns: grants.spill_ns,
        };
        for grant in &grants.engines {
            let Some(seat) = seat_of(grant.engine) else {
                continue;
            };
            let tiers = [grant.primary, grant.secondary, grant.application];
            for (lane, tier) in lanes.by_class.iter_mut().zip(tiers) {
                lane.extend(tier.map(|tier| Entry {
                    seat,
                    tier,
                    grant: grant.clone(),
                }));
            }
        }
        for lane in &mut lanes.by_class {
            lane.sort_by_key(|entry| (entry.tier, entry.seat));
        }
        lanes
    }

    /// Places a job on one of the engines whose standing `standing` tells.
    ///
    /// # Errors
    /// [`Reject::NoEngine`] where none may do it, [`Reject::Full`] where those that may have
    /// no room.
    pub fn choose<'a>(
        &self,
        standing: impl Fn(usize) -> &'a Standing,
        ask: &Ask,
    ) -> Result<Choice, Reject> {
        let mut search = Search {
            ask,
            able: false,
            reserve: None,
        };
        let class = if ask.application {
            Class::Application
        } else {
            Class::Secondary
        };
        if !ask.application && ask.member.is_some() {
            let found = search.lane(self, Class::Primary, &standing);
            if let Some(choice) = found {
                return Ok(choice);
            }
        }
        match search.lane(self, class, &standing) {
            Some(choice) => Ok(choice),
            None => search
                .reserve
                .map(|(_, choice)| choice)
                .ok_or(if search.able {
                    Reject::Full
                } else {
                    Reject::NoEngine
                }),
        }
    }
}

struct Search<'b> {
    ask: &'b Ask,
    /// Some engine could do it, had it room.
    able: bool,
    /// The cheapest with room beyond the spill limit.
    reserve: Option<(u64, Choice)>,
}

impl Search<'_> {
    fn lane<'a>(
        &mut self,
        lanes: &Lanes,
        class: Class,
        standing: &impl Fn(usize) -> &'a Standing,
    ) -> Option<Choice> {
        let spill = lanes.spill_ns[class.index()];
        let mut best: Option<(u64, Choice)> = None;
        let mut tier = None;
        for entry in &lanes.by_class[class.index()] {
            if tier != Some(entry.tier) {
                if best.is_some() {
                    break;
                }
                tier = Some(entry.tier);
            }
            let Some((cost, choice)) = self.weigh(entry, class, standing(entry.seat)) else {
                continue;
            };
            let place = if choice.expected_ns <= spill {
                &mut best
            } else {
                &mut self.reserve
            };
            if place.is_none_or(|(least, _)| cost < least) {
                *place = Some((cost, choice));
            }
        }
        best.map(|(_, choice)| choice)
    }

    /// What it costs on this engine; none where it may not, cannot, or has no room.
    fn weigh(&mut self, entry: &Entry, class: Class, at: &Standing) -> Option<(u64, Choice)> {
        let ask = self.ask;
        let grant = &entry.grant;
        let capabilities = &at.capabilities;
        let own = grant.member.is_some() && grant.member == ask.member;
        let granted = match ask.direction {
            Direction::Seal => grant.seal,
            Direction::Open => grant.open,
        };
        let fit = match class {
            Class::Primary => own && capabilities.primary,
            // One that works only inline works on what passes its own NIC.
            Class::Secondary | Class::Application => {
                capabilities.secondary && (capabilities.lookaside || own)
            }
        };
        let excluded = ask.exclude & (1 << entry.seat) != 0;
        if !granted || !fit || excluded || !at.health.usable() {
            return None;
        }
        let memory_limit = capabilities.memory_bytes.unwrap_or(u64::MAX);
        if ask.memory > memory_limit {
            return None;
        }
        let rate: &Rate = at.rates.get(ask.algorithm, ask.direction)?;
        self.able = true;

        let service_ns = rate.service_ns(ask.shape.packets, ask.shape.bytes);
        let backlog = at.load.backlog_ns(ask.now);
        let lanes = u64::from(capabilities.parallel.max(1));
        // Its queue is bounded in time, in bytes and in jobs; an idle engine takes any one job.
        let room = at.load.jobs == 0
            || (at.load.jobs < capabilities.queue_jobs
                && at.load.memory + ask.memory <= memory_limit
                && backlog + service_ns / lanes <= capabilities.queue_ns);
        let headroom =
            class == Class::Primary || grant.limit_ns.is_none_or(|limit| backlog < limit);
        if !room || !headroom {
            return None;
        }
        let transfer = if class == Class::Primary {
            0
        } else {
            let way = &capabilities.transfer;
            way.ns_per_job + (ask.memory as f64 * way.ns_per_byte) as u64
        };
        let expected_ns = backlog + service_ns + rate.latency_ns as u64 + transfer;
        let load = at.load.primary_ns / lanes;
        let bias = grant.bias_ns + (load as f64 * grant.bias_load) as u64;
        Some((
            expected_ns.saturating_add(bias),
            Choice {
                seat: entry.seat,
                class,
                service_ns,
                expected_ns,
            },
        ))
    }
}
