//! GHASH (SP 800-38D section 6.4) by carry-less multiplication.
//!
//! Blocks are byte-reversed when they are loaded. Then a bit stands mirrored to its place in the
//! standard, and the product of two mirrored numbers comes out one bit low: the key is multiplied
//! by x once ([`key`]), which makes up for it. The reduction folds the lower half in two steps
//! by x^63 + x^62 + x^57, mirrored 0xc2 (Gueron and Kounavis, "Intel Carry-Less Multiplication
//! Instruction and its Usage for Computing the GCM Mode").

use core::arch::x86_64::*;

/// The polynomial, mirrored: the low half is its 1, the high half the rest.
const POLY: (i64, i64) = (0xc200_0000_0000_0000_u64.cast_signed(), 1);

/// What reverses the bytes of a block.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn reversal() -> __m128i {
    _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
}

/// The hash's key from the encrypted zero block: byte-reversed, times x.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn key(zero: __m128i) -> __m128i {
    let h = _mm_shuffle_epi8(zero, reversal());
    let (low, high) = (_mm_extract_epi64(h, 0), _mm_extract_epi64(h, 1));
    // All ones where the bit that leaves is set.
    let carry = high >> 63;
    let high = (high << 1 | i64::from(low < 0)) ^ (carry & POLY.0);
    let low = (low << 1) ^ (carry & POLY.1);
    _mm_set_epi64x(high, low)
}

/// The upper half folded by the lower: 256 bits to 128.
#[inline]
#[target_feature(enable = "avx2,pclmulqdq")]
fn reduce(low: __m128i, middle: __m128i, high: __m128i) -> __m128i {
    let poly = _mm_set_epi64x(POLY.0, POLY.1);
    let fold = |from: __m128i, to: __m128i| {
        let swapped = _mm_shuffle_epi32(from, 0x4e);
        let product = _mm_clmulepi64_si128(poly, from, 0x01);
        _mm_xor_si128(to, _mm_xor_si128(swapped, product))
    };
    fold(fold(low, middle), high)
}

/// The product of two blocks, one of which was made by [`key`] or this.
#[inline]
#[target_feature(enable = "avx2,pclmulqdq")]
pub(super) fn multiply(a: __m128i, b: __m128i) -> __m128i {
    let low = _mm_clmulepi64_si128(a, b, 0x00);
    let high = _mm_clmulepi64_si128(a, b, 0x11);
    let middle = _mm_xor_si128(
        _mm_clmulepi64_si128(a, b, 0x01),
        _mm_clmulepi64_si128(a, b, 0x10),
    );
    reduce(low, middle, high)
}

/// Products that wait for one reduction: sums of their low, middle and high parts.
pub(super) struct Products {
    low: __m256i,
    middle: __m256i,
    high: __m256i,
}

impl Products {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn none() -> Self {
        let zero = _mm256_setzero_si256();
        Self {
            low: zero,
            middle: zero,
            high: zero,
        }
    }

    /// Adds two blocks times two powers; three multiplications for each pair, by Karatsuba.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    pub(super) fn add(&mut self, blocks: __m256i, power: __m256i, cross: __m256i) {
        let sum = |to: __m256i, product: __m256i| _mm256_xor_si256(to, product);
        let folded = _mm256_xor_si256(blocks, _mm256_shuffle_epi32(blocks, 0x4e));
        self.low = sum(self.low, _mm256_clmulepi64_epi128(blocks, power, 0x00));
        self.high = sum(self.high, _mm256_clmulepi64_epi128(blocks, power, 0x11));
        self.middle = sum(self.middle, _mm256_clmulepi64_epi128(folded, cross, 0x00));
    }

    /// Their sum, as a block.
    #[inline]
    #[target_feature(enable = "avx2,pclmulqdq")]
    pub(super) fn reduce(self) -> __m128i {
        let lanes = |sum: __m256i| {
            _mm_xor_si128(
                _mm256_castsi256_si128(sum),
                _mm256_extracti128_si256(sum, 1),
            )
        };
        let (low, high) = (lanes(self.low), lanes(self.high));
        let middle = _mm_xor_si128(lanes(self.middle), _mm_xor_si128(low, high));
        reduce(low, middle, high)
    }
}
