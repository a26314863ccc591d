//! A TAP device with virtio-net header and every offload on.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
};

use crate::pump::{BATCH, Batch, End, lost_on_the_way};

/// linux/virtio_net.h, `struct virtio_net_hdr` without the merge count.
static HEADER: libc::c_int = 10;
/// linux/if_tun.h: checksum, TSO4, TSO6, TSO with ECN.
const OFFLOADS: libc::c_uint = 0x01 | 0x02 | 0x04 | 0x08;
/// linux/if_tun.h: USO4 and USO6, known to Linux 6.2 and later.
const USO: libc::c_uint = 0x20 | 0x40;

/// The device goes with this value.
pub struct Tap(File);

impl Tap {
    pub fn create(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")?;
        // SAFETY: all-zero bytes are a valid ifreq: integers, and an address of bytes.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.len() >= request.ifr_name.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "interface name too long",
            ));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags =
            (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
        let fd = file.as_raw_fd();
        // SAFETY: TUNSETIFF reads and writes one ifreq, which lives through the call.
        check(unsafe { libc::ioctl(fd, libc::TUNSETIFF, &raw mut request) })?;
        // SAFETY: TUNSETVNETHDRSZ reads one int, which lives through the call.
        check(unsafe { libc::ioctl(fd, libc::TUNSETVNETHDRSZ, &raw const HEADER) })?;
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        let all = unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD, OFFLOADS | USO) };
        if all < 0 {
            // SAFETY: as above.
            check(unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD, OFFLOADS) })?;
        }
        Ok(Self(file))
    }
}

impl End for Tap {
    fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn receive(&mut self, batch: &mut Batch) -> io::Result<()> {
        while batch.lengths.len() < BATCH {
            match self.0.read(&mut batch.frames[batch.lengths.len()]) {
                Ok(length) => batch.lengths.push(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&mut self, batch: &Batch) -> io::Result<()> {
        for (frame, length) in batch.frames.iter().zip(&batch.lengths) {
            match self.0.write(&frame[..*length]) {
                Err(error) if !lost_on_the_way(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
