//! One message on its way through cipher and hash.

use core::arch::x86_64::*;

use crate::gcm::ghash::{self, Products};
use crate::gcm::key::{Key, PAIRS, Wide};
use crate::key::{ICV_LEN, NONCE_LEN};

/// Registers of two blocks that are encrypted side by side: eight keep a unit with a latency of
/// four cycles and two instructions a cycle busy.
const ABREAST: usize = 8;

/// Bytes of one turn.
pub(super) const CHUNK: usize = ABREAST * 32;

/// A message that is being sealed (`SEAL`) or opened.
pub(super) struct Run<'a, const KEYS: usize, const SEAL: bool> {
    key: &'a Key<KEYS>,
    /// The counters of the next two blocks, byte-reversed.
    counters: __m256i,
    hash: __m128i,
    /// What the ICV is masked with: the first counter block, encrypted.
    mask: __m128i,
    /// Ciphertext of the last turn, which is yet to be hashed; null: none. When opening it
    /// stands there beforehand and is hashed in its own turn.
    behind: *const u8,
    aad: usize,
    text: usize,
}

/// What reverses the bytes of two blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn reversal() -> __m256i {
    _mm256_broadcastsi128_si256(ghash::reversal())
}

/// A block in the low lane, or in the high.
#[inline]
#[target_feature(enable = "avx2")]
fn lane(block: __m128i, high: bool) -> __m256i {
    if high {
        _mm256_set_m128i(block, _mm_setzero_si128())
    } else {
        _mm256_zextsi128_si256(block)
    }
}

/// Up to 16 bytes with zeroes behind them. ESP's 8 and 12 (RFC 4106 section 5) go by registers.
#[inline]
#[target_feature(enable = "sse2")]
fn block(part: &[u8]) -> __m128i {
    let word = |at: usize| {
        part.get(at..at + 4).map_or(0, |four| {
            i32::from_ne_bytes([four[0], four[1], four[2], four[3]])
        })
    };
    match part.len() {
        8 | 12 => _mm_set_epi32(0, word(8), word(4), word(0)),
        len => {
            let mut block = [0; 16];
            block[..len].copy_from_slice(part);
            // SAFETY: 16 bytes.
            unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
        }
    }
}

