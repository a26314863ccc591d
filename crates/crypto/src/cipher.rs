//! The cipher behind a key: aws-lc's, or for AES-GCM our own, whichever is the faster on this processor.
//!
//! aws-lc has AVX-512 code for AES-GCM. Where a processor has vector AES without AVX-512 (AMD
//! Zen 3, Intel Alder Lake), aws-lc 0.47 takes one block at a time, and [`gcm`](crate::gcm) two.
//! ChaCha20-Poly1305 is aws-lc's everywhere.

use aws_lc_rs::aead as aws_lc;

#[cfg(target_arch = "x86_64")]
use crate::gcm;
use crate::key::{Algorithm, ICV_LEN, NONCE_LEN};
#[cfg(target_arch = "x86_64")]
use crate::wiped::Wiped;

/// An expanded key. What either makes of a message is the same to the bit.
pub struct Cipher(Implementation);

enum Implementation {
    /// Cleanses its key by itself when it is dropped.
    AwsLc(aws_lc::LessSafeKey),
    #[cfg(target_arch = "x86_64")]
    Aes128(Wiped<gcm::Key<11>>),
    #[cfg(target_arch = "x86_64")]
    Aes256(Wiped<gcm::Key<15>>),
}

impl Cipher {
    /// Expands a key. None where it is of the wrong length, or there is no memory.
    #[must_use]
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if !is_x86_feature_detected!("avx512f")
            && let Some(cipher) = Self::by_vectors(algorithm, bytes)
        {
            return Some(cipher);
        }
        Self::by_aws_lc(algorithm, bytes)
    }

    /// Expands a key by aws-lc, which has every algorithm.
    fn by_aws_lc(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let unbound = aws_lc::UnboundKey::new(algorithm.implementation(), bytes).ok()?;
        Some(Self(Implementation::AwsLc(aws_lc::LessSafeKey::new(
            unbound,
        ))))
    }

    /// Expands a key for our own AES-GCM; none where the processor lacks what that takes.
    #[cfg(target_arch = "x86_64")]
    fn by_vectors(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let implementation = match algorithm {
            Algorithm::Aes128Gcm16 => Implementation::Aes128(Wiped::make(|| gcm::Key::new(bytes))?),
            Algorithm::Aes256Gcm16 => Implementation::Aes256(Wiped::make(|| gcm::Key::new(bytes))?),
            Algorithm::ChaCha20Poly1305 => return None,
        };
        Some(Self(implementation))
    }

    /// Encrypts the parts, one behind the other, into `out`, which is as long as they are together, and
    /// writes the ICV. False where the library refuses (longer than the cipher permits): then `out` may hold
    /// plaintext.
    ///
    /// # Panics
    /// Where `out` is of another length.
    #[must_use]
    pub fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        parts: [&[u8]; 3],
        out: &mut [u8],
        icv: &mut [u8; ICV_LEN],
    ) -> bool {
        match &self.0 {
            Implementation::AwsLc(key) => {
                let mut at = 0;
                for part in parts {
                    out[at..at + part.len()].copy_from_slice(part);
                    at += part.len();
                }
                assert_eq!(at, out.len());
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_separate_tag(nonce, aws_lc::Aad::from(aad), out)
                    .is_ok_and(|tag| {
                        icv.copy_from_slice(tag.as_ref());
                        true
                    })
            }
            #[cfg(target_arch = "x86_64")]
            Implementation::Aes128(key) => {
                *icv = key.get().seal(&nonce, aad, parts, out);
                true
            }
            #[cfg(target_arch = "x86_64")]
            Implementation::Aes256(key) => {
                *icv = key.get().seal(&nonce, aad, parts, out);
                true
            }
        }
    }

    /// Decrypts `text` into `out`, which is as long. False where the ICV does not fit: then `out` holds
    /// what nobody may see.
    #[must_use]
    pub fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &[u8],
        icv: &[u8; ICV_LEN],
        out: &mut [u8],
    ) -> bool {
        // All bits at once: how far two ICVs agree takes no part in how long it takes.
        #[cfg(target_arch = "x86_64")]
        let fits =
            |found: [u8; ICV_LEN]| u128::from_ne_bytes(found) ^ u128::from_ne_bytes(*icv) == 0;
        match &self.0 {
            Implementation::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                key.open_separate_gather(nonce, aws_lc::Aad::from(aad), text, icv, out)
                    .is_ok()
            }
            #[cfg(target_arch = "x86_64")]
            Implementation::Aes128(key) => fits(key.get().open(&nonce, aad, text, out)),
            #[cfg(target_arch = "x86_64")]
            Implementation::Aes256(key) => fits(key.get().open(&nonce, aad, text, out)),
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Each opens what the other sealed, and refuses what was changed.
    #[test]
    fn both_implementations_say_the_same() {
        for algorithm in [Algorithm::Aes128Gcm16, Algorithm::Aes256Gcm16] {
            let bytes: Vec<u8> = (0..algorithm.key_len() as u8).collect();
            let aws_lc = Cipher::by_aws_lc(algorithm, &bytes).unwrap();
            let Some(ours) = Cipher::by_vectors(algorithm, &bytes) else {
                eprintln!("this processor has no vector AES: nothing to compare");
                return;
            };
            for len in [0, 1, 15, 16, 17, 127, 128, 129, 1400, 9000] {
                let plain: Vec<u8> = (0..len).map(|n| n as u8).collect();
                let sealed = [&aws_lc, &ours].map(|cipher| {
                    // In pieces or in one: the message is the same.
                    let [whole, pieces] = [(0, 0), (len / 3, len / 2)].map(|(first, second)| {
                        let parts = [&plain[..first], &plain[first..second], &plain[second..]];
                        let (mut text, mut icv) = (vec![0xa5; len], [0; ICV_LEN]);
                        assert!(cipher.seal([7; NONCE_LEN], b"header", parts, &mut text, &mut icv));
                        (text, icv)
                    });
                    assert_eq!(whole, pieces, "{len} bytes");
                    whole
                });
                assert_eq!(sealed[0], sealed[1], "{len} bytes");
                let (text, mut icv) = sealed[0].clone();
                for cipher in [&aws_lc, &ours] {
                    let mut out = vec![0xa5; len];
                    assert!(cipher.open([7; NONCE_LEN], b"header", &text, &icv, &mut out));
                    assert_eq!(out, plain);
                }
                icv[3] ^= 4;
                for cipher in [&aws_lc, &ours] {
                    let mut out = vec![0; len];
                    assert!(!cipher.open([7; NONCE_LEN], b"header", &text, &icv, &mut out));
                }
            }
        }
    }
}
