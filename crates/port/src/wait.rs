//! One sleep over all descriptors.

use std::os::fd::RawFd;

use esprit_packet::Time;

/// The descriptors of a worker's sleep; reused from sleep to sleep.
///
/// Descriptors go in as numbers, so that the ports can stay borrowed elsewhere: one that is
/// closed meanwhile only ends the sleep early.
#[derive(Debug, Default)]
pub struct Waiter {
    fds: Vec<libc::pollfd>,
}

impl Waiter {
    /// Waits for nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { fds: Vec::new() }
    }

    /// Forgets all descriptors.
    pub fn clear(&mut self) {
        self.fds.clear();
    }

    /// Ends the sleep when `fd` is readable or in error; with `writable`, also when it takes
    /// frames again.
    pub fn add(&mut self, fd: RawFd, writable: bool) {
        self.fds.push(libc::pollfd {
            fd,
            events: libc::POLLIN | if writable { libc::POLLOUT } else { 0 },
            revents: 0,
        });
    }

    /// As [`Waiter::add`], for a descriptor that may not be there, readable only.
    pub fn extend(&mut self, fd: Option<RawFd>) {
        if let Some(fd) = fd {
            self.add(fd, false);
        }
    }

    /// Sleeps until a descriptor is ready or the span `timeout` is over (`None`: no limit), and
    /// returns whether one was. A signal may end the sleep early; the caller's next look finds
    /// nothing then.
    pub fn wait(&mut self, timeout: Option<Time>) -> bool {
        let span = timeout.map(|Time(ns)| libc::timespec {
            tv_sec: libc::time_t::try_from(ns / 1_000_000_000).unwrap_or(libc::time_t::MAX),
            tv_nsec: (ns % 1_000_000_000) as _,
        });
        let span = span
            .as_ref()
            .map_or(std::ptr::null(), |span| &raw const *span);
        // SAFETY: `fds` is an array of as many pollfds as its length says, `span` is null or
        // points at a timespec that outlives the call, and no signal mask is given.
        let ready = unsafe {
            libc::ppoll(
                self.fds.as_mut_ptr(),
                self.fds.len() as libc::nfds_t,
                span,
                std::ptr::null(),
            )
        };
        ready > 0
    }

    /// Whether `fd` ended the last sleep.
    #[must_use]
    pub fn is_ready(&self, fd: RawFd) -> bool {
        self.fds
            .iter()
            .any(|entry| entry.fd == fd && entry.revents != 0)
    }
}

/// Makes the calling thread's sleeps end within a microsecond of their time; the kernel's
/// default lets them be 50 µs late so as to gather wake-ups (prctl(2), PR_SET_TIMERSLACK).
pub fn precise_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes a number and touches no memory of ours. It can fail only for
    // an unknown option; then sleeps are as late as before.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_descriptor_that_is_ready_ends_the_sleep() {
        let (mut a, b) = UnixStream::pair().unwrap();
        let (quiet, _other) = UnixStream::pair().unwrap();
        let mut waiter = Waiter::new();
        waiter.add(b.as_raw_fd(), false);
        waiter.add(quiet.as_raw_fd(), false);
        assert!(!waiter.wait(Some(Time::ZERO)), "nothing is readable yet");
        a.write_all(b"x").unwrap();
        assert!(waiter.wait(None));
        assert!(waiter.is_ready(b.as_raw_fd()) && !waiter.is_ready(quiet.as_raw_fd()));
        waiter.clear();
        waiter.add(quiet.as_raw_fd(), true);
        assert!(waiter.wait(None), "it takes bytes");
    }
}