/// The `len` bytes at `src`, 1 to 15, with zeroes behind them; by words that overlap, so that nothing
/// is gathered in memory.
///
/// # Safety
/// They can be read.
#[inline]
unsafe fn load_part(src: *const u8, len: usize) -> u128 {
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
unsafe fn store_part(dst: *mut u8, len: usize, bytes: u128) {
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

impl<'a, const KEYS: usize, const SEAL: bool> Run<'a, KEYS, SEAL> {
    /// A message with its nonce and what is authenticated beside it.
    #[inline]
    #[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
    pub(super) fn new(key: &'a Key<KEYS>, nonce: &[u8; NONCE_LEN], aad: &[u8]) -> Self {
        // Behind the nonce the counter, which begins at one.
        let first = _mm_or_si128(block(nonce), _mm_set_epi32(1 << 24, 0, 0, 0));
        let counter = _mm256_broadcastsi128_si256(_mm_shuffle_epi8(first, ghash::reversal()));
        let h = _mm256_extracti128_si256(key.power[0].load(), 1);
        let mut hash = _mm_setzero_si128();
        for part in aad.chunks(16) {
            let block = _mm_shuffle_epi8(block(part), ghash::reversal());
            hash = ghash::multiply(_mm_xor_si128(hash, block), h);
        }
        Self {
            counters: _mm256_add_epi32(counter, _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 1)),
            mask: key.block(first),
            key,
            hash,
            behind: core::ptr::null(),
            aad: aad.len(),
            text: 0,
        }
    }

    /// The next counters as blocks, with the first round's key.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn next<const N: usize>(&mut self) -> [__m256i; N] {
        let first = self.key.round[0].load();
        let step = _mm256_set_epi32(0, 0, 0, 2, 0, 0, 0, 2);
        let mut blocks = [first; N];
        for block in &mut blocks {
            *block = _mm256_xor_si256(_mm256_shuffle_epi8(self.counters, reversal()), first);
            // The counter is the last 32 bits, and comes round by itself.
            self.counters = _mm256_add_epi32(self.counters, step);
        }
        blocks
    }

    #[inline]
    #[target_feature(enable = "avx2,vaes")]
    fn round<const N: usize>(&self, n: usize, blocks: &mut [__m256i; N]) {
        let key = self.key.round[n].load();
        for block in blocks {
            *block = _mm256_aesenc_epi128(*block, key);
        }
    }

    /// All rounds but the first and the last.
    #[inline]
    #[target_feature(enable = "avx2,vaes")]
    fn rounds<const N: usize>(&self, blocks: &mut [__m256i; N]) {
        for n in 1..KEYS - 1 {
            self.round(n, blocks);
        }
    }

    /// As [`Run::rounds`], and among them the hash of a chunk.
    ///
    /// # Safety
    /// The chunk can be read.
    #[inline]
    #[target_feature(enable = "avx2,vaes,vpclmulqdq,pclmulqdq")]
    unsafe fn rounds_and_hash<const N: usize>(
        &mut self,
        blocks: &mut [__m256i; N],
        hashed: *const u8,
    ) {
        let mut products = Products::none();
        for n in 1..=ABREAST {
            self.round(n, blocks);
            // SAFETY: a chunk.
            unsafe { self.hash_pair(hashed, n - 1, &mut products) };
        }
        for n in ABREAST + 1..KEYS - 1 {
            self.round(n, blocks);
        }
        self.hash = products.reduce();
    }

    /// The `nth` two blocks of a chunk, times their powers.
    ///
    /// # Safety
    /// `chunk` can be read.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    unsafe fn hash_pair(&self, chunk: *const u8, nth: usize, products: &mut Products) {
        // SAFETY: the nth 32 of its bytes.
        let blocks = unsafe { _mm256_loadu_si256(chunk.add(32 * nth).cast()) };
        let mut blocks = _mm256_shuffle_epi8(blocks, reversal());
        if nth == 0 {
            blocks = _mm256_xor_si256(blocks, lane(self.hash, false));
        }
        let power = ABREAST - 1 - nth;
        let (power, cross) = (&self.key.power[power], &self.key.cross[power]);
        products.add(blocks, power.load(), cross.load());
    }

    /// `len` bytes from `src` to `dst`, whole chunks.
    ///
    /// # Safety
    /// `src` can be read and `dst` written for `len` bytes, a multiple of [`CHUNK`]; they are the same or
    /// do not overlap. What was written by earlier calls can still be read.
    // Apart from what comes before and after it the loop keeps its registers: opened in line, 1400
    // bytes took 246 ns instead of 225 on a Zen 3.
    #[inline(never)]
    #[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
    pub(super) unsafe fn chunks(&mut self, src: *const u8, dst: *mut u8, len: usize) {
        for at in (0..len).step_by(CHUNK) {
            // SAFETY: within `len`.
            let (src, dst) = unsafe { (src.add(at), dst.add(at)) };
            let mut blocks = self.next::<ABREAST>();
            let hashed = if SEAL { self.behind } else { src };
            if hashed.is_null() {
                self.rounds(&mut blocks);
            } else {
                // SAFETY: a chunk of `src`, or of what was written.
                unsafe { self.rounds_and_hash(&mut blocks, hashed) };
            }
            let last = self.key.round[KEYS - 1].load();
            for (n, block) in blocks.into_iter().enumerate() {
                // SAFETY: the nth 32 bytes of the chunk, read before they are written.
                unsafe {
                    let text = _mm256_loadu_si256(src.add(32 * n).cast());
                    // The last round ends by adding its key, so the text can be added to that.
                    let out = _mm256_aesenclast_epi128(block, _mm256_xor_si256(last, text));
                    _mm256_storeu_si256(dst.add(32 * n).cast(), out);
                }
            }
            self.behind = dst;
            self.text += CHUNK;
        }
    }

    /// The last `len` bytes, fewer than [`CHUNK`], and the ICV.
    ///
    /// # Safety
    /// As for [`Run::chunks`].
    #[inline]
    #[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
    pub(super) unsafe fn finish(
        mut self,
        src: *const u8,
        dst: *mut u8,
        len: usize,
    ) -> [u8; ICV_LEN] {
        let stream = self.stream(len);
        let blocks = len.div_ceil(16) + 1;
        let pairs = blocks.div_ceil(2);
        // Ciphertext with zeroes behind it, and before it where the blocks are odd in number: so
        // the block of lengths is the high lane of the last pair.
        let odd = blocks % 2 == 1;
        let mut hashed = [Wide::ZERO; PAIRS];
        // SAFETY: of the 32 * PAIRS bytes, 16 + len are used at most; `src` and `dst` have `len`.
        unsafe {
            let stream = stream.as_ptr().cast::<u8>();
            let hashed = hashed.as_mut_ptr().cast::<u8>().add(16 * usize::from(odd));
            let mut at = 0;
            while at + 16 <= len {
                let text = _mm_loadu_si128(src.add(at).cast());
                let out = _mm_xor_si128(text, _mm_load_si128(stream.add(at).cast()));
                _mm_storeu_si128(dst.add(at).cast(), out);
                _mm_store_si128(hashed.add(at).cast(), if SEAL { out } else { text });
                at += 16;
            }
            if at < len {
                let text = load_part(src.add(at), len - at);
                let stream = stream.add(at).cast::<u128>().read();
                let out = (text ^ stream) & (u128::MAX >> (8 * (16 - (len - at))));
                store_part(dst.add(at), len - at, out);
                let last = if SEAL { out } else { text };
                let halves = ((last >> 64) as u64, last as u64);
                let last = _mm_set_epi64x(halves.0.cast_signed(), halves.1.cast_signed());
                _mm_store_si128(hashed.add(at).cast(), last);
            }
        }
        self.text += len;
        let bits = |bytes: usize| (bytes as u64 * 8).cast_signed();
        let lengths = _mm_set_epi64x(bits(self.aad), bits(self.text));
        let mut products = Products::none();
        for (n, pair) in hashed[..pairs].iter().enumerate() {
            // By halves, as they were stored: what spans two stores waits until both are done.
            let mut blocks = _mm256_shuffle_epi8(pair.load_halves(), reversal());
            if n == 0 {
                blocks = _mm256_xor_si256(blocks, lane(self.hash, odd));
            }
            if n + 1 == pairs {
                blocks = _mm256_xor_si256(blocks, lane(lengths, true));
            }
            let power = pairs - 1 - n;
            let (power, cross) = (&self.key.power[power], &self.key.cross[power]);
            products.add(blocks, power.load(), cross.load());
        }
        let tag = _mm_shuffle_epi8(products.reduce(), ghash::reversal());
        let tag = _mm_xor_si128(tag, self.mask);
        let mut icv = [0; ICV_LEN];
        // SAFETY: 16 bytes.
        unsafe { _mm_storeu_si128(icv.as_mut_ptr().cast(), tag) };
        icv
    }

    /// What the next `len` bytes, fewer than [`CHUNK`], are to be added to. What was written last is
    /// hashed meanwhile, where that is yet to be done.
    #[inline]
    #[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
    fn stream(&mut self, len: usize) -> [Wide; ABREAST] {
        let mut stream = [Wide::ZERO; ABREAST];
        // Half a chunk, or all of it: a register that nobody needs costs what one in use does.
        match len.div_ceil(32) {
            0 if !SEAL || self.behind.is_null() => {}
            0..=4 => self.stream_of::<4>(&mut stream),
            _ => self.stream_of::<ABREAST>(&mut stream),
        }
        stream
    }

    #[inline]
    #[target_feature(enable = "avx2,vaes,vpclmulqdq,aes,pclmulqdq")]
    fn stream_of<const N: usize>(&mut self, stream: &mut [Wide; ABREAST]) {
        let mut blocks = self.next::<N>();
        if SEAL && !self.behind.is_null() {
            // SAFETY: the chunk that was written last.
            unsafe { self.rounds_and_hash(&mut blocks, self.behind) };
        } else {
            self.rounds(&mut blocks);
        }
        let last = self.key.round[KEYS - 1].load();
        for (place, block) in stream.iter_mut().zip(blocks) {
            place.store(_mm256_aesenclast_epi128(block, last));
        }
    }
}
