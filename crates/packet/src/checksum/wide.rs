//! The sum in registers of 32 bytes.

#![expect(
    unsafe_code,
    reason = "the registers are there only on some processors, and loads go by pointer"
)]

use core::arch::x86_64::*;

/// Bytes that a call takes, at most: a lane has 32 bits and gains less than 2^17 with each register, and
/// all eight are added in 32 bits, so that 2^12 registers fit.
pub(super) const MOST: usize = 32 << 12;

/// Bytes of one register, and the fewest that a call takes.
pub(super) const LEAST: usize = 32;

/// Zeroes, then ones: loaded from where it leaves as many ones at the end as are wanted.
static ENDS: [u8; 2 * LEAST] = {
    let mut ends = [0; 2 * LEAST];
    let mut at = LEAST;
    while at < ends.len() {
        ends[at] = 0xff;
        at += 1;
    }
    ends
};

/// Both 16-bit words of each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn words(bytes: __m256i) -> __m256i {
    let low = _mm256_and_si256(bytes, _mm256_set1_epi32(0xffff));
    _mm256_add_epi32(low, _mm256_srli_epi32(bytes, 16))
}

/// The sum of all lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn across(lanes: __m256i) -> u64 {
    let four = _mm_add_epi32(
        _mm256_castsi256_si128(lanes),
        _mm256_extracti128_si256(lanes, 1),
    );
    let two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    let one = _mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1));
    u64::from(_mm_cvtsi128_si32(one).cast_unsigned())
}

/// The sum of 16-bit words in the host's byte order, an odd last byte with a zero behind it.
///
/// # Panics
/// Where `bytes` are fewer than [`LEAST`] or more than [`MOST`].
#[target_feature(enable = "avx2")]
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    assert!((LEAST..=MOST).contains(&len));
    let start = bytes.as_ptr();
    // SAFETY: 32 bytes of `bytes` from `at` on.
    let load = |at: usize| unsafe { _mm256_loadu_si256(start.add(at).cast()) };
    let (mut even, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    let mut at = 0;
    while at + 2 * LEAST <= len {
        even = _mm256_add_epi32(even, words(load(at)));
        odd = _mm256_add_epi32(odd, words(load(at + LEAST)));
        at += 2 * LEAST;
    }
    if at + LEAST <= len {
        even = _mm256_add_epi32(even, words(load(at)));
        at += LEAST;
    }
    // The last register's worth again, less what was summed of it.
    // SAFETY: 32 of 64 bytes, since fewer than 32 are left.
    let ones = unsafe { _mm256_loadu_si256(ENDS.as_ptr().add(len - at).cast()) };
    let rest = across(words(_mm256_and_si256(load(len - LEAST), ones)));
    // Where the end is odd, each of these words begins with what ends one of the sum's.
    let rest = if len % 2 == 1 { rest << 8 } else { rest };
    across(_mm256_add_epi32(even, odd)) + rest
}
