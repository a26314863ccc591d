//! What happens to frames between the two ends.

use std::hint::black_box;

use esprit_crypto::cipher::Cipher;
use esprit_crypto::{Algorithm, ICV_LEN};
use esprit_packet::checksum::Sum;

use crate::pump::Batch;

/// Which way a batch goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Out,
    In,
}

pub trait Work {
    /// The batch that is sent in place of the one received.
    fn turn<'a>(&'a mut self, batch: &'a Batch, way: Way) -> &'a Batch;
}

/// Nothing: the raw pair.
pub struct Nothing;

impl Work for Nothing {
    fn turn<'a>(&'a mut self, batch: &'a Batch, _way: Way) -> &'a Batch {
        batch
    }
}

/// virtio-net header, Ethernet, IPv4, and TCP with timestamps.
const HEADERS: usize = 10 + 14 + 20 + 32;

/// Payload of one packet within a super-frame: 1500 bytes less outer IPv4, UDP, ESP with IV, trailer
/// and ICV, inner IPv4, and TCP with timestamps.
const PIECE: usize = 1500 - 20 - 8 - 16 - 4 - ICV_LEN - 20 - 32;

/// What no gateway that encrypts can leave out: from one buffer into another, a packet's payload at a
/// time, each is summed, for TCP's checksum, and sealed or opened.
///
/// Nothing else is done: frames keep their form and length, so that ICVs are computed and not sent, and
/// every super-frame begins with the same nonce. It shows what is left of the raw pair when all other work
/// costs nothing, and protects nobody.
pub struct Bare {
    key: Cipher,
    turned: Batch,
}

impl Bare {
    pub fn new() -> Self {
        let Some(key) = Cipher::new(Algorithm::Aes128Gcm16, &[0x8f; 16]) else {
            panic!("16 bytes are an AES-128 key");
        };
        Self {
            key,
            turned: Batch::new(),
        }
    }
}

impl Work for Bare {
    fn turn<'a>(&'a mut self, batch: &'a Batch, way: Way) -> &'a Batch {
        let Self { key, turned } = self;
        turned.lengths.clone_from(&batch.lengths);
        let frames = batch.frames.iter().zip(&mut turned.frames);
        for ((from, to), &len) in frames.zip(&batch.lengths) {
            let (head, payload) = from[..len].split_at(len.min(HEADERS));
            let (place, room) = to[..len].split_at_mut(head.len());
            place.copy_from_slice(head);
            let pieces = payload.chunks(PIECE).zip(room.chunks_mut(PIECE));
            for (number, (from, to)) in (0_u64..).zip(pieces) {
                piece(key, number, from, to, way);
            }
        }
        turned
    }
}

fn piece(key: &Cipher, number: u64, from: &[u8], to: &mut [u8], way: Way) {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    let mut icv = [0; ICV_LEN];
    match way {
        Way::Out => {
            black_box(Sum::default().add(from).finish());
            black_box(key.seal(nonce, &[0; 8], [from, &[], &[]], to, &mut icv));
        }
        Way::In => {
            black_box(key.open(nonce, &[0; 8], from, &icv, to));
            black_box(Sum::default().add(to).finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_out_comes_in_as_it_was() {
        for len in [0, 1, HEADERS, HEADERS + 1, HEADERS + PIECE, 65_000] {
            let mut batch = Batch::new();
            for (at, byte) in batch.frames[0].iter_mut().enumerate() {
                *byte = (at % 251) as u8;
            }
            batch.lengths.push(len);
            let (mut there, mut here) = (Bare::new(), Bare::new());
            let sealed = there.turn(&batch, Way::Out);
            assert_eq!(sealed.lengths, [len]);
            if len > HEADERS {
                assert_ne!(sealed.frames[0][..len], batch.frames[0][..len]);
            }
            let opened = here.turn(sealed, Way::In);
            assert_eq!(opened.frames[0][..len], batch.frames[0][..len]);
        }
    }
}
