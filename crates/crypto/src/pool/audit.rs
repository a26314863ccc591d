//! Whether engines compute rightly, looked at while they work: now and then some operations of
//! a finished job are done again on the worker and compared, output and verdict.
//!
//! Known answers at admission show what an engine could do then. An engine that goes wrong
//! later is no more honest about it than a forger, so some of its work is checked for good.

use esprit_packet::Time;

use crate::engine::Kind;
use crate::engines::software::{Outcome, work_op};
use crate::job::Job;
use crate::job::JobInput;
use crate::key::{AeadKey, Direction};
use crate::pool::seat::Seat;

/// One job in so many is looked at ...
const EVERY: u64 = 64;

/// ... and so many of its operations: at jobs of one packet the worker's own share is one packet in 64,
/// at jobs of full super-frames one in 700.
const OPERATIONS: usize = 4;

/// Second looks at a wrong ICV that a suspect engine reports, at most at once ...
const LOOKS: u64 = 32;

/// ... and one more every millisecond: a stranger's forgeries cost a bounded second opening.
const LOOK_EVERY: Time = Time(1_000_000);

/// Of one flow, an eighth of it ...
const FLOW_LOOKS: u64 = 4;

/// ... so that who forges packets of one SA does not take the second look from the others.
const FLOW_LOOK_EVERY: Time = Time(8_000_000);

/// Flows are told apart by their number modulo this; two that are not share what one has.
const FLOWS: usize = 64;

/// What a look found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The operation's index.
    pub(crate) operation: u32,
    /// The first wrong byte of its output; none where its verdict was wrong.
    pub(crate) byte: Option<u32>,
}

/// Looks that are left, and earned with time.
#[derive(Clone, Copy, Debug, Default)]
struct Allowance {
    left: u64,
    refilled: Time,
}

impl Allowance {
    fn refill(&mut self, now: Time, most: u64, every: Time) {
        let earned = now.since(self.refilled).0 / every.0;
        if earned > 0 {
            self.left = (self.left + earned).min(most);
            self.refilled = now;
        }
    }
}

/// Compares, and keeps the second looks within their rate.
#[derive(Debug)]
pub(crate) struct Auditor {
    scratch: Vec<u8>,
    all: Allowance,
    flows: [Allowance; FLOWS],
}

impl Default for Auditor {
    fn default() -> Self {
        Self {
            scratch: Vec::new(),
            all: Allowance::default(),
            flows: [Allowance::default(); FLOWS],
        }
    }
}

/// Whether the `turn`th of a row, counted from 0, is one that is looked at: one in every `every`, at a
/// place that nobody who errs at every n-th meets or misses again and again.
pub(crate) const fn drawn(turn: u64, every: u64, seed: u64) -> bool {
    match every {
        0 => false,
        1 => true,
        _ => turn % every == mix((turn / every) ^ (seed << 32)) % every,
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Auditor {
    /// Looks at `job`, the `turn`th that came back, if its turn has come, and tells what is wrong with it. The processor's own
    /// engines are the measure and are not looked at.
    pub(crate) fn look(&mut self, seat: &mut Seat, turn: u64, job: &Job) -> Option<Evidence> {
        let operations = job.input.ops.len();
        if seat.capabilities.kind == Kind::Cpu || operations == 0 {
            return None;
        }
        // The first job too: an engine that went wrong between its verification and its work.
        if turn != 0 && !drawn(turn, EVERY, seat.id.0.into()) {
            return None;
        }
        seat.counters.audited += 1;
        let first = mix(turn) as usize;
        let stride = operations.div_ceil(OPERATIONS);
        (0..operations.min(OPERATIONS))
            .map(|n| (first + n * stride) % operations)
            .find_map(|index| {
                let bad = job.bad_icv & (1 << index) != 0;
                self.wrong(
                    &job.key,
                    job.direction,
                    &job.input,
                    index,
                    job.dst.data(),
                    bad,
                )
            })
    }

    /// What is wrong with one operation's result, done again on the worker.
    pub(crate) fn wrong(
        &mut self,
        key: &AeadKey,
        direction: Direction,
        input: &JobInput,
        index: usize,
        dst: &[u8],
        bad_icv: bool,
    ) -> Option<Evidence> {
        let op = &input.ops[index];
        let len = op.out_len(direction);
        self.scratch.resize(len, 0);
        let outcome = work_op(key, direction, input, op, &mut self.scratch);
        let operation = index as u32;
        let verdict = Some(Evidence {
            operation,
            byte: None,
        });
        match outcome {
            Outcome::Done if bad_icv => verdict,
            Outcome::Done => {
                let start = op.dst as usize;
                let got = dst.get(start..start + len).unwrap_or_default();
                let at = (0..len).find(|&at| got.get(at) != self.scratch.get(at))?;
                Some(Evidence {
                    operation,
                    byte: Some(at as u32),
                })
            }
            Outcome::BadIcv if bad_icv => None,
            Outcome::BadIcv => verdict,
            Outcome::Failed => None,
        }
    }

    /// Whether there is a second look left for a job of `flow`.
    pub(crate) fn second_look(&mut self, now: Time, flow: u32) -> bool {
        let own = &mut self.flows[flow as usize % FLOWS];
        own.refill(now, FLOW_LOOKS, FLOW_LOOK_EVERY);
        self.all.refill(now, LOOKS, LOOK_EVERY);
        let granted = own.left > 0 && self.all.left > 0;
        if granted {
            own.left -= 1;
            self.all.left -= 1;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_drawn_and_no_period_is_missed() {
        for every in [2, 64, 1000] {
            let drawn: Vec<u64> = (0..every * 200).filter(|&n| drawn(n, every, 3)).collect();
            assert_eq!(drawn.len(), 200);
            for period in [2, 3, 7, 16, 64] {
                let met = drawn.iter().filter(|&&n| n % period == 0).count();
                assert!(met > 0 && met < 200, "{met} of 200 at {period}");
            }
        }
        assert!(drawn(17, 1, 0) && !drawn(17, 0, 0));
    }

    #[test]
    fn one_flow_does_not_take_the_looks_of_another() {
        let mut auditor = Auditor::default();
        let now = Time::from_millis(1000);
        let looks = |auditor: &mut Auditor, flow| {
            (0..100).filter(|_| auditor.second_look(now, flow)).count() as u64
        };
        assert_eq!(looks(&mut auditor, 1), FLOW_LOOKS);
        assert_eq!(looks(&mut auditor, 2), FLOW_LOOKS);
        let all: u64 = (3..40).map(|flow| looks(&mut auditor, flow)).sum();
        assert_eq!(all, LOOKS - 2 * FLOW_LOOKS);
        assert!(!auditor.second_look(now, 50));
        assert!(auditor.second_look(now + FLOW_LOOK_EVERY, 1));
    }
}
