//! Makes the kernel say in time that a carrier fell.
//!
//! The kernel's link watch tells of a fallen carrier at most once a second, for all interfaces of
//! the host together (net/core/link_watch.c, LW_URGENT is for rises only): after one fall, the next
//! is heard up to a second later (seen on 6.18: 1.02 s). But RTM_GETLINK first brings the asked
//! link's state up to date and notifies everyone (linkwatch_sync_dev). So somebody has to ask.
//! The one who asks waits for the kernel's configuration lock, and so is a thread of its own:
//! the worker hears the answer by its [`LinkMonitor`](super::LinkMonitor).

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use esprit_packet::Time;

use super::{BUFFER, READ, ask, netlink};

#[derive(Debug, Default)]
struct Wanted {
    links: BTreeSet<u32>,
    stop: bool,
}

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        // A panic of another holder leaves a set that is whole: every change is one call.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that asks for the watched links again and again. Dropping it ends the thread.
#[derive(Debug)]
pub struct LinkProber {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LinkProber {
    /// A default for `every`: a fall is known within 10 ms, as by the quickest pollers in use; at
    /// some 25 µs per question it costs a quarter of a percent of a core per link.
    pub const EVERY: Time = Time::from_millis(10);

    /// Starts the thread, in the calling thread's network namespace; each watched link is asked for
    /// once per span `every`. The thread begins with `first`: how it stands to other threads is for
    /// the caller to say.
    ///
    /// # Errors
    /// What the kernel says to a socket or a thread.
    pub fn start(every: Time, first: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let socket = netlink(0, BUFFER)?;
        let shared = Arc::<Shared>::default();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("esprit-links".to_owned())
            .spawn(move || {
                first();
                run(&for_thread, &socket, Duration::from_nanos(every.0));
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Asks for this link too, from now on and until it is gone.
    pub fn watch(&self, ifindex: u32) {
        self.shared.lock().links.insert(ifindex);
        self.shared.changed.notify_one();
    }

    /// Asks for this link no more.
    pub fn unwatch(&self, ifindex: u32) {
        self.shared.lock().links.remove(&ifindex);
    }
}

impl Drop for LinkProber {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It holds nothing that its panic could leave half done.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, socket: &std::os::fd::OwnedFd, every: Duration) {
    let mut buffer = vec![0; READ];
    let mut wanted = shared.lock();
    while !wanted.stop {
        let links: Vec<u32> = wanted.links.iter().copied().collect();
        drop(wanted);
        let mut gone = Vec::new();
        for ifindex in links {
            let answer = ask(socket, ifindex, &mut buffer);
            if answer.is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV)) {
                gone.push(ifindex);
            }
        }
        wanted = shared.lock();
        for ifindex in gone {
            wanted.links.remove(&ifindex);
        }
        wanted = if wanted.stop {
            wanted
        } else if wanted.links.is_empty() {
            shared
                .changed
                .wait(wanted)
                .unwrap_or_else(PoisonError::into_inner)
        } else {
            let waited = shared.changed.wait_timeout(wanted, every);
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
    }
}
