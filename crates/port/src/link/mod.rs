//! Link state by an rtnetlink socket of our own (rtnetlink(7)), in the worker's poll set.
//!
//! A pulled link gives no send error, so this is how its fall becomes known.

mod message;
mod prober;

use std::collections::BTreeSet;
use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::sys;
use message::{Message, get_link, messages};
pub use prober::{Heard, LinkProber};

/// Bytes per read: the most that the kernel puts into one piece of a dump
/// (net/netlink/af_netlink.c); a notification is far smaller.
const READ: usize = 32 * 1024;

/// Asked for the socket: thousands of notifications between two steps of the worker.
const BUFFER: usize = 4 << 20;

/// A link's state as it now is; not only when it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// The interface.
    pub ifindex: u32,
    /// It is set up, has a carrier, and its queue is at work (IFF_UP, IFF_LOWER_UP, IFF_RUNNING).
    pub up: bool,
    /// It was deleted, or left this network namespace, for good.
    pub deleted: bool,
}

/// Hears of every link of the network namespace in which it was opened.
///
/// It starts with the state of all of them. When the kernel had to drop notifications, it asks
/// for all of them anew, so that no state is missed, only changes that were undone meanwhile.
#[derive(Debug)]
pub struct LinkMonitor {
    socket: OwnedFd,
    buffer: Box<[u8]>,
    known: BTreeSet<u32>,
    /// Interfaces that the dump under way, or a notification since it began, has named.
    dump: Option<BTreeSet<u32>>,
    stale: bool,
    overflows: u64,
}

impl LinkMonitor {
    /// Opens the socket in the calling thread's network namespace and asks for all links.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Self> {
        Self::with_buffer(BUFFER)
    }

    /// As [`LinkMonitor::open`], with about `bytes` of notifications before the kernel drops some.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn with_buffer(bytes: usize) -> io::Result<Self> {
        let mut monitor = Self {
            socket: netlink(libc::RTMGRP_LINK as u32, bytes)?,
            buffer: vec![0; READ].into_boxed_slice(),
            known: BTreeSet::new(),
            dump: None,
            stale: true,
            overflows: 0,
        };
        monitor.resync()?;
        Ok(monitor)
    }

    /// The descriptor to wait for.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Times that the kernel had to drop notifications.
    #[must_use]
    pub const fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Appends what came since the last call.
    pub fn poll(&mut self, out: &mut Vec<LinkEvent>) {
        loop {
            let len = match read(&self.socket, &mut self.buffer) {
                Ok(len) => len,
                Err(libc::EINTR) => continue,
                Err(libc::ENOBUFS) => {
                    self.overflows += 1;
                    self.stale = true;
                    continue;
                }
                // EAGAIN. A netlink socket has no other errors to stay with.
                Err(_) => break,
            };
            for message in messages(&self.buffer[..len]) {
                match message {
                    Message::Link(link) => {
                        if link.deleted {
                            self.known.remove(&link.ifindex);
                        } else {
                            self.known.insert(link.ifindex);
                        }
                        if let Some(dump) = &mut self.dump {
                            dump.insert(link.ifindex);
                        }
                        out.push(link);
                    }
                    Message::Interrupted => self.stale = true,
                    Message::Done => {
                        // What was known and is not there any more went unheard.
                        let Some(dump) = self.dump.take() else {
                            continue;
                        };
                        if self.stale {
                            continue;
                        }
                        let gone: Vec<u32> = self.known.difference(&dump).copied().collect();
                        for ifindex in gone {
                            self.known.remove(&ifindex);
                            out.push(LinkEvent {
                                ifindex,
                                up: false,
                                deleted: true,
                            });
                        }
                    }
                    Message::Error(_) => {
                        // The dump was refused (EBUSY: another one is under way).
                        self.dump = None;
                        self.stale = true;
                    }
                }
            }
        }
        // Where the request itself fails, the next poll asks again.
        let _ = self.resync();
    }

    /// Asks for all links, if that is due and no answer is under way.
    fn resync(&mut self) -> io::Result<()> {
        if self.stale && self.dump.is_none() {
            request(&self.socket, 0, libc::NLM_F_DUMP)?;
            self.stale = false;
            self.dump = Some(BTreeSet::new());
        }
        Ok(())
    }
}

/// The state of one link now.
///
/// Asking makes the kernel look at the carrier itself, and tell everyone, before its own
/// rate-limited watch would; see [`LinkProber`].
///
/// # Errors
/// ENODEV where no such interface is in the calling thread's network namespace.
pub fn query(ifindex: u32) -> io::Result<LinkEvent> {
    ask(&netlink(0, BUFFER)?, ifindex, &mut vec![0; READ])
}

fn ask(socket: &OwnedFd, ifindex: u32, buffer: &mut [u8]) -> io::Result<LinkEvent> {
    request(socket, ifindex, 0)?;
    // The kernel answers within the request's own system call.
    loop {
        let len = match read(socket, buffer) {
            Ok(len) => len,
            Err(libc::EINTR) => continue,
            Err(errno) => return Err(io::Error::from_raw_os_error(errno)),
        };
        for message in messages(&buffer[..len]) {
            match message {
                Message::Link(link) if link.ifindex == ifindex => return Ok(link),
                Message::Error(errno) => return Err(io::Error::from_raw_os_error(errno)),
                Message::Link(_) | Message::Done | Message::Interrupted => {}
            }
        }
    }
}

fn netlink(groups: u32, bytes: usize) -> io::Result<OwnedFd> {
    let socket = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    let fd = socket.as_raw_fd();
    sys::socket_buffer(fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, bytes)?;
    // SAFETY: a sockaddr_nl is integers; all zero is a value of it.
    let mut address: libc::sockaddr_nl = unsafe { MaybeUninit::zeroed().assume_init() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = groups;
    sys::bind(fd, &address)?;
    Ok(socket)
}

/// Sends RTM_GETLINK.
fn request(socket: &OwnedFd, ifindex: u32, flags: c_int) -> io::Result<()> {
    let message = get_link(ifindex, flags);
    // SAFETY: `message` is readable memory of the stated length.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            message.as_ptr().cast(),
            message.len(),
            0,
        )
    };
    sys::check(sent)
        .map(|_| ())
        .map_err(io::Error::from_raw_os_error)
}

/// Reads one datagram of the kernel's; those of other processes are read as empty.
fn read(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, c_int> {
    // SAFETY: a sockaddr_nl is integers; all zero is a value of it.
    let mut from: libc::sockaddr_nl = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut from_len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: `buffer` and `from` are writable memory of the stated lengths.
    let len = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
            (&raw mut from).cast(),
            &raw mut from_len,
        )
    };
    let len = sys::check(len)?;
    Ok(if from.nl_pid == 0 { len } else { 0 })
}
