//! The cipher behind a key: one of two libraries, whichever is the faster on this processor.
//!
//! aws-lc has AVX-512 code for AES-GCM. Where a processor has vector AES without AVX-512 (AMD
//! Zen 3, Intel Alder Lake), aws-lc 0.47 takes one block at a time and ring two: 1400 bytes
//! were sealed in 337 ns against 549 on a Zen 3. There, and there only, ring does AES-GCM.
//! ChaCha20-Poly1305 is aws-lc's everywhere.

use aws_lc_rs::aead as aws_lc;
use ring::aead as ring_aead;

use crate::key::{Algorithm, ICV_LEN, NONCE_LEN};
use crate::wiped::Wiped;

/// An expanded key. Both libraries' results are the same to the bit.
pub struct Cipher(Library);

enum Library {
    /// Cleanses its key by itself when it is dropped.
    AwsLc(aws_lc::LessSafeKey),
    Ring(Wiped<ring_aead::LessSafeKey>),
}

/// Whether the processor has vector AES and no AVX-512.
fn ring_is_faster() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("avx2")
            && !is_x86_feature_detected!("avx512f")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

impl Cipher {
    /// Expands a key by the library that is the faster here. None where it is of the wrong
    /// length, or there is no memory.
    #[must_use]
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        if ring_is_faster() {
            Self::by_ring(algorithm, bytes).or_else(|| Self::by_aws_lc(algorithm, bytes))
        } else {
            Self::by_aws_lc(algorithm, bytes)
        }
    }

    /// Expands a key by aws-lc, which has every algorithm.
    fn by_aws_lc(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let unbound = aws_lc::UnboundKey::new(algorithm.implementation(), bytes).ok()?;
        Some(Self(Library::AwsLc(aws_lc::LessSafeKey::new(unbound))))
    }

    /// Expands a key by ring; none where that is not meant to be used for `algorithm`.
    fn by_ring(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let implementation = match algorithm {
            Algorithm::Aes128Gcm16 => &ring_aead::AES_128_GCM,
            Algorithm::Aes256Gcm16 => &ring_aead::AES_256_GCM,
            Algorithm::ChaCha20Poly1305 => return None,
        };
        let expand = || {
            let unbound = ring_aead::UnboundKey::new(implementation, bytes).ok()?;
            Some(ring_aead::LessSafeKey::new(unbound))
        };
        Some(Self(Library::Ring(Wiped::make(expand)?)))
    }

    /// Encrypts `text` in place and writes its ICV. False where the library refuses (longer than the cipher
    /// permits): then `text` may still be plaintext.
    #[must_use]
    pub fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        icv: &mut [u8; ICV_LEN],
    ) -> bool {
        match &self.0 {
            Library::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_separate_tag(nonce, aws_lc::Aad::from(aad), text)
                    .is_ok_and(|tag| {
                        icv.copy_from_slice(tag.as_ref());
                        true
                    })
            }
            Library::Ring(key) => {
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
                key.get()
                    .seal_in_place_separate_tag(nonce, ring_aead::Aad::from(aad), text)
                    .is_ok_and(|tag| {
                        icv.copy_from_slice(tag.as_ref());
                        true
                    })
            }
        }
    }

    /// Decrypts `text` into `out`, which is as long. False where the ICV does not fit: then
    /// what is in `out` is nobody's to see.
    #[must_use]
    pub fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &[u8],
        icv: &[u8; ICV_LEN],
        out: &mut [u8],
    ) -> bool {
        match &self.0 {
            Library::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                key.open_separate_gather(nonce, aws_lc::Aad::from(aad), text, icv, out)
                    .is_ok()
            }
            Library::Ring(key) => {
                // It decrypts only in place: one copy more, of what is in the cache anyway.
                out.copy_from_slice(text);
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
                let (aad, tag) = (ring_aead::Aad::from(aad), ring_aead::Tag::from(*icv));
                key.get()
                    .open_in_place_separate_tag(nonce, aad, tag, out, 0..)
                    .is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each library opens what the other sealed, and refuses what was changed.
    #[test]
    fn both_libraries_say_the_same() {
        for algorithm in [Algorithm::Aes128Gcm16, Algorithm::Aes256Gcm16] {
            let bytes: Vec<u8> = (0..algorithm.key_len() as u8).collect();
            let aws_lc = Cipher::by_aws_lc(algorithm, &bytes).unwrap();
            let ring = Cipher::by_ring(algorithm, &bytes).unwrap();
            for len in [0, 1, 15, 16, 17, 127, 128, 129, 1400, 9000] {
                let plain: Vec<u8> = (0..len).map(|n| n as u8).collect();
                let sealed = [&aws_lc, &ring].map(|cipher| {
                    let (mut text, mut icv) = (plain.clone(), [0; ICV_LEN]);
                    assert!(cipher.seal([7; NONCE_LEN], b"header", &mut text, &mut icv));
                    (text, icv)
                });
                assert_eq!(sealed[0], sealed[1], "{len} bytes");
                let (text, mut icv) = sealed[0].clone();
                for cipher in [&aws_lc, &ring] {
                    let mut out = vec![0xa5; len];
                    assert!(cipher.open([7; NONCE_LEN], b"header", &text, &icv, &mut out));
                    assert_eq!(out, plain);
                }
                icv[3] ^= 4;
                for cipher in [&aws_lc, &ring] {
                    let mut out = vec![0; len];
                    assert!(!cipher.open([7; NONCE_LEN], b"header", &text, &icv, &mut out));
                }
            }
        }
    }
}
