//! The loop between two ends.

use std::{io, os::fd::RawFd};

use crate::work::{Way, Work};

/// Frames per direction and turn.
pub const BATCH: usize = 32;

/// virtio-net header, Ethernet with two VLAN tags, and the largest IP packet.
pub const FRAME: usize = 10 + 14 + 8 + 65535;

/// A batch of frames, each behind its virtio-net header.
pub struct Batch {
    /// The memory of frame `i`.
    pub frames: Vec<Box<[u8]>>,
    /// Bytes in frame `i`; as many entries as there are frames.
    pub lengths: Vec<usize>,
}

impl Batch {
    pub fn new() -> Self {
        Self {
            frames: (0..BATCH)
                .map(|_| vec![0; FRAME].into_boxed_slice())
                .collect(),
            lengths: Vec::with_capacity(BATCH),
        }
    }
}

/// One side of the pump.
pub trait End {
    /// The descriptor to wait for.
    fn fd(&self) -> RawFd;
    /// Fills `batch` with what is there; no frames when nothing is.
    fn receive(&mut self, batch: &mut Batch) -> io::Result<()>;
    /// Passes all frames of `batch` on. What the device refuses is lost, as on any wire.
    fn send(&mut self, batch: &Batch) -> io::Result<()>;
}

/// Passes frames both ways until an end fails.
pub fn pump(mut first: impl End, mut second: impl End, mut work: impl Work) -> io::Result<()> {
    let mut batch = Batch::new();
    let mut waiting = [first.fd(), second.fd()].map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    loop {
        // SAFETY: `waiting` is an array of two pollfds and lives through the call.
        if unsafe { libc::poll(waiting.as_mut_ptr(), 2, -1) } < 0 {
            return Err(io::Error::last_os_error());
        }
        loop {
            let moved = pass(&mut first, &mut second, &mut batch, &mut work, Way::Out)?
                + pass(&mut second, &mut first, &mut batch, &mut work, Way::In)?;
            if moved == 0 {
                break;
            }
        }
    }
}

fn pass(
    from: &mut impl End,
    to: &mut impl End,
    batch: &mut Batch,
    work: &mut impl Work,
    way: Way,
) -> io::Result<usize> {
    batch.lengths.clear();
    from.receive(batch)?;
    if !batch.lengths.is_empty() {
        to.send(work.turn(batch, way))?;
    }
    Ok(batch.lengths.len())
}

/// Whether a frame was lost to a device that is full, down or has no use for it, which a wire
/// may do too, and not to a fault of the pump.
pub fn lost_on_the_way(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EAGAIN
                | libc::ENOBUFS
                | libc::ENETDOWN
                | libc::EINVAL
                | libc::EMSGSIZE
                | libc::EIO
        )
    )
}
