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

    /// Its two blocks.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn halves(&self) -> (__m128i, __m128i) {
        let halves: *const __m128i = core::ptr::from_ref(self).cast();
        // SAFETY: twice 16 bytes, aligned to 16.
        unsafe { (_mm_load_si128(halves), _mm_load_si128(halves.add(1))) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn store(&mut self, value: __m256i) {
        // SAFETY: 32 bytes, aligned to 32.
        unsafe { _mm256_store_si256(core::ptr::from_mut(self).cast(), value) }
    }
}

/// Powers that are kept: as many as a chunk has blocks, and one for the block of lengths behind up to as
/// many that are left; and one more, so that those of a chunk's pairs lie in one register each.
const POWERS: usize = CHUNK / 16 + 2;

/// Something for each power of the hash's key H, the highest first.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
pub(super) struct Powers([[u64; 2]; POWERS]);

impl Powers {
    /// That of H^`first` in the low lane, of the power below it in the high.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn pair(&self, first: usize) -> __m256i {
        debug_assert!((2..=POWERS).contains(&first));
        // SAFETY: of the powers from POWERS down to 1, two that follow each other.
        unsafe { _mm256_loadu_si256(self.0.as_ptr().add(POWERS - first).cast()) }
    }

    /// That of H itself.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn one(&self) -> __m128i {
        // SAFETY: the last of them.
        unsafe { _mm_loadu_si128(self.0.as_ptr().add(POWERS - 1).cast()) }
    }

    /// Sets that of H^`power`.
    #[target_feature(enable = "avx2")]
    fn set(&mut self, power: usize, value: __m128i) {
        // SAFETY: 16 bytes.
        unsafe { _mm_storeu_si128((&raw mut self.0[POWERS - power]).cast(), value) };
    }
}

/// A key with its `KEYS` round keys: 11 of AES-128, 15 of AES-256 (FIPS 197 section 5.2).
pub(crate) struct Key<const KEYS: usize> {
    /// Each in both lanes.
    pub(super) round: [Wide; KEYS],
    /// The powers themselves, as [`ghash`] wants them.
    pub(super) power: Powers,
    /// The sum of each one's halves, in its low half: for Karatsuba's middle product.
    pub(super) cross: Powers,
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
        power: Powers([[0; 2]; POWERS]),
        cross: Powers([[0; 2]; POWERS]),
    };
    schedule(bytes, &mut key.round);
    let h = ghash::key(key.block(_mm_setzero_si128()));
    let mut power = h;
    for n in 1..=POWERS {
        key.power.set(n, power);
        let cross = _mm_xor_si128(power, _mm_shuffle_epi32(power, 0x4e));
        key.cross.set(n, cross);
        power = ghash::multiply(power, h);
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
