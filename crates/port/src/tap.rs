//! The virtual NIC: a TAP device with virtio-net headers, so that the host stack gives and takes
//! super-frames of up to 64 KiB (linux/if_tun.h, Documentation/networking/tuntap.rst).

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use esprit_packet::buf::{LARGE, SMALL};
use esprit_packet::{Buf, Pool, RxFrame, TxFrame, VnetHdr};

use crate::counters::{PortCounters, TxDrop};
use crate::gather::Gather;
use crate::{Port, PortError, device, sys};

const DEVICE: &str = "/dev/net/tun";

/// `struct ethhdr`: what a frame has at least.
const ETHERNET: usize = 14;

/// IFF_TUN_EXCL (linux/if_tun.h): make a device, do not attach to one that exists.
const IFF_TUN_EXCL: i32 = 0x8000;

/// What the host stack may leave to us, as TUNSETOFFLOAD takes it (linux/if_tun.h, TUN_F_*).
const OFFLOADS: [(u32, &str); 6] = [
    (0x01, "csum"),
    (0x02, "tso4"),
    (0x04, "tso6"),
    (0x08, "tso-ecn"),
    (0x20, "uso4"),
    (0x40, "uso6"),
];

/// Sets of [`OFFLOADS`] to be tried, best first: kernels before 6.2 refuse USO.
const TRIES: [u32; 3] = [0x6f, 0x0f, 0x01];

/// How to make a TAP device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapOptions {
    /// Attach to a device of that name where there is one, as our own state says it is ours;
    /// otherwise a device that exists is an error.
    pub adopt: bool,
    /// The device outlives this process: after a crash the host's route stays on it, and its
    /// traffic goes nowhere, instead of out of another NIC in clear.
    pub persist: bool,
}

/// Why there is no TAP device.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The name is empty, too long (15 bytes), or holds a byte that no name has.
    #[error("{0:?} is not a name for an interface")]
    Name(String),
    /// The name is taken, by another interface or by another process's TAP.
    #[error("{0} exists already, or another process holds it")]
    Taken(String),
    /// The process may not make one.
    #[error("making {0} needs CAP_NET_ADMIN")]
    NotPermitted(String),
    /// A step failed.
    #[error("{step} for {name}: {source}")]
    System {
        /// The device.
        name: String,
        /// The step.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The virtual NIC of a team.
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: String,
    ifindex: u32,
    adopted: bool,
    offloads: u32,
    landing: Option<Buf>,
    gather: Gather,
    counters: PortCounters,
}

impl Tap {
    /// Makes the TAP device `name` in the calling thread's network namespace, or adopts it.
    ///
    /// # Errors
    /// [`TapError`]; a device that this call made is gone again then.
    pub fn create(name: &str, options: TapOptions) -> Result<Self, TapError> {
        let mut request = sys::ifreq(name).map_err(|_| TapError::Name(name.to_owned()))?;
        let fail = |step| {
            move |source: io::Error| TapError::System {
                name: name.to_owned(),
                step,
                source,
            }
        };
        let adopted = options.adopt && device::ifindex(name).is_ok();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(DEVICE)
            .map_err(fail("opening /dev/net/tun"))?;
        let exclusive = if options.adopt { 0 } else { IFF_TUN_EXCL };
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | exclusive;
        // The flags are 16 bits wide and IFF_TUN_EXCL is the highest: the sign is of no meaning.
        request.ifr_ifru.ifru_flags = flags as i16;
        sys::ioctl_ifreq(&file, libc::TUNSETIFF, &mut request).map_err(|source| {
            match source.raw_os_error() {
                Some(libc::EBUSY | libc::EEXIST) => TapError::Taken(name.to_owned()),
                Some(libc::EPERM) => TapError::NotPermitted(name.to_owned()),
                _ => fail("TUNSETIFF")(source),
            }
        })?;
        set_by_address(&file, libc::TUNSETVNETHDRSZ, VnetHdr::LEN as i32)
            .map_err(fail("TUNSETVNETHDRSZ"))?;
        let offloads = set_offloads(&file).map_err(fail("TUNSETOFFLOAD"))?;
        set_by_value(&file, libc::TUNSETPERSIST, options.persist.into())
            .map_err(fail("TUNSETPERSIST"))?;
        let ifindex = device::ifindex(name).map_err(fail("SIOCGIFINDEX"))?;
        Ok(Self {
            file,
            name: name.to_owned(),
            ifindex,
            adopted,
            offloads,
            landing: None,
            gather: Gather::default(),
            counters: PortCounters::default(),
        })
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's index.
    #[must_use]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Whether the device was there before.
    #[must_use]
    pub const fn adopted(&self) -> bool {
        self.adopted
    }

    /// What the host stack leaves to us, by the kernel's short names: `csum`, `tso4`, `tso6`,
    /// `tso-ecn`, and `uso4`, `uso6` where the kernel has them.
    #[must_use]
    pub fn offloads(&self) -> Vec<&'static str> {
        OFFLOADS
            .iter()
            .filter(|(bit, _)| self.offloads & bit != 0)
            .map(|&(_, name)| name)
            .collect()
    }

    /// Says whether the device outlives this process.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_persist(&self, persist: bool) -> io::Result<()> {
        set_by_value(&self.file, libc::TUNSETPERSIST, persist.into())
    }

    /// Removes the device.
    ///
    /// # Errors
    /// What the kernel said; the device is closed, but persists.
    pub fn destroy(self) -> io::Result<()> {
        self.set_persist(false)
    }
}

