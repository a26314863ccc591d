//! The rules of the design, as a run must keep them. The first that is broken ends it.

use std::collections::BTreeMap;

use esprit_packet::Time;
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

use crate::probe::Mark;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A nonce sealed two plaintexts (rule 2).
    Nonce,
    /// What policy protects was on a wire as it is (rule 1).
    Plaintext,
    /// Packets of one SA left, or went up, in another order than they came (rule 4).
    Order,
    /// A packet was handed over twice (rule 2).
    Duplicate,
    /// The peer, or the host, got other bytes than were sent.
    Bytes,
    /// A job that was done again came out otherwise (rule 2).
    Redone,
    /// A packet is neither delivered nor counted as dropped (rule 5).
    Conservation,
    /// A queue or a buffer pool is beyond its limit, or buffers did not come back (rule 6).
    Bounded,
    /// A job waits that an idle engine open to it would have done (row M16).
    WorkConservation,
    /// The worker asks to be called again and again without end.
    Liveness,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// When, in nanoseconds of virtual time.
    pub time: u64,
    /// Which.
    pub rule: Rule,
    /// What was seen.
    pub detail: String,
}

/// A rule broken on purpose, to show that the check sees it: from the `after`-th occasion on,
/// once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sabotage {
    /// An engine is given a job under a nonce that was used.
    Nonce(u64),
    /// A frame is handed over as the host wrote it.
    Plaintext(u64),
    /// Two frames change places.
    Order(u64),
    /// A frame is handed over twice.
    Duplicate(u64),
    /// A bit of a frame flips.
    Bytes(u64),
    /// A bit of a job that is done again flips.
    Redone(u64),
    /// A frame vanishes.
    Conservation(u64),
    /// A buffer is kept.
    Bounded(u64),
    /// A queue is seen with more in it than it may hold.
    Queue(u64),
    /// An engine takes nothing more from then on.
    WorkConservation(u64),
}

/// Counts down to the occasion.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trap(Option<Sabotage>);

impl Trap {
    pub(crate) const fn set(&mut self, sabotage: Option<Sabotage>) {
        self.0 = sabotage;
    }

    /// Whether it is now that `kind` happens; each call is an occasion.
    pub(crate) fn springs(&mut self, kind: fn(u64) -> Sabotage) -> bool {
        let (Sabotage::Nonce(left)
        | Sabotage::Plaintext(left)
        | Sabotage::Order(left)
        | Sabotage::Duplicate(left)
        | Sabotage::Bytes(left)
        | Sabotage::Redone(left)
        | Sabotage::Conservation(left)
        | Sabotage::Bounded(left)
        | Sabotage::Queue(left)
        | Sabotage::WorkConservation(left)) = match self.0 {
            Some(sabotage) => sabotage,
            None => return false,
        };
        if self.0 != Some(kind(left)) {
            return false;
        }
        self.0 = left.checked_sub(1).map(kind);
        left == 0
    }
}

/// What was seen of an outbound SA.
#[derive(Debug, Default)]
struct Sealed {
    /// Numbers up to this one may leave by a member behind later ones; see
    /// [`Eavesdropper::merged`].
    merged: u64,
    /// By member: the highest number handed over to its port.
    last: BTreeMap<u32, u64>,
    highest: u64,
    /// By number: the digest of its ESP packet; 0 where it was not seen. Numbers begin at 1.
    digests: Vec<u64>,
}

/// Numbers of an SA whose digests are kept: far more than a run sends, and a bound.
const NUMBERS: u64 = 1 << 28;

/// What the eavesdropper on all wires remembers.
pub(crate) struct Eavesdropper {
    canary: Finder<'static>,
    sas: BTreeMap<u32, Sealed>,
    /// Packets behind later ones of their SA that went by another member: two links have no
    /// common order.
    pub(crate) overtaken: u64,
}

impl Eavesdropper {
    pub(crate) fn new(canary: &Mark) -> Self {
        Self {
            canary: Finder::new(canary).into_owned(),
            sas: BTreeMap::new(),
            overtaken: 0,
        }
    }

