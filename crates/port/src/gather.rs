//! Frames as the kernel wants them for gathering writes: per frame a `msghdr` over an array of
//! `iovec`, first the virtio-net header, then the frame's head and the slices of its body.
//!
//! The arrays are kept from call to call, so a batch costs no allocation.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use esprit_packet::{TxFrame, VnetHdr};

use crate::sys;

/// Frames per system call, as `recvmmsg` and `sendmmsg` of the measurements had it; beyond that
/// the call's own cost no longer shows.
pub const BATCH: usize = 32;

/// Pieces that the kernel takes per frame (UIO_MAXIOV, linux/uio.h).
const MAX_PIECES: usize = 1024;

/// Arrays for one batch of frames to send.
#[derive(Default)]
pub struct Gather {
    headers: Vec<[u8; VnetHdr::LEN]>,
    pieces: Vec<libc::iovec>,
    /// Where in `pieces` each frame ends.
    ends: Vec<usize>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers within are used only by the calls of `Filled`, which borrows the frames they
// point into; between two calls they are dead numbers, on whatever thread.
unsafe impl Send for Gather {}

impl std::fmt::Debug for Gather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its content is dead between two calls.
        f.write_str("Gather")
    }
}

/// A batch whose pointers are valid: it borrows the frames and the arrays.
pub struct Filled<'a> {
    gather: &'a mut Gather,
}

fn piece(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

impl Gather {
    /// Lays out `frames`, at most [`BATCH`] of them.
    pub fn fill<'a>(&'a mut self, frames: impl Iterator<Item = &'a TxFrame> + Clone) -> Filled<'a> {
        let frames = frames.take(BATCH);
        self.headers.clear();
        self.pieces.clear();
        self.ends.clear();
        self.messages.clear();
        // All headers before the first pointer to one: the array does not move any more.
        self.headers
            .extend(frames.clone().map(|frame| frame.vnet.emit()));
        for (header, frame) in self.headers.iter().zip(frames) {
            self.pieces.push(piece(header));
            if !frame.head.is_empty() {
                self.pieces.push(piece(&frame.head));
            }
            self.pieces.extend(
                frame
                    .body
                    .parts()
                    .filter(|part| !part.is_empty())
                    .map(piece),
            );
            self.ends.push(self.pieces.len());
        }
        let mut start = 0;
        for &end in &self.ends {
            // SAFETY: an mmsghdr is integers and pointers; all zero is a value of it.
            let mut message: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
            message.msg_hdr.msg_iov = self.pieces[start..].as_mut_ptr();
            // More pieces than the kernel takes stay as they are: it answers EMSGSIZE.
            message.msg_hdr.msg_iovlen = (end - start) as _;
            self.messages.push(message);
            start = end;
        }
        Filled { gather: self }
    }
}

impl Filled<'_> {
    /// Frames in the batch.
    pub fn len(&self) -> usize {
        self.gather.ends.len()
    }

    /// Sends frames `at..` on a socket and returns how many went.
    pub fn send_messages(&mut self, fd: RawFd, at: usize) -> Result<usize, c_int> {
        let messages = &mut self.gather.messages[at..];
        // SAFETY: each message's iov array lies in `gather.pieces`, whose entries point at the
        // headers in `gather` and at the frames; all are borrowed by `self`. The kernel only reads.
        check_sent(unsafe {
            libc::sendmmsg(
                fd,
                messages.as_mut_ptr(),
                messages.len() as _,
                libc::MSG_DONTWAIT,
            )
        })
    }

    /// Writes frame `at` to a character device.
    pub fn write(&mut self, fd: RawFd, at: usize) -> Result<(), c_int> {
        let start = if at == 0 { 0 } else { self.gather.ends[at - 1] };
        let pieces = &self.gather.pieces[start..self.gather.ends[at]];
        if pieces.len() > MAX_PIECES {
            return Err(libc::EMSGSIZE);
        }
        // SAFETY: `pieces` point at the headers in `gather` and at the frames, borrowed by `self`.
        let written = unsafe { libc::writev(fd, pieces.as_ptr(), pieces.len() as c_int) };
        sys::check(written).map(|_| ())
    }
}

fn check_sent(returned: c_int) -> Result<usize, c_int> {
    sys::check(returned as isize)
}
