//! The bare cipher: what it takes for the bytes of one ESP packet, and nothing else. It is the one
//! that the gateways use on this processor.

use std::hint::black_box;
use std::time::{Duration, Instant};

use esprit_crypto::cipher::Cipher;
use esprit_crypto::{Algorithm, ICV_LEN};

/// SPI and sequence number: what ESP authenticates beside the ciphertext (RFC 4106 section 5).
const AAD: [u8; 8] = [0, 0, 0x10, 0x01, 0, 0, 0, 1];

/// What ESP adds to a plaintext in tunnel mode before it is sealed: padding to a multiple of
/// four, its length and the next header (RFC 4303 section 2.4).
fn padded(bytes: usize) -> usize {
    (bytes + 2).next_multiple_of(4)
}

/// A batch of packets and their key.
pub struct Bare {
    key: Cipher,
    plain: Vec<u8>,
    packets: Vec<Vec<u8>>,
    opened: Vec<u8>,
    number: u64,
}

impl Bare {
    /// `count` packets of `bytes`.
    pub fn new(bytes: usize, count: usize) -> Self {
        let Some(key) = Cipher::new(Algorithm::Aes128Gcm16, &[0x8f; 16]) else {
            panic!("16 bytes are an AES-128 key");
        };
        let len = padded(bytes);
        Self {
            key,
            plain: vec![0x5a; len],
            packets: vec![vec![0; len]; count],
            opened: vec![0; len],
            number: 0,
        }
    }

    /// Seals and opens every packet once, and says how long each of the two took in all.
    pub fn turn(&mut self) -> (Duration, Duration) {
        let first = self.number;
        let mut icvs = Vec::with_capacity(self.packets.len());
        let started = Instant::now();
        for packet in &mut self.packets {
            let mut icv = [0; ICV_LEN];
            let parts = [&self.plain[..], &[], &[]];
            let done = self
                .key
                .seal(nonce(self.number), &AAD, parts, packet, &mut icv);
            assert!(black_box(done), "it is no longer than the cipher permits");
            icvs.push(icv);
            self.number += 1;
        }
        let sealed_in = started.elapsed();
        let started = Instant::now();
        for ((packet, icv), number) in self.packets.iter().zip(&icvs).zip(first..) {
            let done = self
                .key
                .open(nonce(number), &AAD, packet, icv, &mut self.opened);
            assert!(black_box(done), "what was sealed opens");
        }
        (sealed_in, started.elapsed())
    }
}

fn nonce(number: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}