    /// Whether a frame shows what policy protects.
    pub(crate) fn sees_plaintext(&self, frame: &[u8]) -> bool {
        self.canary.find(frame).is_some()
    }

    /// A member was lost, and with direct delivery its queue held what others' packets of the same
    /// SA had overtaken on the links of other members. Whoever sends it now has sent later numbers
    /// perhaps, so for those below `next` the two queues that became one have no common order.
    /// With delivery by return an SA has one member at a time, and this does not occur.
    pub(crate) fn merged(&mut self, sa: u32, next: u64) {
        self.sas.entry(sa).or_default().merged = next.saturating_sub(1);
    }

    /// An ESP packet was handed over to a member's port. Answers whether its order can be judged.
    pub(crate) fn sealed(
        &mut self,
        sa: u32,
        member: u32,
        seq: u64,
        digest: u64,
    ) -> Result<bool, (Rule, String)> {
        let seen = self.sas.entry(sa).or_default();
        let digest = digest.max(1);
        let at = (seq % NUMBERS) as usize;
        if seen.digests.len() <= at {
            seen.digests.resize(at + 1, 0);
        }
        let before = core::mem::replace(&mut seen.digests[at], digest);
        if before == digest {
            return Err((
                Rule::Duplicate,
                format!("SA {sa}: number {seq} was sent twice, by member {member} now"),
            ));
        }
        if before != 0 {
            return Err((
                Rule::Nonce,
                format!("SA {sa}: number {seq} was sent with two contents"),
            ));
        }
        let last = seen.last.entry(member).or_default();
        if *last >= seq && seq <= seen.merged {
            self.overtaken += 1;
            return Ok(false);
        }
        if *last >= seq {
            return Err((
                Rule::Order,
                format!("SA {sa}: number {seq} left member {member} behind {last}"),
            ));
        }
        *last = seq;
        self.overtaken += u64::from(seen.highest > seq);
        seen.highest = seen.highest.max(seq);
        Ok(true)
    }
}

/// The first violation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(pub(crate) Option<Violation>);

impl Verdict {
    pub(crate) fn broken(&mut self, now: Time, rule: Rule, detail: impl Into<String>) {
        if self.0.is_none() {
            self.0 = Some(Violation {
                time: now.0,
                rule,
                detail: detail.into(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_springs_once_at_its_occasion_and_at_no_other_kind() {
        let mut trap = Trap::default();
        trap.set(Some(Sabotage::Order(1)));
        assert!(!trap.springs(Sabotage::Nonce));
        assert!(!trap.springs(Sabotage::Order));
        assert!(trap.springs(Sabotage::Order));
        assert!(!trap.springs(Sabotage::Order));
    }

    #[test]
    fn copies_contents_and_order_are_told_apart() {
        let mut ear = Eavesdropper::new(b"canary!!");
        assert!(ear.sealed(1, 1, 1, 10).is_ok());
        assert!(ear.sealed(1, 2, 3, 30).is_ok());
        assert!(ear.sealed(1, 1, 2, 20).is_ok());
        assert_eq!(ear.overtaken, 1);
        assert_eq!(ear.sealed(1, 1, 2, 20).unwrap_err().0, Rule::Duplicate);
        assert_eq!(ear.sealed(1, 2, 1, 11).unwrap_err().0, Rule::Nonce);
        assert!(ear.sealed(1, 2, 9, 90).is_ok());
        assert_eq!(ear.sealed(1, 2, 8, 80).unwrap_err().0, Rule::Order);
    }

    #[test]
    fn what_a_lost_member_had_may_come_behind_later_numbers_and_nothing_else_may() {
        let mut ear = Eavesdropper::new(b"canary!!");
        assert_eq!(ear.sealed(1, 1, 10, 100), Ok(true));
        ear.merged(1, 12);
        assert_eq!(ear.sealed(1, 1, 8, 80), Ok(false));
        assert_eq!(ear.sealed(1, 1, 8, 80).unwrap_err().0, Rule::Duplicate);
        assert_eq!(ear.sealed(1, 1, 13, 130), Ok(true));
        assert_eq!(ear.sealed(1, 1, 12, 120).unwrap_err().0, Rule::Order);
    }
}
