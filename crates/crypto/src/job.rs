//! Jobs: what engines are given and give back.
//!
//! What a job reads ([`JobInput`]) never changes once it is made and is shared by reference;
//! what it writes (`dst`) has one owner, moves into the engine and comes back. So a job can
//! be done again, by another engine, from the same bytes with the same nonces, while the
//! first engine still holds its own `dst`: both results are the same, and a nonce has sealed
//! one plaintext only.

use std::sync::Arc;

use esprit_packet::{Buf, SharedBuf};
use smallvec::SmallVec;
use thiserror::Error;

use crate::key::{AeadKey, Direction, ICV_LEN, NONCE_LEN};

/// Operations in one job at most: their outcomes are bits of a `u64`.
pub const MAX_OPS: usize = u64::BITS as usize;

/// Bytes of additional authenticated data that an operation carries itself: ESP's are SPI and
/// sequence number, eight, or twelve with an extended one (RFC 4106 section 5). Applications'
/// may be longer; they stand in the headers.
pub const MAX_AAD: usize = 12;

/// A run of bytes: first, and one past the last.
pub type Range = (u32, u32);

/// One packet to seal or to open.
///
/// - Seal: `dst[op.dst..]` becomes prefix ‖ AEAD(head ‖ body ‖ tail) ‖ ICV of 16 bytes.
/// - Open: body is ciphertext ‖ ICV, and `dst[op.dst..]` becomes the plaintext, 16 bytes
///   shorter. Prefix, head and tail are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Op {
    /// Salt and IV. Never used twice with one key to seal, but for the same plaintext.
    pub nonce: [u8; NONCE_LEN],
    /// Authenticated, not encrypted; the first `aad_len` bytes of it.
    pub aad: [u8; MAX_AAD],
    /// How many of them.
    pub aad_len: u8,
    /// In [`JobInput::headers`]: the additional data, where they are more than [`MAX_AAD`]; then
    /// `aad_len` is 0.
    pub long_aad: Range,
    /// Index into [`JobInput::frames`].
    pub frame: u16,
    /// In [`JobInput::headers`]: written before the ciphertext as it is (ESP header and IV).
    pub prefix: Range,
    /// In [`JobInput::headers`]: plaintext before the body (inner headers).
    pub head: Range,
    /// In [`JobInput::headers`]: plaintext behind the body (ESP trailer).
    pub tail: Range,
    /// In the frame's data.
    pub body: Range,
    /// Where its output begins in `dst`.
    pub dst: u32,
}

const fn len(range: Range) -> usize {
    range.1.saturating_sub(range.0) as usize
}

impl Op {
    /// Bytes it writes.
    #[must_use]
    pub const fn out_len(&self, direction: Direction) -> usize {
        match direction {
            Direction::Seal => len(self.prefix) + self.aead_len(direction) + ICV_LEN,
            Direction::Open => self.aead_len(direction),
        }
    }

    /// Bytes it encrypts or decrypts.
    #[must_use]
    pub const fn aead_len(&self, direction: Direction) -> usize {
        match direction {
            Direction::Seal => len(self.head) + len(self.body) + len(self.tail),
            Direction::Open => len(self.body).saturating_sub(ICV_LEN),
        }
    }
}

/// What a job reads. Immutable once it is in an [`Arc`].
#[derive(Debug, Default)]
pub struct JobInput {
    /// The frames that operations read, as received.
    pub frames: SmallVec<[SharedBuf; 4]>,
    /// Bytes written for this job: prefixes, inner headers, trailers.
    pub headers: Vec<u8>,
    /// What to do, in the order of their output; [`MAX_OPS`] at most.
    pub ops: Vec<Op>,
}

/// How large a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Operations.
    pub packets: u32,
    /// Bytes encrypted or decrypted.
    pub bytes: u64,
    /// Bytes of `dst`.
    pub dst_len: usize,
    /// Some bytes of `dst` belong to no operation's output.
    pub gaps: bool,
}

/// What is wrong with a [`JobInput`]: an error of whoever made it, never of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("operation {op}: {why}")]
pub struct BadOp {
    /// The operation's index.
    pub op: usize,
    /// What does not hold for it.
    pub why: &'static str,
}

impl JobInput {
    /// Messages, each with its nonce and without additional data, one behind the other in `frame`: to
    /// be sealed, or with their ICVs to be opened.
    ///
    /// # Panics
    /// Where the frame has no room for them.
    #[must_use]
    pub fn of_messages<M: AsRef<[u8]>>(
        mut frame: Buf,
        direction: Direction,
        messages: impl IntoIterator<Item = ([u8; NONCE_LEN], M)>,
    ) -> Self {
        let mut input = Self::default();
        let mut dst = 0;
        for (nonce, message) in messages {
            let from = frame.len() as u32;
            frame.append(message.as_ref());
            let op = Op {
                nonce,
                body: (from, frame.len() as u32),
                dst,
                ..Op::default()
            };
            dst += op.out_len(direction) as u32;
            input.ops.push(op);
        }
        input.frames.push(frame.share());
        input
    }

