//! The search for the engine of a job: `cost` of every engine that may do it, and the least.
//!
//! A member's own engine is asked first: while it is idle it does its member's traffic. A job
//! that would wait there goes to an engine for others' work that would be done with it sooner, if one
//! stands in no later tier than the own engine: what a mode keeps for when all else is busy is
//! not opened by a short queue.

use esprit_packet::Time;

use crate::grants::Class;
use crate::placement::board::{Board, Cost, Hot};
use crate::placement::lanes::{Entry, Lanes, Part};
use crate::placement::{Ask, Choice};
use crate::pool::Reject;
use crate::seats::SeatSet;

impl Lanes {
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
            sets: !(ask.exclude.is_empty() && ask.lacking.is_empty() && ask.closed.is_empty()),
            able: false,
            reserve: None,
            full,
        };
        let mut offer: Option<Offer> = None;
        for &class in Self::classes(ask) {
            let lane = self.lane(class, ask);
            let better = search.lane(lane, class, self.spill_ns(class), offer);
            offer = better.or(offer);
            let idle = |own: &Offer| class == Class::Primary && hot[own.choice.seat].jobs == 0;
            if offer.as_ref().is_some_and(idle) {
                break;
            }
        }
        match offer.or(search.reserve) {
            Some(offer) => Ok(offer.choice),
            None if search.able => Err(Reject::Full),
            None => Err(Reject::NoEngine),
        }
    }
}

/// An engine that would do it.
#[derive(Clone, Copy)]
struct Offer {
    cost: u64,
    tier: u8,
    choice: Choice,
}

/// A cost, and where in its lane it was seen.
#[derive(Clone, Copy)]
struct Place {
    cost: u64,
    at: Option<usize>,
}

struct Search<'a> {
    ask: &'a Ask,
    hot: &'a [Hot],
    free_at: &'a [Time],
    costs: &'a [Cost],
    /// Some seats are excluded, lacking or closed.
    sets: bool,
    /// Some engine could do it, had it room.
    able: bool,
    /// The cheapest with room beyond the spill limit.
    reserve: Option<Offer>,
    full: &'a mut SeatSet,
}

impl Search<'_> {
    /// The cheapest engine of the first tier that keeps within the limit, if it betters the
    /// own engine's offer.
    fn lane(
        &mut self,
        lane: Part<'_>,
        class: Class,
        spill_ns: u64,
        own: Option<Offer>,
    ) -> Option<Offer> {
        let (now, shape) = (self.ask.now, self.ask.shape);
        let mut best = Place {
            cost: own.map_or(u64::MAX, |own| own.cost),
            at: None,
        };
        let mut reserve = Place {
            cost: self.reserve.map_or(u64::MAX, |reserve| reserve.cost),
            at: None,
        };
        let last_tier = own.map_or(u8::MAX, |own| own.tier);
        let mut tier = None;
        // Whether some engine of this tier keeps within the limit.
        let mut open = false;
        for (at, head) in lane.heads.iter().enumerate() {
            if tier != Some(head.tier) {
                if open || head.tier > last_tier {
                    break;
                }
                tier = Some(head.tier);
            }
            // Most of many engines end here: the key, the way, the bias and all that may speak
            // against one only make it dearer.
            let seat = usize::from(head.seat);
            let cost = &self.costs[seat];
            let least = self.free_at[seat].since(now).0
                + cost.latency_ns
                + cost.service_ns(shape.packets, shape.bytes);
            if open && least >= best.cost {
                continue;
            }
            let Some((cost, expected_ns)) = self.weigh(&lane.entries[at], class) else {
                continue;
            };
            let place = if expected_ns <= spill_ns {
                open = true;
                &mut best
            } else {
                &mut reserve
            };
            if cost < place.cost {
                *place = Place { cost, at: Some(at) };
            }
        }
        if !open && let Some(offer) = self.offer(lane, class, reserve) {
            self.reserve = Some(offer);
        }
        self.offer(lane, class, best)
    }

    fn offer(&self, lane: Part<'_>, class: Class, place: Place) -> Option<Offer> {
        let entry = &lane.entries[place.at?];
        Some(Offer {
            cost: place.cost,
            tier: entry.tier,
            choice: self.choice(entry, class),
        })
    }

    fn choice(&self, entry: &Entry, class: Class) -> Choice {
        let (seat, ask) = (usize::from(entry.seat), self.ask);
        let (hot, cost) = (&self.hot[seat], &self.costs[seat]);
        let service_ns = cost.work_ns(seat, ask);
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
            || (self.sets && (ask.exclude.has(seat) || ask.lacking.has(seat)))
        {
            return None;
        }
        self.able = true;
        let backlog = hot.backlog_ns(ask.now);
        if !hot.has_room(backlog, ask.memory) || (self.sets && ask.closed.has(seat)) {
            self.full.insert(seat);
            return None;
        }
        let service_ns = cost.work_ns(seat, ask);
        let (transfer, bias) = if class == Class::Primary {
            (0, 0)
        } else if entry
            .terms
            .has_headroom(hot, ask, backlog, cost.lasting_ns(seat, ask, backlog))
        {
            (hot.transfer_ns(ask.memory), entry.terms.bias(hot))
        } else {
            return None;
        };
        let expected_ns = backlog
            .saturating_add(cost.latency_ns)
            .saturating_add(service_ns)
            .saturating_add(transfer);
        Some((expected_ns.saturating_add(bias), expected_ns))
    }
}
