//! What a frame to be sent consists of behind its head: runs of bytes in shared buffers.

use smallvec::SmallVec;

use crate::buf::SharedBuf;
use crate::coalesce::MAX_SEGMENTS;

/// A run of bytes in a shared buffer.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// The buffer.
    pub buf: &'a SharedBuf,
    /// First byte, from the start of the buffer's data.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl<'a> Slice<'a> {
    /// The whole of a buffer.
    #[must_use]
    pub fn whole(buf: &'a SharedBuf) -> Self {
        let end = u32::try_from(buf.len()).unwrap_or(u32::MAX);
        Self { buf, start: 0, end }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        &self.buf.data()[self.start as usize..self.end as usize]
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }
}

/// Runs of bytes, in order. The segments of a super-frame mostly lie in one buffer, which is then held
/// once and not for each.
#[derive(Clone, Debug, Default)]
pub struct Body {
    held: SmallVec<[Held; 1]>,
}

/// A buffer, and the runs of it that follow one another.
#[derive(Clone, Debug)]
struct Held {
    buf: SharedBuf,
    /// First byte, and one past the last.
    runs: SmallVec<[(u32, u32); 2]>,
}

impl From<Slice<'_>> for Held {
    fn from(slice: Slice<'_>) -> Self {
        Self {
            buf: slice.buf.clone(),
            runs: smallvec::smallvec![(slice.start, slice.end)],
        }
    }
}

impl Body {
    /// The whole of a buffer.
    #[must_use]
    pub fn whole(buf: SharedBuf) -> Self {
        let Slice { start, end, .. } = Slice::whole(&buf);
        let runs = smallvec::smallvec![(start, end)];
        Self {
            held: smallvec::smallvec![Held { buf, runs }],
        }
    }

    /// Appends a run.
    #[inline]
    pub fn push(&mut self, slice: Slice<'_>) {
        match self.held.last_mut() {
            Some(held) if held.buf.same(slice.buf) => {
                if held.runs.len() == held.runs.inline_size() {
                    // It has outgrown the frame itself: once, to what it can need.
                    held.runs.reserve_exact(MAX_SEGMENTS - held.runs.len());
                }
                held.runs.push((slice.start, slice.end));
            }
            Some(_) | None => self.held.push(slice.into()),
        }
    }

    /// How many runs.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.held.iter().map(|held| held.runs.len()).sum()
    }

    /// The first run.
    #[must_use]
    pub fn first(&self) -> Option<Slice<'_>> {
        let Held { buf, runs } = self.held.first()?;
        let &(start, end) = runs.first()?;
        Some(Slice { buf, start, end })
    }

    /// The bytes of each run.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.held.iter().flat_map(|Held { buf, runs }| {
            let data = buf.data();
            let part = move |&(start, end): &(u32, u32)| &data[start as usize..end as usize];
            runs.iter().map(part)
        })
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts().map(<[u8]>::len).sum()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Slice<'_>> for Body {
    fn from(slice: Slice<'_>) -> Self {
        Self {
            held: smallvec::smallvec![slice.into()],
        }
    }
}

impl<'a> FromIterator<Slice<'a>> for Body {
    fn from_iter<I: IntoIterator<Item = Slice<'a>>>(slices: I) -> Self {
        let mut body = Self::default();
        slices.into_iter().for_each(|slice| body.push(slice));
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::Pool;

    #[test]
    fn runs_stay_in_order_and_a_buffer_is_held_once_in_a_row() {
        let pool = Pool::new(2, 0);
        let buf = |bytes: &[u8]| {
            let mut buf = pool.get(bytes.len()).unwrap();
            buf.append(bytes);
            buf.share()
        };
        let (a, b) = (buf(b"abcdef"), buf(b"xyz"));
        let slice = |buf, start, end| Slice { buf, start, end };
        let runs = [
            slice(&a, 4, 6),
            slice(&a, 0, 1),
            slice(&a, 2, 2),
            Slice::whole(&b),
            slice(&a, 1, 4),
        ];
        let body: Body = runs.into_iter().collect();
        assert_eq!(body.parts().collect::<Vec<_>>().concat(), b"efaxyzbcd");
        assert_eq!((body.pieces(), body.len()), (5, 9));
        assert_eq!(body.first().map(|slice| slice.bytes()), Some(&b"ef"[..]));
        assert_eq!(body.held.len(), 3);
        drop((a, b));
        assert_eq!(pool.in_use(), (2, 0), "the body holds them");
        drop(body);
        assert_eq!(pool.in_use(), (0, 0));
    }
}
