//! AES-GCM (NIST SP 800-38D) for processors with vector AES and no AVX-512: AMD Zen 3, Intel Alder Lake.
//!
//! The libraries encrypt in place, so that a packet is gathered first; and they take 105 ns for
//! a message before its first byte. Here the bytes go from where they lie to where they are to
//! be, once, and two thirds of the time before the first byte are gone. The design is the one
//! of Gueron and Lindell for wide registers: 16 blocks a turn, the hash of one turn among the
//! cipher's rounds of the next.
//!
//! Nothing here depends on a secret but by arithmetic: no branch, no index, no table look-up.
//! What it computes is held against aws-lc and RustCrypto in the tests, and, as that of every engine,
//! against published answers and RustCrypto before it is admitted ([`mod@crate::verify`]).

#![expect(
    unsafe_code,
    reason = "vector instructions take pointers, and are there only on some processors"
)]

mod ghash;
mod kernel;
mod key;
mod short;

use crate::key::{ICV_LEN, NONCE_LEN};

pub(crate) use key::Key;

use kernel::{CHUNK, Run};

impl<const KEYS: usize> Key<KEYS> {
    /// Encrypts the parts, one behind the other, into `out`, which is as long as they are together.
    ///
    /// # Panics
    /// Where it is not.
    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        parts: [&[u8]; 3],
        out: &mut [u8],
    ) -> [u8; ICV_LEN] {
        assert_eq!(
            parts.iter().map(|part| part.len()).sum::<usize>(),
            out.len()
        );
        // SAFETY: a key is made only where the processor has the instructions.
        unsafe { seal(self, nonce, aad, parts, out) }
    }

    /// Decrypts `text` into `out`, which is as long, and answers the ICV that it should have. Until
    /// that was compared, `out` is nobody's.
    ///
    /// # Panics
    /// Where `out` is not as long.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &[u8],
        out: &mut [u8],
    ) -> [u8; ICV_LEN] {
        assert_eq!(text.len(), out.len());
        // SAFETY: a key is made only where the processor has the instructions; `out` is as long as
        // `text`.
        unsafe { open(self, nonce, aad, text, out) }
    }
}

/// # Safety
/// The processor has the instructions, and `out` is as long as `text`.
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
unsafe fn open<const KEYS: usize>(
    key: &Key<KEYS>,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    text: &[u8],
    out: &mut [u8],
) -> [u8; ICV_LEN] {
    let mut run = Run::<_, false>::new(key, nonce, aad);
    let whole = text.len() / CHUNK * CHUNK;
    let (from, to) = (text.as_ptr(), out.as_mut_ptr());
    // SAFETY: first the whole chunks of both, then what is left.
    unsafe {
        run.chunks(from, to, whole);
        run.finish(from.add(whole), to.add(whole), text.len() - whole)
    }
}

/// # Safety
/// The processor has the instructions, and `out` is as long as the parts together.
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
unsafe fn seal<const KEYS: usize>(
    key: &Key<KEYS>,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    mut parts: [&[u8]; 3],
    out: &mut [u8],
) -> [u8; ICV_LEN] {
    let mut run = Run::<_, true>::new(key, nonce, aad);
    let mut at = 0;
    while out.len() - at >= CHUNK {
        let straight = parts
            .iter_mut()
            .find(|part| !part.is_empty())
            .filter(|part| part.len() >= CHUNK);
        if let Some(part) = straight {
            let (now, later) = part.split_at(part.len() / CHUNK * CHUNK);
            *part = later;
            // SAFETY: `now` is read; as many bytes of `out` are there, since the parts fill it.
            unsafe { run.chunks(now.as_ptr(), out.as_mut_ptr().add(at), now.len()) };
            at += now.len();
        } else {
            let chunk = &mut out[at..at + CHUNK];
            gather(&mut parts, chunk);
            let place = chunk.as_mut_ptr();
            // SAFETY: a chunk, in place.
            unsafe { run.chunks(place, place, CHUNK) };
            at += CHUNK;
        }
    }
    let rest = &mut out[at..];
    gather(&mut parts, rest);
    let (place, len) = (rest.as_mut_ptr(), rest.len());
    // SAFETY: what is left, in place.
    unsafe { run.finish(place, place, len) }
}

/// Fills `out` from the parts, and takes from them what it took.
#[inline]
#[target_feature(enable = "avx2")]
fn gather(parts: &mut [&[u8]; 3], mut out: &mut [u8]) {
    for part in parts {
        if out.is_empty() {
            return;
        }
        let (now, later) = part.split_at(part.len().min(out.len()));
        let (place, rest) = out.split_at_mut(now.len());
        short::copy(now, place);
        (*part, out) = (later, rest);
    }
}

#[cfg(test)]
mod tests;
