//! A team's grants as lists to search: by class and direction, in the order in which engines
//! are asked.

use esprit_packet::Time;

use crate::engine::Capabilities;
use crate::grants::{Class, Grant, Grants};
use crate::key::Direction;
use crate::placement::Ask;
use crate::placement::board::{Board, Cost, Hot};
use crate::placement::headroom::Headroom;

/// What a grant says, in the words of the formula.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) bias_ns: u64,
    /// In 65536ths.
    bias_load: u64,
    pub(crate) limit_ns: u64,
    headroom: Option<Headroom>,
    /// Of an application's job while the engine works for teams.
    beside_ns: u64,
}

impl Terms {
    pub(crate) fn new(grant: &Grant, class: Class) -> Self {
        let beside = grant.beside_ns.filter(|_| class == Class::Application);
        Self {
            bias_ns: grant.bias_ns,
            bias_load: (grant.bias_load * 65_536.0) as u64,
            limit_ns: grant.limit_ns.unwrap_or(u64::MAX),
            headroom: grant.headroom.map(Headroom::new),
            beside_ns: beside.unwrap_or(u64::MAX),
        }
    }

    /// What is added to an engine's cost.
    pub(crate) const fn bias(&self, hot: &Hot) -> u64 {
        if self.bias_load == 0 {
            return self.bias_ns;
        }
        let load = hot.spread(hot.primary_ns).saturating_mul(self.bias_load) >> 16;
        self.bias_ns.saturating_add(load)
    }

    /// Whether it may take `service_ns` of others' work on top of its backlog.
    pub(crate) fn has_headroom(
        &self,
        hot: &Hot,
        ask: &Ask,
        backlog_ns: u64,
        service_ns: u64,
    ) -> bool {
        backlog_ns < self.limit_ns
            && (backlog_ns < self.beside_ns || !hot.teams.goes_on(ask.now))
            && self
                .headroom
                .and_then(|headroom| hot.own.bound_ns(ask.now, &headroom))
                .is_none_or(|bound| backlog_ns + hot.spread(service_ns) <= bound)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) seat: u16,
    pub(super) tier: u8,
    /// It works only for the member that it belongs to.
    pub(super) own_only: bool,
    pub(super) member: Option<u32>,
    pub(super) terms: Terms,
}

/// An [`Entry`], as far as most of many are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) seat: u16,
    pub(super) tier: u8,
}

/// Engines in the order in which they are asked.
#[derive(Clone, Debug, Default)]
struct Lane {
    entries: Vec<Entry>,
    heads: Vec<Head>,
}

impl Lane {
    fn sort_by_key<K: Ord>(&mut self, key: impl FnMut(&Entry) -> K) {
        self.entries.sort_by_key(key);
        let head = |entry: &Entry| Head {
            seat: entry.seat,
            tier: entry.tier,
        };
        self.heads = self.entries.iter().map(head).collect();
    }

    fn all(&self) -> Part<'_> {
        Part {
            entries: &self.entries,
            heads: &self.heads,
        }
    }
}

/// Some of a lane's engines, one behind the other.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) heads: &'a [Head],
}

/// A team's grants, by class and direction, in the order of their tiers. Engines that are not
/// granted something, or not fit for it, are not in the list for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes {
    /// By member first: a member asks for its own engines only.
    primary: [Lane; 2],
    /// Secondary use, and applications.
    others: [[Lane; 2]; 2],
    spill_ns: [u64; 3],
}

/// Whether what an engine declares lets it do work of a class; for its own member, or anyone.
pub(crate) const fn fit(capabilities: &Capabilities, class: Class, own: bool) -> bool {
    match class {
        Class::Primary => own && capabilities.primary,
        // One that works only inline works on what passes its own NIC.
        Class::Secondary | Class::Application => {
            capabilities.secondary && (capabilities.lookaside || own)
        }
    }
}

pub(crate) const fn tier_of(grant: &Grant, class: Class) -> Option<u8> {
    match class {
        Class::Primary => grant.primary,
        Class::Secondary => grant.secondary,
        Class::Application => grant.application,
    }
}

pub(crate) const fn granted(grant: &Grant, direction: Direction) -> bool {
    match direction {
        Direction::Seal => grant.seal,
        Direction::Open => grant.open,
    }
}