/// TUNSETVNETHDRSZ and its like point at an int.
fn set_by_address(file: &File, number: u64, value: i32) -> io::Result<()> {
    // SAFETY: the request reads one int, which `value` is.
    if unsafe { libc::ioctl(file.as_raw_fd(), number as _, &raw const value) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// TUNSETOFFLOAD and TUNSETPERSIST take the number itself.
fn set_by_value(file: &File, number: u64, value: u32) -> io::Result<()> {
    // SAFETY: the request takes a number and touches no memory of ours.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), number as _, libc::c_ulong::from(value)) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn set_offloads(file: &File) -> io::Result<u32> {
    let mut last = Ok(0);
    for offloads in TRIES {
        match set_by_value(file, libc::TUNSETOFFLOAD, offloads) {
            Ok(()) => return Ok(offloads),
            Err(error) => last = Err(error),
        }
    }
    last
}

impl Port for Tap {
    fn recv(
        &mut self,
        pool: &Pool,
        out: &mut Vec<RxFrame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let mut received = 0;
        while received < max {
            // Without a landing place the frame is read all the same, into nothing: it would stay
            // in front of all others, and its descriptor readable for ever.
            let mut none = [0; VnetHdr::LEN];
            if self.landing.is_none() {
                self.landing = pool.get(LARGE).map(landing_place);
            }
            let landing = self.landing.as_mut().map_or(&mut none[..], Buf::data_mut);
            let (vnet, len) = match read(&self.file, landing) {
                Ok(frame) => frame,
                Err(libc::EAGAIN) => break,
                Err(libc::EINTR) => continue,
                Err(libc::EBADFD | libc::ENODEV | libc::ENXIO) => return Err(PortError::Gone),
                Err(errno) => return Err(PortError::Io(errno)),
            };
            let room = landing.len() - VnetHdr::LEN;
            if room == 0 {
                self.counters.rx_no_buffer += 1;
                continue;
            }
            // A read that fills the landing place may have lost the frame's end.
            if !(ETHERNET..room).contains(&len) {
                self.counters.rx_bad_length += 1;
                continue;
            }
            let Some(buf) = take(&mut self.landing, len, pool) else {
                self.counters.rx_no_buffer += 1;
                continue;
            };
            self.counters.received(len);
            out.push(RxFrame { vnet, buf });
            received += 1;
        }
        Ok(received)
    }

    fn send(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        stats: &mut PortCounters,
    ) -> Result<usize, PortError> {
        let mut delta = PortCounters::default();
        let mut outcome = Ok(());
        while !frames.is_empty() && outcome.is_ok() {
            let (taken, result) = self.write_batch(frames, &mut delta);
            frames.drain(..taken);
            match result {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => outcome = Err(error),
            }
        }
        self.counters.merge(&delta);
        stats.merge(&delta);
        outcome.map(|()| delta.tx_frames as usize)
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.file.as_raw_fd())
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }
}

impl Tap {
    /// Writes a batch from the front; returns how many frames are done with, and whether the
    /// device takes more.
    fn write_batch(
        &mut self,
        frames: &VecDeque<TxFrame>,
        delta: &mut PortCounters,
    ) -> (usize, Result<bool, PortError>) {
        let fd = self.file.as_raw_fd();
        let mut batch = self.gather.fill(frames.iter());
        let mut at = 0;
        while at < batch.len() {
            match batch.write(fd, at) {
                Ok(()) => delta.sent(&frames[at].vnet, frames[at].len()),
                Err(libc::EINTR) => continue,
                Err(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => {
                    delta.tx_full += 1;
                    return (at, Ok(false));
                }
                // The kernel answers EIO while the device is not up (drivers/net/tun.c).
                Err(libc::EIO | libc::ENETDOWN) => return (at, Err(PortError::Down)),
                Err(libc::EBADFD | libc::ENODEV | libc::ENXIO) => {
                    return (at, Err(PortError::Gone));
                }
                Err(libc::EINVAL) => delta.refused(TxDrop::Invalid),
                Err(libc::EMSGSIZE) => delta.refused(TxDrop::TooBig),
                Err(errno) => {
                    delta.refused(TxDrop::Refused);
                    return (at + 1, Err(PortError::Io(errno)));
                }
            }
            at += 1;
        }
        (at, Ok(true))
    }
}

/// A buffer with room for the largest frame, and before it for the virtio-net header.
fn landing_place(mut buf: Buf) -> Buf {
    buf.set_len(LARGE);
    buf.push_front(VnetHdr::LEN);
    buf
}

/// Reads a frame behind its virtio-net header; the header, and the frame's length.
fn read(mut file: &File, landing: &mut [u8]) -> Result<(VnetHdr, usize), i32> {
    let read = file.read(landing);
    let len = read.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
    let header = landing.first_chunk().ok_or(libc::EIO)?;
    Ok((VnetHdr::parse(header), len.saturating_sub(VnetHdr::LEN)))
}

/// The frame of `len` bytes that lies in `landing`: a small one as a copy in a small buffer, a
/// large one as the landing buffer itself, which is replaced from the pool. `None` where
/// the pool has no buffer for that; the landing buffer is kept then.
fn take(landing: &mut Option<Buf>, len: usize, pool: &Pool) -> Option<Buf> {
    let place = landing.as_mut()?;
    if len <= SMALL {
        let mut buf = pool.get(len)?;
        buf.append(&place.data()[VnetHdr::LEN..][..len]);
        return Some(buf);
    }
    let fresh = landing_place(pool.get(LARGE)?);
    let mut buf = std::mem::replace(place, fresh);
    buf.pop_front(VnetHdr::LEN);
    buf.set_len(len);
    Some(buf)
}
