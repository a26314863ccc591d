//! Buffers with head- and tailroom, from a pool with a stated bound.
//!
//! A [`Buf`] has one owner and can be written; [`Buf::share`] turns it into a
//! [`SharedBuf`], which can be read by many and written by nobody. Whoever drops
//! the last handle, on whichever thread, gives the memory back to the pool it
//! came from. An empty pool answers `None`: the caller drops the packet and
//! counts it (rule 6, bounded memory).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_queue::ArrayQueue;

/// Room kept before the data, so that headers can be put in front in place:
/// Ethernet 14 + two VLAN tags 8 + IPv6 40 + UDP 8 + ESP 8 + IV 8 = 86, rounded up to
/// two cache lines.
pub const HEADROOM: usize = 128;

/// Room kept behind the data: ESP padding and trailer (at most 255 + 2) and a 16-byte ICV,
/// rounded up.
pub const TAILROOM: usize = 288;

/// Data bytes in a small buffer: a 1500-byte frame with its headers, in two KiB all told.
pub const SMALL: usize = 2048 - HEADROOM - TAILROOM;

/// Data bytes in a large buffer: a 64 KiB super-frame, and what ESP adds to each of at
/// most 64 segments (inner headers 80, ESP 8, IV 8, trailer 5, ICV 16, outer
/// headers 70 = 187, times 64 = 12 KiB).
pub const LARGE: usize = 65_536 + 12 * 1024;

#[derive(Debug)]
struct Class {
    /// What was given back last is taken first: its bytes are still in a cache. In turn, forty
    /// buffers of 64 KiB would pass through one of 512 KiB.
    last: Mutex<Vec<Box<[u8]>>>,
    /// What was given back while somebody else was at `last`: nobody waits for a thread that
    /// may have lost its processor.
    free: ArrayQueue<Box<[u8]>>,
    /// Buffers made so far; never more than `limit`.
    made: AtomicUsize,
    limit: usize,
    bytes: usize,
}

impl Class {
    fn new(limit: usize, data: usize) -> Arc<Self> {
        Arc::new(Self {
            last: Mutex::new(Vec::with_capacity(limit)),
            free: ArrayQueue::new(limit.max(1)),
            made: AtomicUsize::new(0),
            limit,
            bytes: HEADROOM + data + TAILROOM,
        })
    }

    fn take(&self) -> Option<Box<[u8]>> {
        if let Ok(mut last) = self.last.try_lock()
            && let Some(memory) = last.pop()
        {
            return Some(memory);
        }
        if let Some(memory) = self.free.pop() {
            return Some(memory);
        }
        // Made on first need, so that a host that never sees super-frames does not pay for them.
        self.made
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |made| {
                (made < self.limit).then_some(made + 1)
            })
            .ok()
            .map(|_| vec![0; self.bytes].into_boxed_slice())
    }

    fn give(&self, memory: Box<[u8]>) {
        match self.last.try_lock() {
            Ok(mut last) => last.push(memory),
            // The queue holds as many as can be made, so this push cannot fail; were it to, the
            // memory is freed and the bound only shrinks.
            Err(_) => drop(self.free.push(memory)),
        }
    }

    /// Buffers that lie ready.
    fn ready(&self) -> usize {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
            + self.free.len()
    }
}

/// A bounded source of buffers in two sizes. Cheap to clone; clones share the bound.
#[derive(Clone, Debug)]
pub struct Pool {
    small: Arc<Class>,
    large: Arc<Class>,
}

impl Pool {
    /// A pool of at most `small` buffers of [`SMALL`] and `large` of [`LARGE`] bytes.
    #[must_use]
    pub fn new(small: usize, large: usize) -> Self {
        Self {
            small: Class::new(small, SMALL),
            large: Class::new(large, LARGE),
        }
    }

    /// An empty buffer with room for `len` bytes between head- and tailroom, or `None`
    /// where the pool is exhausted or `len` exceeds [`LARGE`]. Its contents are what the
    /// last user left there: a writer writes every byte that it claims.
    #[must_use]
    pub fn get(&self, len: usize) -> Option<Buf> {
        let class = match len {
            0..=SMALL => &self.small,
            _ if len <= LARGE => &self.large,
            _ => return None,
        };
        Some(Buf {
            memory: class.take()?,
            start: HEADROOM,
            end: HEADROOM,
            home: Arc::clone(class),
        })
    }

