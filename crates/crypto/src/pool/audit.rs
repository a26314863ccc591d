//! Whether engines compute rightly, looked at while they work: now and then one operation of
//! a finished job is done again on the worker and compared, output and verdict.
//!
//! Known answers at admission show what an engine could do then. An engine that goes wrong
//! later is no more honest about it than a forger, so some of its work is checked for good.

use esprit_packet::Time;

use crate::engine::Kind;
use crate::engines::aws_lc::{Outcome, work_op};
use crate::job::Job;
use crate::pool::seat::Seat;

/// One job in so many is looked at: at 64 super-frames between looks and one packet of 1400
/// bytes a look, the worker's own share is one packet in three thousand.
const EVERY: u64 = 64;

/// Second looks at a wrong ICV that a suspect engine reports, at most at once ...
const LOOKS: u64 = 32;

/// ... and one more every millisecond: a stranger's forgeries cost a bounded second opening.
const LOOK_EVERY: Time = Time(1_000_000);

/// Compares, and keeps the second looks within their rate.
#[derive(Debug, Default)]
pub(crate) struct Auditor {
    scratch: Vec<u8>,
    looks: u64,
    refilled: Time,
}

impl Auditor {
    /// The operation of `job` that is to be looked at, if this one's turn has come. The
    /// processor's own engines are the measure and are not looked at.
    pub(crate) fn due(&self, seat: &Seat, job: &Job) -> Option<usize> {
        let operations = job.input.ops.len() as u64;
        if seat.capabilities.kind == Kind::Cpu || operations == 0 {
            return None;
        }
        // The first job, and then one in so many; each time the next operation, so that an
        // engine that errs at every n-th does not always err beside the look.
        let done = seat.counters.jobs - seat.outstanding.len() as u64;
        let turn = done.checked_sub(1)?;
        (turn % EVERY == 0).then_some((turn / EVERY % operations) as usize)
    }

    /// Whether one operation's result is what it ought to be.
    pub(crate) fn agrees(&mut self, job: &Job, index: usize) -> bool {
        let op = &job.input.ops[index];
        let len = op.out_len(job.direction);
        self.scratch.resize(len, 0);
        let outcome = work_op(&job.key, job.direction, &job.input, op, &mut self.scratch);
        let bad = job.bad_icv & (1 << index) != 0;
        match outcome {
            Outcome::Done => {
                let start = op.dst as usize;
                !bad && job.dst.data().get(start..start + len) == Some(&self.scratch[..])
            }
            Outcome::BadIcv => bad,
            Outcome::Failed => true,
        }
    }

    /// Whether there is a second look left.
    pub(crate) fn second_look(&mut self, now: Time) -> bool {
        let earned = now.since(self.refilled).0 / LOOK_EVERY.0;
        if earned > 0 {
            self.looks = (self.looks + earned).min(LOOKS);
            self.refilled = now;
        }
        let left = self.looks > 0;
        self.looks = self.looks.saturating_sub(1);
        left
    }
}
