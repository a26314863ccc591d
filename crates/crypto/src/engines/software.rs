//! The ciphers on the host's own processor, synchronously: what the `cpu` engines do, and the measure
//! that every other engine is held against.

use crate::job::{Job, JobInput, Op, Range};
use crate::key::{AeadKey, Direction, NONCE_LEN};

/// Bytes before an ESP packet's ciphertext: SPI, sequence number and IV (RFC 4303 section 2, RFC 4106
/// section 3). So few are copied by registers where their number is known.
const ESP_PREFIX: usize = 16;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Output written.
    Done,
    /// The ICV did not fit; the output is zeroes.
    BadIcv,
    /// The library refused (longer than the cipher permits).
    Failed,
}

/// Does all operations of a job.
pub fn work(job: &mut Job) {
    let input = &*job.input;
    let dst = job.dst.data_mut();
    for (index, op) in input.ops.iter().enumerate() {
        let out = &mut dst[op.dst as usize..][..op.out_len(job.direction)];
        match work_op(&job.key, job.direction, input, op, out) {
            Outcome::Done => {}
            Outcome::BadIcv => job.bad_icv |= 1 << index,
            Outcome::Failed => job.failed |= 1 << index,
        }
    }
}

/// Does one operation; `out` is its part of `dst`, [`Op::out_len`] bytes.
pub fn work_op(
    key: &AeadKey,
    direction: Direction,
    input: &JobInput,
    op: &Op,
    out: &mut [u8],
) -> Outcome {
    match direction {
        Direction::Seal => seal(key, input, op, out),
        Direction::Open => open(key, input, op, out),
    }
}

fn bytes(all: &[u8], range: Range) -> &[u8] {
    &all[range.0 as usize..range.1 as usize]
}

fn aad<'a>(input: &'a JobInput, op: &'a Op) -> &'a [u8] {
    match op.long_aad {
        (from, to) if from < to => bytes(&input.headers, (from, to)),
        _ => &op.aad[..usize::from(op.aad_len)],
    }
}

/// Encrypts from where the parts lie into `out`, behind the prefix: the super-frame stays as it was.
fn seal(key: &AeadKey, input: &JobInput, op: &Op, out: &mut [u8]) -> Outcome {
    let prefix = bytes(&input.headers, op.prefix);
    let (before, rest) = out.split_at_mut(prefix.len());
    match (
        <&[u8; ESP_PREFIX]>::try_from(prefix),
        before.first_chunk_mut(),
    ) {
        (Ok(prefix), Some(before)) => *before = *prefix,
        _ => before.copy_from_slice(prefix),
    }
    let Some((text, icv)) = rest.split_last_chunk_mut() else {
        return Outcome::Failed;
    };
    let parts = [
        bytes(&input.headers, op.head),
        bytes(input.frames[usize::from(op.frame)].data(), op.body),
        bytes(&input.headers, op.tail),
    ];
    let aad = aad(input, op);
    if key.cipher().seal(op.nonce, aad, parts, text, icv) {
        Outcome::Done
    } else {
        // What was gathered is plaintext: it does not stay in a buffer that is to be sent.
        out.fill(0);
        Outcome::Failed
    }
}

/// Decrypts from the received frame straight into `out`.
fn open(key: &AeadKey, input: &JobInput, op: &Op, out: &mut [u8]) -> Outcome {
    let body = bytes(input.frames[usize::from(op.frame)].data(), op.body);
    let Some((text, icv)) = body.split_last_chunk() else {
        return Outcome::BadIcv;
    };
    if key.cipher().open(op.nonce, aad(input, op), text, icv, out) {
        Outcome::Done
    } else {
        // Unverified plaintext is given to nobody.
        out.fill(0);
        Outcome::BadIcv
    }
}

/// Does one message outside any job: `data` is plaintext to seal, or ciphertext ‖ ICV to open,
/// and `out` is 16 bytes longer or shorter than it.
pub fn work_alone(
    key: &AeadKey,
    direction: Direction,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    data: &[u8],
    out: &mut [u8],
) -> Outcome {
    let done = match direction {
        Direction::Seal => out.split_last_chunk_mut().is_some_and(|(text, icv)| {
            let parts = [data, &[], &[]];
            key.cipher().seal(nonce, aad, parts, text, icv)
        }),
        Direction::Open => data
            .split_last_chunk()
            .is_some_and(|(text, icv)| key.cipher().open(nonce, aad, text, icv, out)),
    };
    match (done, direction) {
        (true, _) => Outcome::Done,
        (false, direction) => {
            out.fill(0);
            match direction {
                Direction::Seal => Outcome::Failed,
                Direction::Open => Outcome::BadIcv,
            }
        }
    }
}