impl Lanes {
    /// Compiles `grants`; `seat_of` knows the engines there are, others are left out.
    pub(crate) fn compile<'a>(
        grants: &Grants,
        seat_of: impl Fn(u32) -> Option<(usize, &'a Capabilities)>,
    ) -> Self {
        let mut lanes = Self {
            spill_ns: grants.spill_ns,
            ..Self::default()
        };
        for grant in &grants.engines {
            let Some((seat, capabilities)) = seat_of(grant.engine) else {
                continue;
            };
            for (class, direction) in Class::ALL
                .into_iter()
                .flat_map(|class| Direction::ALL.map(|direction| (class, direction)))
            {
                let own = grant.member.is_some();
                let Some(tier) = tier_of(grant, class) else {
                    continue;
                };
                if !granted(grant, direction) || !fit(capabilities, class, own) {
                    continue;
                }
                lanes.lane_mut(class, direction).entries.push(Entry {
                    seat: seat as u16,
                    tier,
                    own_only: !fit(capabilities, class, false),
                    member: grant.member,
                    terms: Terms::new(grant, class),
                });
            }
        }
        for lane in &mut lanes.primary {
            lane.sort_by_key(|entry| (entry.member, entry.tier, entry.seat));
        }
        for lane in lanes.others.iter_mut().flatten() {
            lane.sort_by_key(|entry| (entry.tier, entry.seat));
        }
        lanes
    }

    fn lane_mut(&mut self, class: Class, direction: Direction) -> &mut Lane {
        match class {
            Class::Primary => &mut self.primary[direction.index()],
            Class::Secondary => &mut self.others[0][direction.index()],
            Class::Application => &mut self.others[1][direction.index()],
        }
    }

    pub(super) fn lane(&self, class: Class, ask: &Ask) -> Part<'_> {
        let direction = ask.direction.index();
        match class {
            Class::Primary => {
                let lane = &self.primary[direction];
                let all = &lane.entries;
                let member = ask.member;
                let from = match member {
                    Some(_) => all.partition_point(|entry| entry.member < member),
                    None => all.len(),
                };
                let len = all[from..].partition_point(|entry| entry.member == member);
                Part {
                    entries: &all[from..from + len],
                    heads: &lane.heads[from..from + len],
                }
            }
            Class::Secondary => self.others[0][direction].all(),
            Class::Application => self.others[1][direction].all(),
        }
    }

    /// The classes under which a job may be done, the first of them its own.
    pub(crate) const fn classes(ask: &Ask) -> &'static [Class] {
        match (ask.application, ask.member) {
            (true, _) => &[Class::Application],
            (false, Some(_)) => &[Class::Primary, Class::Secondary],
            (false, None) => &[Class::Secondary],
        }
    }

    pub(crate) const fn spill_ns(&self, class: Class) -> u64 {
        self.spill_ns[class.index()]
    }

    /// Whether a member has an engine of its own that does such a job while it is in order: then
    /// the job is primary use, wherever it is done at last.
    pub(crate) fn own_engine(&self, board: &Board, ask: &Ask) -> bool {
        let (hot, costs) = board.all(ask.algorithm, ask.direction);
        !ask.application
            && self.lane(Class::Primary, ask).heads.iter().any(|entry| {
                let seat = usize::from(entry.seat);
                hot[seat].usable && costs[seat].able && !ask.lacking.has(seat)
            })
    }

    /// When an engine that is kept from more of applications' work has done so much of what it has
    /// that it takes more.
    pub(crate) fn opens_beside(&self, board: &Board, now: Time) -> Option<Time> {
        let lanes = self.others[Class::Application.index() - 1].iter();
        lanes
            .flat_map(|lane| &lane.entries)
            .filter_map(|entry| {
                let seat = usize::from(entry.seat);
                let over = board
                    .at(seat)
                    .backlog_ns(now)
                    .checked_sub(entry.terms.beside_ns)?;
                // At the bound itself it is still kept from it.
                Some(now + Time(over + 1))
            })
            .min()
    }

    /// The least work, in nanoseconds, that one of the engines has which such a job would go to
    /// first, and that engine's costs: of the member's own, or else of the first tier.
    pub(crate) fn least<'b>(
        &self,
        board: &'b Board,
        ask: &Ask,
    ) -> Option<(u64, &'b Hot, &'b Cost)> {
        let (hot, costs) = board.all(ask.algorithm, ask.direction);
        for &class in Self::classes(ask) {
            let mut least: Option<(u64, &Hot, &Cost)> = None;
            let mut tier = None;
            for entry in self.lane(class, ask).entries {
                if tier != Some(entry.tier) {
                    if least.is_some() {
                        break;
                    }
                    tier = Some(entry.tier);
                }
                let seat = usize::from(entry.seat);
                let (hot, cost) = (&hot[seat], &costs[seat]);
                let work = hot.spread(hot.service_ns);
                let beside = entry.own_only && entry.member != ask.member;
                if hot.usable
                    && cost.able
                    && !beside
                    && least.is_none_or(|(best, _, _)| work < best)
                {
                    least = Some((work, hot, cost));
                }
            }
            if least.is_some() {
                return least;
            }
        }
        None
    }
}
