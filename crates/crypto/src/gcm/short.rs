//! Short runs of bytes, moved by registers: a call for each costs more than the bytes do.

use core::arch::x86_64::*;

/// Bytes that are copied at most: a chunk.
pub(super) const MOST: usize = 256;

/// The `len` bytes at `src`, 1 to 15, with zeroes behind them; by words that overlap, so that nothing
/// is gathered in memory.
///
/// # Safety
/// They can be read.
#[inline]
pub(super) unsafe fn load_part(src: *const u8, len: usize) -> u128 {
    // SAFETY: each word lies within the `len` bytes.
    unsafe {
        let (first, last, from) = match len {
            8.. => (
                u128::from(src.cast::<u64>().read_unaligned()),
                u128::from(src.add(len - 8).cast::<u64>().read_unaligned()),
                len - 8,
            ),
            4.. => (
                u128::from(src.cast::<u32>().read_unaligned()),
                u128::from(src.add(len - 4).cast::<u32>().read_unaligned()),
                len - 4,
            ),
            _ => (
                u128::from(*src) | u128::from(*src.add(len / 2)) << (8 * (len / 2)),
                u128::from(*src.add(len - 1)),
                len - 1,
            ),
        };
        // Where they overlap both say the same.
        first | last << (8 * from)
    }
}

/// Writes the first `len` bytes of `bytes`, 1 to 15, to `dst`.
///
/// # Safety
/// They can be written.
#[inline]
pub(super) unsafe fn store_part(dst: *mut u8, len: usize, bytes: u128) {
    // SAFETY: each word lies within the `len` bytes.
    unsafe {
        match len {
            8.. => {
                dst.cast::<u64>().write_unaligned(bytes as u64);
                let last = (bytes >> (8 * (len - 8))) as u64;
                dst.add(len - 8).cast::<u64>().write_unaligned(last);
            }
            4.. => {
                dst.cast::<u32>().write_unaligned(bytes as u32);
                let last = (bytes >> (8 * (len - 4))) as u32;
                dst.add(len - 4).cast::<u32>().write_unaligned(last);
            }
            _ => {
                for (n, byte) in bytes.to_le_bytes()[..len].iter().enumerate() {
                    *dst.add(n) = *byte;
                }
            }
        }
    }
}

/// Copies a run of less than [`MOST`] bytes, or just as many, into one as long, by words that overlap at
/// its end.
///
/// # Panics
/// Where they are not as long, or longer.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn copy(from: &[u8], to: &mut [u8]) {
    assert!(from.len() == to.len() && from.len() <= MOST);
    let (len, src, dst) = (from.len(), from.as_ptr(), to.as_mut_ptr());
    // SAFETY: each word lies within the `len` bytes of both.
    unsafe {
        match len {
            0 => {}
            1..16 => store_part(dst, len, load_part(src, len)),
            16..32 => {
                let first = _mm_loadu_si128(src.cast());
                let last = _mm_loadu_si128(src.add(len - 16).cast());
                _mm_storeu_si128(dst.cast(), first);
                _mm_storeu_si128(dst.add(len - 16).cast(), last);
            }
            32.. => {
                let last = _mm256_loadu_si256(src.add(len - 32).cast());
                // A loop with as many turns as are needed would be made a call again.
                for at in [0, 32, 64, 96, 128, 160, 192, 224] {
                    if at + 32 >= len {
                        break;
                    }
                    let word = _mm256_loadu_si256(src.add(at).cast());
                    _mm256_storeu_si256(dst.add(at).cast(), word);
                }
                _mm256_storeu_si256(dst.add(len - 32).cast(), last);
            }
        }
    }
}
