//! An eventfd: how an engine's thread wakes the worker that sleeps, and the worker Python.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use esprit_crypto::Wake;
use rustix::event::{EventfdFlags, eventfd};

/// A counter in the kernel that makes a descriptor readable.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A new one, not blocking, closed on exec.
    ///
    /// # Errors
    /// What eventfd(2) answers, for instance when the process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(
            0,
            EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC,
        )?))
    }

    /// Makes it unreadable again.
    pub fn clear(&self) {
        // Nothing to read means that it is unreadable already.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Wake for EventFd {
    fn wake(&self) {
        // A full counter answers EAGAIN: it is readable then, which is all that is wanted.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::time::Timespec;

    fn readable(fd: &EventFd) -> bool {
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).unwrap() == 1
    }

    #[test]
    fn it_is_readable_from_wake_to_clear() {
        let fd = EventFd::new().unwrap();
        assert!(!readable(&fd));
        fd.wake();
        fd.wake();
        assert!(readable(&fd));
        fd.clear();
        assert!(!readable(&fd));
    }
}
