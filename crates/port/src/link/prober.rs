//! Makes the kernel say in time that a carrier fell.
//!
//! The kernel's link watch tells of a fallen carrier at most once a second, for all interfaces of
//! the host together (net/core/link_watch.c, LW_URGENT is for rises only): after one fall, the next
//! is heard up to a second later (seen on 6.18: 1.02 s). But RTM_GETLINK first brings the asked
//! link's state up to date and notifies everyone (linkwatch_sync_dev). So somebody has to ask.
//! The one who asks waits for the kernel's configuration lock, and so is a thread of its own:
//! the worker hears the answer by its [`LinkMonitor`](super::LinkMonitor).
//!
//! A link on which frames arrive is up. It is asked for once none have come for a while, so that
//! questions do not take from the processors what traffic needs.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use esprit_packet::Time;

use super::{BUFFER, READ, ask, netlink};

#[derive(Debug, Default)]
struct Wanted {
    links: BTreeMap<u32, Watched>,
    stop: bool,
}

/// A link that is watched.
#[derive(Debug, Default)]
struct Watched {
    heard: Heard,
    /// Turns since a frame was heard.
    silent: u32,
}

/// Says that frames arrive on a link: the one who reads them has it.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<AtomicBool>);

impl Heard {
    /// Frames arrived.
    pub fn set(&self) {
        // Mostly it is set already; only a write would take the line from the other thread.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Watched {
    /// Whether to ask in this turn: in the first that was silent, and in every second one from then
    /// on. There are two in a span: so a fall is found within the span, wherever in it the last
    /// frame was heard.
    fn is_due(&mut self) -> bool {
        if self.heard.take() {
            self.silent = 0;
            return false;
        }
        self.silent = self.silent.wrapping_add(1);
        self.silent % 2 == 1
    }
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
    /// some 80 µs per question it costs most of a percent of a core per link that is silent.
    pub const EVERY: Time = Time::from_millis(10);

    /// Starts the thread, in the calling thread's network namespace; each watched link that is silent
    /// is asked for once per span `every`. The thread begins with `first`: how it stands to other threads is for
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
                run(&for_thread, &socket, Duration::from_nanos(every.0 / 2));
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Asks for this link too, from now on and until it is gone, while nobody says that frames
    /// arrive.
    pub fn watch(&self, ifindex: u32) -> Heard {
        let watched = Watched::default();
        let heard = watched.heard.clone();
        self.shared.lock().links.insert(ifindex, watched);
        self.shared.changed.notify_one();
        heard
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

fn run(shared: &Shared, socket: &std::os::fd::OwnedFd, turn: Duration) {
    let mut buffer = vec![0; READ];
    let mut wanted = shared.lock();
    while !wanted.stop {
        let due = wanted
            .links
            .iter_mut()
            .filter_map(|(&ifindex, link)| link.is_due().then_some(ifindex));
        let links: Vec<u32> = due.collect();
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
            let waited = shared.changed.wait_timeout(wanted, turn);
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_asked_for_once_it_falls_silent_and_then_in_every_second_turn() {
        let mut link = Watched::default();
        let due = |link: &mut Watched| [(); 5].map(|()| link.is_due());
        assert_eq!(due(&mut link), [true, false, true, false, true]);
        for _ in 0..3 {
            link.heard.set();
            assert!(!link.is_due());
        }
        assert_eq!(due(&mut link), [true, false, true, false, true]);
    }
}
