//! The bare cipher: what aws-lc takes for the bytes of one ESP packet, and nothing else.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// SPI and sequence number: what ESP authenticates beside the ciphertext (RFC 4106 section 5).
const AAD: [u8; 8] = [0, 0, 0x10, 0x01, 0, 0, 0, 1];

/// What ESP adds to a plaintext in tunnel mode before it is sealed: padding to a multiple of
/// four, its length and the next header (RFC 4303 section 2.4).
fn padded(bytes: usize) -> usize {
    (bytes + 2).next_multiple_of(4)
}

/// A batch of packets and their key.
pub struct Bare {
    key: LessSafeKey,
    packets: Vec<Vec<u8>>,
    opened: Vec<u8>,
    number: u64,
}

impl Bare {
    /// `count` packets of `bytes`.
    pub fn new(bytes: usize, count: usize) -> Self {
        let Ok(key) = UnboundKey::new(&AES_128_GCM, &[0x8f; 16]) else {
            panic!("16 bytes are an AES-128 key");
        };
        let len = padded(bytes);
        Self {
            key: LessSafeKey::new(key),
            packets: vec![vec![0x5a; len]; count],
            opened: vec![0; len],
            number: 0,
        }
    }

    /// Seals and opens every packet once, and says how long each of the two took in all.
    pub fn turn(&mut self) -> (Duration, Duration) {
        let first = self.number;
        let mut tags = Vec::with_capacity(self.packets.len());
        let started = Instant::now();
        for packet in &mut self.packets {
            let tag = self.key.seal_in_place_separate_tag(
                nonce(self.number),
                Aad::from(AAD),
                packet.as_mut_slice(),
            );
            tags.push(black_box(tag));
            self.number += 1;
        }
        let sealed_in = started.elapsed();
        let started = Instant::now();
        for ((packet, tag), number) in self.packets.iter().zip(&tags).zip(first..) {
            let Ok(tag) = tag else { continue };
            let result = self.key.open_separate_gather(
                nonce(number),
                Aad::from(AAD),
                packet,
                tag.as_ref(),
                &mut self.opened,
            );
            assert!(black_box(result).is_ok(), "what was sealed opens");
        }
        (sealed_in, started.elapsed())
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}
