//! Placement in slow motion: every engine with its cost as it stands, and what speaks against it.

use serde::{Serialize, Serializer};

use crate::engine::Capabilities;
use crate::grants::{Class, EngineId, Grant};
use crate::health::Health;
use crate::placement::Ask;
use crate::placement::board::Board;
use crate::placement::lanes::{Lanes, Terms, fit, granted, tier_of};

/// What placement thinks of an engine for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It gets the job.
    Chosen,
    /// It could have it, another is cheaper.
    Dearer,
    /// It could have it, an earlier tier has it already.
    LaterTier,
    /// It has no room for it now.
    Full,
    /// It would be done too late for its class; such an engine is taken where all are so.
    BeyondSpill,
    /// Its own member's traffic would wait for it.
    NoHeadroom,
    /// The Plan does not let it.
    NotGranted,
    /// It does not know the algorithm in this direction, or lacks what the SA needs, or has not the
    /// memory for it.
    NotAble,
    /// It is not fit for this use.
    NotFit,
    /// It works only on what passes its own NIC.
    InlineOnly,
    /// It did this job before and failed at it, or is to be checked by another.
    Excluded,
    /// It is in no state to be given work.
    Unhealthy(Health),
}

impl Verdict {
    /// As snapshots show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Dearer => "dearer",
            Self::LaterTier => "later tier",
            Self::Full => "full",
            Self::BeyondSpill => "beyond the spill limit",
            Self::NoHeadroom => "no headroom",
            Self::NotGranted => "not granted",
            Self::NotAble => "not able",
            Self::NotFit => "not fit",
            Self::InlineOnly => "inline only",
            Self::Excluded => "excluded",
            Self::Unhealthy(health) => health.name(),
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// An engine that was thought of for a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// The engine.
    pub engine: EngineId,
    /// Its tier for this class.
    pub tier: u8,
    /// The use that it would be.
    pub class: Class,
    /// Nanoseconds of work before it.
    pub backlog_ns: u64,
    /// Nanoseconds of work in the job.
    pub service_ns: u64,
    /// Nanoseconds to install its key; 0 where it is held.
    pub key_ns: u64,
    /// Nanoseconds through the engine besides.
    pub latency_ns: u64,
    /// Nanoseconds to the engine and back.
    pub transfer_ns: u64,
    /// Nanoseconds that the Plan adds.
    pub bias_ns: u64,
    /// All of it.
    pub cost_ns: u64,
    /// What came of it.
    pub verdict: Verdict,
}

/// What is known of an engine besides what the board has.
pub(crate) struct Known<'a> {
    pub(crate) seat: usize,
    pub(crate) capabilities: &'a Capabilities,
    pub(crate) health: Health,
}

/// Every engine of `grants`, for each class that the job may be done under, in the order in which
/// they are asked.
pub(crate) fn candidates<'a>(
    grants: &[Grant],
    lanes: &Lanes,
    board: &Board,
    ask: &Ask,
    known: impl Fn(u32) -> Option<Known<'a>>,
) -> Vec<Candidate> {
    let mut all = Vec::new();
    for &class in Lanes::classes(ask) {
        let from = all.len();
        for grant in grants {
            let Some(at) = known(grant.engine) else {
                continue;
            };
            let own = grant.member.is_some() && grant.member == ask.member;
            // Others' engines are no part of primary use.
            if class == Class::Primary && !own {
                continue;
            }
            let (hot, costs) = board.all(ask.algorithm, ask.direction);
            let (hot, cost) = (&hot[at.seat], &costs[at.seat]);
            let terms = Terms::new(grant, class);
            let backlog_ns = hot.backlog_ns(ask.now);
            let service_ns = cost.service_ns(ask.shape.packets, ask.shape.bytes);
            let key_ns = cost.work_ns(at.seat, ask).saturating_sub(service_ns);
            let transfer_ns = match class {
                Class::Primary => 0,
                Class::Secondary | Class::Application => hot.transfer_ns(ask.memory),
            };
            let bias_ns = match class {
                Class::Primary => 0,
                Class::Secondary | Class::Application => terms.bias(hot),
            };
            let expected_ns = backlog_ns
                .saturating_add(service_ns)
                .saturating_add(key_ns)
                .saturating_add(cost.latency_ns)
                .saturating_add(transfer_ns);
            let tier = tier_of(grant, class);
            // A Plan leaves out what is not healthy: that is then the reason.
            let verdict = if !at.health.usable() {
                Verdict::Unhealthy(at.health)
            } else if tier.is_none() || !granted(grant, ask.direction) {
                Verdict::NotGranted
            } else if !fit(at.capabilities, class, own) {
                match (class, at.capabilities.secondary) {
                    (Class::Secondary | Class::Application, true) => Verdict::InlineOnly,
                    (Class::Primary | Class::Secondary | Class::Application, _) => Verdict::NotFit,
                }
            } else if !cost.able || ask.lacking.has(at.seat) || ask.memory > hot.memory_limit {
                Verdict::NotAble
            } else if ask.exclude.has(at.seat) {
                Verdict::Excluded
            } else if !hot.has_room(backlog_ns, ask.memory) || ask.closed.has(at.seat) {
                Verdict::Full
            } else if class != Class::Primary
                && !terms.has_headroom(
                    hot,
                    ask,
                    backlog_ns,
                    cost.lasting_ns(at.seat, ask, backlog_ns),
                )
            {
                Verdict::NoHeadroom
            } else if expected_ns > lanes.spill_ns(class) {
                Verdict::BeyondSpill
            } else {
                Verdict::Dearer
            };
            all.push((
                at.seat,
                Candidate {
                    engine: EngineId(grant.engine),
                    tier: tier.unwrap_or(u8::MAX),
                    class,
                    backlog_ns,
                    service_ns,
                    key_ns,
                    latency_ns: cost.latency_ns,
                    transfer_ns,
                    bias_ns,
                    cost_ns: expected_ns.saturating_add(bias_ns),
                    verdict,
                },
            ));
        }
        all[from..].sort_by_key(|(seat, candidate)| (candidate.tier, *seat));
    }
    let mut nobody = crate::seats::SeatSet::EMPTY;
    let chosen = lanes.choose(board, ask, &mut nobody).ok();
    let first = |class: Class| {
        all.iter()
            .map(|(_, at): &(usize, Candidate)| at)
            .filter(|at| at.class == class && at.verdict == Verdict::Dearer)
            .map(|at| at.tier)
            .min()
    };
    let own = first(Class::Primary);
    let idle = chosen.is_some_and(|c| c.class == Class::Primary && board.at(c.seat).jobs == 0);
    let others = first(if ask.application {
        Class::Application
    } else {
        Class::Secondary
    });
    all.into_iter()
        .map(|(seat, mut candidate)| {
            let could = matches!(candidate.verdict, Verdict::Dearer | Verdict::BeyondSpill);
            // The own engine is measured with the first tier of the others', unless that one
            // comes after it, or the own engine is idle.
            let competes = match candidate.class {
                Class::Primary => own == Some(candidate.tier),
                Class::Secondary | Class::Application => {
                    others == Some(candidate.tier)
                        && own.is_none_or(|own| candidate.tier <= own && !idle)
                }
            };
            if could && chosen.is_some_and(|c| (c.seat, c.class) == (seat, candidate.class)) {
                candidate.verdict = Verdict::Chosen;
            } else if candidate.verdict == Verdict::Dearer && !competes {
                candidate.verdict = Verdict::LaterTier;
            }
            candidate
        })
        .collect()
}
