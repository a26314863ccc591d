//! Jobs at the edges of what a job can be: no byte, one operation, as many as there may be, outputs
//! with gaps between them, the longest that a buffer holds.

use std::sync::Arc;

use esprit_packet::buf::LARGE;

use crate::job::{JobInput, MAX_OPS, Op};
use crate::key::{AeadKey, Algorithm, Direction, ICV_LEN};
use crate::verify::known::{one_to_open, pattern};
use crate::verify::runner::{Runner, nonce, opening, sealing, worked};

/// Bytes of a packet, and packets of a job.
const BATCHES: [(usize, usize); 5] = [
    (0, 1),
    (0, MAX_OPS),
    (1, MAX_OPS),
    (1000, MAX_OPS),
    (1500, 1),
];

/// All of them, in one direction; answers the longest packet that there was, in bytes.
pub(crate) fn check(
    runner: &mut Runner<'_>,
    algorithm: Algorithm,
    direction: Direction,
) -> Result<usize, String> {
    let key = AeadKey::new(algorithm, &pattern(algorithm.key_len(), 61))
        .map_err(|error| error.to_string())?;
    // It has a job's input and output in its memory at once.
    let memory = runner.engine().capabilities().memory_bytes;
    let half = memory.map_or(LARGE, |bytes| bytes as usize / 2);
    for (len, ops) in BATCHES {
        if (len + ICV_LEN) * ops > half {
            continue;
        }
        batch(runner, &key, direction, len, ops)
            .map_err(|why| format!("{ops} operations of {len} bytes: {why}"))?;
    }
    gaps(runner, &key, direction).map_err(|why| format!("outputs with gaps between: {why}"))?;
    let longest = half.min(LARGE) - ICV_LEN;
    let plain = pattern(longest, 5);
    let seal = sealing(runner.share(&plain)?, 1, &[3; 8], 9);
    let input = match direction {
        Direction::Seal => seal,
        Direction::Open => {
            let sealed = worked(&key, Direction::Seal, &seal);
            let mut open = one_to_open(runner, &sealed, &[3; 8])?;
            open.ops[0].nonce = seal.ops[0].nonce;
            open
        }
    };
    compare(runner, &key, direction, input).map_err(|why| format!("{longest} bytes: {why}"))?;
    Ok(longest)
}

fn batch(
    runner: &mut Runner<'_>,
    key: &Arc<AeadKey>,
    direction: Direction,
    len: usize,
    ops: usize,
) -> Result<(), String> {
    let seal = sealing(runner.share(&pattern(len, 8))?, ops, &[7; 8], 50);
    let input = match direction {
        Direction::Seal => seal,
        Direction::Open => {
            let sealed = worked(key, Direction::Seal, &seal);
            opening(runner.share(&sealed)?, &seal, len)
        }
    };
    compare(runner, key, direction, input)
}

/// Unlike packets, and between their outputs room that belongs to none.
fn gaps(runner: &mut Runner<'_>, key: &Arc<AeadKey>, direction: Direction) -> Result<(), String> {
    let frame = runner.share(&pattern(2000, 12))?;
    let mut ops = Vec::new();
    let (mut from, mut dst) = (0, 3);
    for (number, len) in [40_u32, 0, 700, 1, 64].into_iter().enumerate() {
        let op = Op {
            nonce: nonce(900 + number as u64),
            aad_len: 8,
            body: (from, from + len),
            dst,
            ..Op::default()
        };
        from += len;
        dst += op.out_len(Direction::Seal) as u32 + 5 * number as u32;
        ops.push(op);
    }
    let seal = JobInput {
        frames: smallvec::smallvec![frame],
        headers: Vec::new(),
        ops,
    };
    if direction == Direction::Seal {
        return compare(runner, key, direction, seal);
    }
    let sealed = worked(key, Direction::Seal, &seal);
    let mut open = JobInput {
        frames: smallvec::smallvec![runner.share(&sealed)?],
        headers: Vec::new(),
        ops: seal.ops.clone(),
    };
    for (number, op) in open.ops.iter_mut().enumerate() {
        let len = op.out_len(Direction::Seal) as u32;
        op.body = (op.dst, op.dst + len);
        op.dst += 2 * number as u32;
    }
    compare(runner, key, direction, open)
}

/// Has it do a job and compares every operation's output; what lies between belongs to nobody.
fn compare(
    runner: &mut Runner<'_>,
    key: &Arc<AeadKey>,
    direction: Direction,
    input: JobInput,
) -> Result<(), String> {
    let want = worked(key, direction, &input);
    let input = Arc::new(input);
    let (job, _) = runner.run(key, direction, &input)?;
    if (job.bad_icv, job.failed) != (0, 0) {
        let (bad, failed) = (job.bad_icv, job.failed);
        return Err(format!("wrong ICVs {bad:#b}, failed {failed:#b}"));
    }
    for (number, op) in input.ops.iter().enumerate() {
        let range = op.dst as usize..op.dst as usize + op.out_len(direction);
        if job.dst.data().get(range.clone()) != Some(&want[range]) {
            return Err(format!("operation {number} is wrong"));
        }
    }
    Ok(())
}