    /// Buffers in use or lying in the free lists: `(small, large)` made so far.
    #[must_use]
    pub fn made(&self) -> (usize, usize) {
        (
            self.small.made.load(Ordering::Relaxed),
            self.large.made.load(Ordering::Relaxed),
        )
    }

    /// Buffers out with somebody: `(small, large)`.
    #[must_use]
    pub fn in_use(&self) -> (usize, usize) {
        let out = |class: &Class| {
            class
                .made
                .load(Ordering::Relaxed)
                .saturating_sub(class.ready())
        };
        (out(&self.small), out(&self.large))
    }
}

/// A buffer with one owner. Its data lie between head- and tailroom.
#[derive(Debug)]
pub struct Buf {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
    home: Arc<Class>,
}

impl Buf {
    /// The data.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// The data, to be written.
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    /// Length of the data in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are no data.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Bytes that can be put in front.
    #[must_use]
    pub const fn headroom(&self) -> usize {
        self.start
    }

    /// Bytes that can be appended, tailroom included.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.memory.len() - self.end
    }

    /// Makes the data `len` bytes long; bytes that this adds hold old contents and are to be
    /// written by the caller.
    ///
    /// # Panics
    /// Where `len` exceeds `len() + room()`: a caller's error, not a packet's.
    pub fn set_len(&mut self, len: usize) {
        assert!(
            self.start + len <= self.memory.len(),
            "set_len beyond the buffer"
        );
        self.end = self.start + len;
    }

    /// Grows the data by `n` bytes at the front and returns those for writing.
    ///
    /// # Panics
    /// Where `n` exceeds [`Buf::headroom`]: a caller's error, not a packet's.
    pub fn push_front(&mut self, n: usize) -> &mut [u8] {
        assert!(n <= self.start, "push_front beyond the headroom");
        self.start -= n;
        &mut self.memory[self.start..self.start + n]
    }

    /// Drops `n` bytes from the front of the data.
    ///
    /// # Panics
    /// Where `n` exceeds [`Buf::len`].
    pub fn pop_front(&mut self, n: usize) {
        assert!(n <= self.len(), "pop_front beyond the data");
        self.start += n;
    }

    /// Appends `bytes`.
    ///
    /// # Panics
    /// Where they exceed [`Buf::room`].
    pub fn append(&mut self, bytes: &[u8]) {
        let at = self.end;
        self.set_len(self.len() + bytes.len());
        self.memory[at..self.end].copy_from_slice(bytes);
    }

    /// From here on it can be read by many and written by nobody.
    #[must_use]
    pub fn share(self) -> SharedBuf {
        SharedBuf(Arc::new(self))
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        let memory = core::mem::take(&mut self.memory);
        self.home.give(memory);
    }
}

/// A buffer that many read and nobody writes. `Clone` counts a reference.
#[derive(Clone, Debug)]
pub struct SharedBuf(Arc<Buf>);

impl SharedBuf {
    /// The data.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.0.data()
    }

    /// Length of the data in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both are handles to one buffer.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The buffer back for writing, where this was the only handle.
    pub fn try_unshare(self) -> Result<Buf, Self> {
        Arc::try_unwrap(self.0).map_err(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exhausted_pool_says_so_and_recovers() {
        let pool = Pool::new(2, 0);
        let (a, b) = (pool.get(10), pool.get(SMALL));
        assert!(a.is_some() && b.is_some());
        assert!(pool.get(1).is_none());
        assert!(
            pool.get(SMALL + 1).is_none(),
            "no large buffers were allowed"
        );
        drop(a);
        assert!(pool.get(1).is_some());
    }

    #[test]
    fn the_last_handle_returns_the_memory_from_any_thread() {
        let pool = Pool::new(1, 0);
        let shared = pool.get(4).map(|mut buf| {
            buf.append(b"data");
            buf.share()
        });
        let other = shared.clone();
        std::thread::spawn(move || drop(other)).join().unwrap();
        assert!(pool.get(1).is_none());
        drop(shared);
        assert_eq!(pool.in_use(), (0, 0));
        assert!(pool.get(1).is_some());
    }

    #[test]
    fn headroom_takes_headers_in_place() {
        let pool = Pool::new(1, 0);
        let mut buf = pool.get(4).unwrap();
        buf.append(b"data");
        buf.push_front(3).copy_from_slice(b"hdr");
        assert_eq!(buf.data(), b"hdrdata");
        buf.pop_front(3);
        assert_eq!(buf.data(), b"data");
    }
}