    /// Proves that all operations lie within the frames and the headers, and that their
    /// outputs follow one another without overlap; measures them. Engines rely on it.
    ///
    /// # Errors
    /// The first operation for which it does not hold.
    pub fn measure(&self, direction: Direction) -> Result<Shape, BadOp> {
        if self.ops.len() > MAX_OPS {
            return Err(BadOp {
                op: MAX_OPS,
                why: "more operations than outcome bits",
            });
        }
        let mut shape = Shape {
            packets: self.ops.len() as u32,
            ..Shape::default()
        };
        let within = |range: Range, len: usize| range.0 <= range.1 && range.1 as usize <= len;
        for (index, op) in self.ops.iter().enumerate() {
            let bad = |why| Err(BadOp { op: index, why });
            let Some(frame) = self.frames.get(usize::from(op.frame)) else {
                return bad("no such frame");
            };
            if !within(op.body, frame.len()) {
                return bad("body outside its frame");
            }
            let headers = self.headers.len();
            let ranges = [op.prefix, op.head, op.tail, op.long_aad];
            if !ranges.into_iter().all(|range| within(range, headers)) {
                return bad("range outside the headers");
            }
            if usize::from(op.aad_len) > MAX_AAD || (op.aad_len > 0 && len(op.long_aad) > 0) {
                return bad("too much additional data");
            }
            if direction == Direction::Open {
                if len(op.body) < ICV_LEN {
                    return bad("body shorter than an ICV");
                }
                if len(op.prefix) + len(op.head) + len(op.tail) > 0 {
                    return bad("an opened packet is its body alone");
                }
            }
            if (op.dst as usize) < shape.dst_len {
                return bad("output overlaps the one before");
            }
            shape.gaps |= op.dst as usize > shape.dst_len;
            shape.dst_len = op.dst as usize + op.out_len(direction);
            shape.bytes += op.aead_len(direction) as u64;
        }
        Ok(shape)
    }

    /// Zeroes what no operation writes: a buffer from the pool holds somebody's old packet.
    pub(crate) fn clear_gaps(&self, direction: Direction, dst: &mut [u8]) {
        let mut end = 0;
        for op in &self.ops {
            dst[end..op.dst as usize].fill(0);
            end = op.dst as usize + op.out_len(direction);
        }
    }
}

/// A batch of operations of one kind, with one key and one direction, that an engine does as
/// a whole.
#[derive(Debug)]
pub struct Job {
    /// The pool's name for it; the same for every attempt.
    pub ticket: u64,
    /// With which key.
    pub key: Arc<AeadKey>,
    /// Seal or open.
    pub direction: Direction,
    /// What it reads.
    pub input: Arc<JobInput>,
    /// What it writes: as long as the last output's end, contents arbitrary before.
    pub dst: Buf,
    /// How often it was given to an engine before.
    pub attempt: u8,
    /// A bit for each operation whose ICV was wrong: the packet is forged, or the key is
    /// another. Counts against the SA.
    pub bad_icv: u64,
    /// A bit for each operation that the engine could not do. Counts against the engine.
    pub failed: u64,
}

impl Job {
    /// A bit for each of its operations.
    #[must_use]
    pub fn all(&self) -> u64 {
        match self.input.ops.len() {
            0 => 0,
            ops => u64::MAX >> (MAX_OPS - ops.min(MAX_OPS)),
        }
    }

    /// Bytes of memory that it keeps busy while an engine has it: what it reads and writes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        memory(&self.input, self.dst.len())
    }
}

/// As [`Job::memory`], before there is a `dst`.
pub(crate) fn memory(input: &JobInput, dst_len: usize) -> u64 {
    let frames: usize = input.frames.iter().map(SharedBuf::len).sum();
    (frames + input.headers.len() + dst_len) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use esprit_packet::Pool;

    fn input(ops: &[Op]) -> JobInput {
        let mut buf = Pool::new(1, 0).get(100).unwrap();
        buf.set_len(100);
        JobInput {
            frames: smallvec::smallvec![buf.share()],
            headers: vec![0; 40],
            ops: ops.to_vec(),
        }
    }

    fn op() -> Op {
        Op {
            prefix: (0, 16),
            head: (16, 36),
            tail: (36, 40),
            body: (10, 100),
            ..Op::default()
        }
    }

    #[test]
    fn measures_what_is_written_and_what_is_encrypted() {
        let second = Op {
            dst: 146 + 4,
            ..op()
        };
        let shape = input(&[op(), second]).measure(Direction::Seal).unwrap();
        assert_eq!(
            shape,
            Shape {
                packets: 2,
                bytes: 2 * 114,
                dst_len: 146 + 4 + 146,
                gaps: true,
            }
        );
    }

    #[test]
    fn operations_that_reach_outside_are_found() {
        let cases = [
            Op { frame: 1, ..op() },
            Op {
                body: (10, 101),
                ..op()
            },
            Op {
                body: (11, 10),
                ..op()
            },
            Op {
                tail: (36, 41),
                ..op()
            },
            Op {
                aad_len: 13,
                ..op()
            },
            Op {
                long_aad: (0, 41),
                ..op()
            },
            Op {
                aad_len: 1,
                long_aad: (0, 40),
                ..op()
            },
        ];
        for case in cases {
            assert!(input(&[case]).measure(Direction::Seal).is_err(), "{case:?}");
        }
        assert!(input(&[op(), op()]).measure(Direction::Seal).is_err());
        assert!(input(&[op()]).measure(Direction::Open).is_err());
        let short = Op {
            body: (0, 15),
            ..Op::default()
        };
        assert!(input(&[short]).measure(Direction::Open).is_err());
        let too_many = vec![Op::default(); MAX_OPS + 1];
        assert!(input(&too_many).measure(Direction::Seal).is_err());
    }
}
