//! A team's grants as lists to search, and the search.

use esprit_packet::Time;

use crate::engine::Capabilities;
use crate::grants::{Class, Grant, Grants};
use crate::key::Direction;
use crate::placement::board::{Board, Cost, Hot};
use crate::placement::headroom::Headroom;
use crate::placement::{Ask, Choice};
use crate::pool::Reject;
use crate::seats::SeatSet;

/// What a grant says, in the words of the formula.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) bias_ns: u64,
    /// In 65536ths.
    bias_load: u64,
    pub(crate) limit_ns: u64,
    headroom: Option<Headroom>,
}

impl Terms {
    pub(crate) fn new(grant: &Grant) -> Self {
        Self {
            bias_ns: grant.bias_ns,
            bias_load: (grant.bias_load * 65_536.0) as u64,
            limit_ns: grant.limit_ns.unwrap_or(u64::MAX),
            headroom: grant.headroom.map(Headroom::new),
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
            && self
                .headroom
                .and_then(|headroom| hot.own.bound_ns(ask.now, &headroom))
                .is_none_or(|bound| backlog_ns + hot.spread(service_ns) <= bound)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    seat: u16,
    tier: u8,
    /// It works only for the member that it belongs to.
    own_only: bool,
    member: Option<u32>,
    terms: Terms,
}

/// An [`Entry`], as far as most of many are looked at.
#[derive(Clone, Copy, Debug)]
struct Head {
    seat: u16,
    tier: u8,
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
struct Part<'a> {
    entries: &'a [Entry],
    heads: &'a [Head],
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
                    terms: Terms::new(grant),
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

    fn lane(&self, class: Class, ask: &Ask) -> Part<'_> {
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
                hot[seat].usable && costs[seat].able
            })
    }

    /// Places a job on one of the engines of `board`.
    ///
    /// # Errors
    /// [`Reject::NoEngine`] where none may do it, [`Reject::Full`] where those that may have
    /// no room; these are then in `full`.
    pub(crate) fn choose(
        &self,
        board: &Board,
        ask: &Ask,
        full: &mut SeatSet,
    ) -> Result<Choice, Reject> {
        let (hot, costs) = board.all(ask.algorithm, ask.direction);
        let mut search = Search {
            ask,
            hot,
            free_at: board.free_at(),
            costs,
            // Most jobs find every seat open.
            sets: !(ask.exclude.is_empty() && ask.closed.is_empty()),
            able: false,
            reserve: None,
            full,
        };
        for &class in Self::classes(ask) {
            let found = search.lane(self.lane(class, ask), class, self.spill_ns(class));
            if let Some(choice) = found {
                return Ok(choice);
            }
        }
        match search.reserve {
            Some((_, choice)) => Ok(choice),
            None if search.able => Err(Reject::Full),
            None => Err(Reject::NoEngine),
        }
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

/// A cost, and where in its lane it was seen.
#[derive(Clone, Copy)]
struct Place {
    cost: u64,
    at: usize,
}

impl Place {
    const NOWHERE: Self = Self {
        cost: u64::MAX,
        at: 0,
    };
}

struct Search<'a> {
    ask: &'a Ask,
    hot: &'a [Hot],
    free_at: &'a [Time],
    costs: &'a [Cost],
    /// Some seats are excluded or closed.
    sets: bool,
    /// Some engine could do it, had it room.
    able: bool,
    /// The cheapest with room beyond the spill limit.
    reserve: Option<(u64, Choice)>,
    full: &'a mut SeatSet,
}

impl Search<'_> {
    fn lane(&mut self, lane: Part<'_>, class: Class, spill_ns: u64) -> Option<Choice> {
        let (now, shape) = (self.ask.now, self.ask.shape);
        let mut best = Place::NOWHERE;
        let mut reserve = Place::NOWHERE;
        let mut tier = None;
        for (at, head) in lane.heads.iter().enumerate() {
            if tier != Some(head.tier) {
                if best.cost < u64::MAX {
                    break;
                }
                tier = Some(head.tier);
            }
            // Most of many engines end here: the way, the bias and all that may speak against
            // one only make it dearer. While there is no best one, none ends here.
            let seat = usize::from(head.seat);
            let cost = &self.costs[seat];
            let least = self.free_at[seat].since(now).0
                + cost.latency_ns
                + cost.service_ns(shape.packets, shape.bytes);
            if least >= best.cost {
                continue;
            }
            let Some((cost, expected_ns)) = self.weigh(&lane.entries[at], class) else {
                continue;
            };
            let place = if expected_ns <= spill_ns {
                &mut best
            } else {
                &mut reserve
            };
            if cost < place.cost {
                *place = Place { cost, at };
            }
        }
        if best.cost < u64::MAX {
            return Some(self.choice(&lane.entries[best.at], class));
        }
        if reserve.cost < self.reserve.map_or(u64::MAX, |(least, _)| least) {
            self.reserve = Some((reserve.cost, self.choice(&lane.entries[reserve.at], class)));
        }
        None
    }

    fn choice(&self, entry: &Entry, class: Class) -> Choice {
        let (seat, ask) = (usize::from(entry.seat), self.ask);
        let (hot, cost) = (&self.hot[seat], &self.costs[seat]);
        let service_ns = cost.service_ns(ask.shape.packets, ask.shape.bytes);
        let transfer_ns = match class {
            Class::Primary => 0,
            Class::Secondary | Class::Application => hot.transfer_ns(ask.memory),
        };
        let expected_ns = hot
            .backlog_ns(ask.now)
            .saturating_add(service_ns)
            .saturating_add(cost.latency_ns)
            .saturating_add(transfer_ns);
        Choice {
            seat,
            class,
            service_ns,
            expected_ns,
        }
    }

    /// What it costs on this engine, and when it is expected back; none where it may not, cannot, or
    /// has no room.
    fn weigh(&mut self, entry: &Entry, class: Class) -> Option<(u64, u64)> {
        let ask = self.ask;
        let seat = usize::from(entry.seat);
        let (hot, cost) = (&self.hot[seat], &self.costs[seat]);
        let beside = entry.own_only && entry.member != ask.member;
        if !hot.usable
            || !cost.able
            || beside
            || ask.memory > hot.memory_limit
            || (self.sets && ask.exclude.has(seat))
        {
            return None;
        }
        self.able = true;
        let backlog = hot.backlog_ns(ask.now);
        if !hot.has_room(backlog, ask.memory) || (self.sets && ask.closed.has(seat)) {
            self.full.insert(seat);
            return None;
        }
        let service_ns = cost.service_ns(ask.shape.packets, ask.shape.bytes);
        let transfer = if class == Class::Primary {
            0
        } else if entry.terms.has_headroom(hot, ask, backlog, service_ns) {
            hot.transfer_ns(ask.memory)
        } else {
            return None;
        };
        let expected_ns = backlog
            .saturating_add(cost.latency_ns)
            .saturating_add(service_ns)
            .saturating_add(transfer);
        Some((
            expected_ns.saturating_add(entry.terms.bias(hot)),
            expected_ns,
        ))
    }
}
