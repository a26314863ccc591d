//! Keys and the algorithms they are for.

use core::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cipher::Cipher;

/// Bytes of the integrity check value (RFC 4106 section 6: the full tag, the one we offer; RFC
/// 8439 section 2.8 has no other).
pub const ICV_LEN: usize = 16;

/// Bytes of the AEAD's nonce: RFC 4106 section 4, salt of four and IV of eight; RFC 8439
/// section 2.8.
pub const NONCE_LEN: usize = 12;

/// What seals and opens. Names are those of RFC 5282's registry, in our spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// AES with a key of 128 bits in Galois/Counter Mode, ICV of 16 bytes (RFC 4106).
    #[serde(rename = "aes-128-gcm-16")]
    Aes128Gcm16,
    /// The same with a key of 256 bits.
    #[serde(rename = "aes-256-gcm-16")]
    Aes256Gcm16,
    /// ChaCha20 and Poly1305, tag of 16 bytes (RFC 8439). For applications; no SA offers it
    /// yet (RFC 7634 would have the same nonce, and a salt of four bytes).
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: [Self; 3] = [Self::Aes128Gcm16, Self::Aes256Gcm16, Self::ChaCha20Poly1305];

    /// As it stands in configuration and in snapshots.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm16 => "aes-128-gcm-16",
            Self::Aes256Gcm16 => "aes-256-gcm-16",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// Bytes of its key.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm16 => 16,
            Self::Aes256Gcm16 | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// Its place in [`Algorithm::ALL`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Aes128Gcm16 => 0,
            Self::Aes256Gcm16 => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    pub(crate) fn implementation(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm16 => &aead::AES_128_GCM,
            Self::Aes256Gcm16 => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }
}

/// Seal or open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Encrypt and authenticate.
    Seal,
    /// Verify and decrypt.
    Open,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Seal, Self::Open];

    /// As it stands in snapshots.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Open => "open",
        }
    }

    /// Its place in [`Direction::ALL`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Seal => 0,
            Self::Open => 1,
        }
    }
}

/// Why bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Of the wrong length.
    #[error("{algorithm} takes a key of {expected} bytes, not {got}", algorithm = .algorithm.name())]
    Length {
        /// The algorithm.
        algorithm: Algorithm,
        /// Bytes it takes.
        expected: usize,
        /// Bytes there were.
        got: usize,
    },
    /// The library could not expand it (no memory).
    #[error("{algorithm}: the key could not be made ready", algorithm = .0.name())]
    Unusable(Algorithm),
}

/// What an SA asks of the engines that work with its key, besides the algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Extended sequence numbers.
    pub esn: bool,
    /// A replay window as large as this; 0 where nothing is opened.
    pub replay_window: u32,
}

/// The next [`AeadKey::id`]; 64 bits do not come round.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A key, expanded and ready for use.
///
/// The key's own bytes are not kept: what exists is its expanded form, on
/// the heap, which is overwritten when it is freed (by aws-lc's `OPENSSL_free`, or by
/// [`Wiped`](crate::wiped::Wiped)). No method gives anything of it away.
pub struct AeadKey {
    algorithm: Algorithm,
    needs: Needs,
    id: u64,
    cipher: Cipher,
}

impl AeadKey {
    /// A key of `algorithm` from its bytes, without salt. The caller wipes `bytes`.
    ///
    /// # Errors
    /// [`KeyError::Length`] where `bytes` are not [`Algorithm::key_len`] long.
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Result<Arc<Self>, KeyError> {
        Self::for_sa(algorithm, bytes, Needs::default())
    }

    /// The same for an SA, which may need what not every engine has.
    ///
    /// # Errors
    /// As [`AeadKey::new`].
    pub fn for_sa(algorithm: Algorithm, bytes: &[u8], needs: Needs) -> Result<Arc<Self>, KeyError> {
        if bytes.len() != algorithm.key_len() {
            return Err(KeyError::Length {
                algorithm,
                expected: algorithm.key_len(),
                got: bytes.len(),
            });
        }
        let cipher = Cipher::new(algorithm, bytes).ok_or(KeyError::Unusable(algorithm))?;
        Ok(Arc::new(Self {
            algorithm,
            needs,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            cipher,
        }))
    }

    /// What it is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What engines must have to work with it.
    #[must_use]
    pub const fn needs(&self) -> Needs {
        self.needs
    }

    /// Unique in this process: two keys made of the same bytes have two ids. Engines with
    /// SA slots know an installed key by it.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) const fn cipher(&self) -> &Cipher {
        &self.cipher
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            algorithm,
            needs: _,
            id,
            cipher: _,
        } = self;
        write!(f, "AeadKey({} #{id}, hidden)", algorithm.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_wrong_length_is_refused_by_name() {
        let error = AeadKey::new(Algorithm::Aes256Gcm16, &[7; 16]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "aes-256-gcm-16 takes a key of 32 bytes, not 16"
        );
    }

    #[test]
    fn printing_a_key_shows_none_of_it() {
        let key = AeadKey::new(Algorithm::Aes128Gcm16, &[0xab; 16]).unwrap();
        let shown = format!("{key:?}");
        assert!(!shown.contains("ab") && !shown.contains("171"), "{shown}");
    }

    #[test]
    fn names_are_what_serde_writes() {
        for algorithm in Algorithm::ALL {
            let json = serde_json::to_string(&algorithm).unwrap();
            assert_eq!(json, format!("\"{}\"", algorithm.name()));
            assert_eq!(Algorithm::ALL[algorithm.index()], algorithm);
        }
    }
}
