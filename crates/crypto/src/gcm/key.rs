//! Keys, expanded: the cipher's round keys and the powers of the hash's key.

use core::arch::x86_64::*;

use crate::gcm::ghash;
use crate::gcm::kernel::CHUNK;

/// A 256-bit register in memory.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
pub(super) struct Wide([u64; 4]);

impl Wide {
    pub(super) const ZERO: Self = Self([0; 4]);

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn load(&self) -> __m256i {
        // SAFETY: 32 bytes, aligned to 32.
        unsafe { _mm256_load_si256(core::ptr::from_ref(self).cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn load_halves(&self) -> __m256i {
        let halves: *const __m128i = core::ptr::from_ref(self).cast();
        // SAFETY: twice 16 bytes, aligned to 16.
        unsafe { _mm256_set_m128i(_mm_load_si128(halves.add(1)), _mm_load_si128(halves)) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn store(&mut self, value: __m256i) {
        // SAFETY: 32 bytes, aligned to 32.
        unsafe { _mm256_store_si256(core::ptr::from_mut(self).cast(), value) }
    }
}

/// Pairs of powers: those for a chunk, and one for the block of lengths behind the 255 bytes that
/// may be left.
pub(super) const PAIRS: usize = CHUNK / 32 + 1;

/// A key with its `KEYS` round keys: 11 of AES-128, 15 of AES-256 (FIPS 197 section 5.2).
pub(crate) struct Key<const KEYS: usize> {
    /// Each in both lanes.
    pub(super) round: [Wide; KEYS],
    /// H^(2n+2) in the low lane and H^(2n+1) in the high, as [`ghash`] wants them.
    pub(super) power: [Wide; PAIRS],
    /// The sum of each power's halves, in its low half: for Karatsuba's middle product.
    pub(super) cross: [Wide; PAIRS],
}

impl<const KEYS: usize> Key<KEYS> {
    /// Expands the key; `None` where the processor lacks the instructions, or the bytes are no
    /// key for so many rounds.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let rounds_of = |len: usize| len / 4 + 7;
        let fits = matches!(bytes.len(), 16 | 32) && rounds_of(bytes.len()) == KEYS;
        let able = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("pclmulqdq");
        // SAFETY: the processor was asked.
        (fits && able).then(|| unsafe { expand(bytes) })
    }

    /// One block encrypted.
    #[inline]
    #[target_feature(enable = "avx2,aes")]
    pub(super) fn block(&self, block: __m128i) -> __m128i {
        let round = |n: usize| _mm256_castsi256_si128(self.round[n].load());
        let mut state = _mm_xor_si128(block, round(0));
        for n in 1..KEYS - 1 {
            state = _mm_aesenc_si128(state, round(n));
        }
        _mm_aesenclast_si128(state, round(KEYS - 1))
    }
}

#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
fn expand<const KEYS: usize>(bytes: &[u8]) -> Key<KEYS> {
    let mut key = Key {
        round: [Wide::ZERO; KEYS],
        power: [Wide::ZERO; PAIRS],
        cross: [Wide::ZERO; PAIRS],
    };
    schedule(bytes, &mut key.round);
    let h = ghash::key(key.block(_mm_setzero_si128()));
    let mut odd = h;
    for (power, cross) in key.power.iter_mut().zip(&mut key.cross) {
        let even = ghash::multiply(odd, h);
        let both = _mm256_set_m128i(odd, even);
        power.store(both);
        cross.store(_mm256_xor_si256(both, _mm256_shuffle_epi32(both, 0x4e)));
        odd = ghash::multiply(even, h);
    }
    key
}

/// The key schedule (FIPS 197 section 5.2).
#[target_feature(enable = "avx2,aes")]
fn schedule<const KEYS: usize>(bytes: &[u8], round: &mut [Wide; KEYS]) {
    // SubWord, by the instruction that the processor has for it.
    let substitute = |word: u32| {
        let all = _mm_set1_epi32(word.cast_signed());
        _mm_cvtsi128_si32(_mm_aeskeygenassist_si128(all, 0)).cast_unsigned()
    };
    let of_key = bytes.len() / 4;
    let mut words = [0_u32; 60];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let mut constant = 1;
    for n in of_key..KEYS * 4 {
        let mut word = words[n - 1];
        if n % of_key == 0 {
            word = substitute(word).rotate_right(8) ^ constant;
            // In the field of the cipher; ten are needed, so it passes 0x80 once.
            constant = if constant == 0x80 {
                0x1b
            } else {
                constant << 1
            };
        } else if of_key > 6 && n % of_key == 4 {
            word = substitute(word);
        }
        words[n] = words[n - of_key] ^ word;
    }
    for (round, words) in round.iter_mut().zip(words.as_chunks::<4>().0) {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let (low, high) = (pair(words[0], words[1]), pair(words[2], words[3]));
        *round = Wide([low, high, low, high]);
    }
    zeroize::Zeroize::zeroize(&mut words);
}
