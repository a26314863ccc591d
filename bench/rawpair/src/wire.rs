//! An AF_PACKET socket with virtio-net header on an existing interface.

use std::{
    ffi::CString,
    io,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr::null_mut,
};

use crate::pump::{BATCH, Batch, End, lost_on_the_way};

/// linux/if_packet.h, `PACKET_IGNORE_OUTGOING`.
const IGNORE_OUTGOING: libc::c_int = 23;
/// Room for two batches of the largest frames; the default holds three.
const SOCKET_BUFFER: libc::c_int = 2 * BATCH as libc::c_int * 2 * 65536;

pub struct Wire(OwnedFd);

impl Wire {
    pub fn open(interface: &str) -> io::Result<Self> {
        let name = CString::new(interface)?;
        // SAFETY: `name` is a string that ends in NUL and lives through the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no interface {interface}"),
            ));
        }
        // Protocol 0 hears nothing until the socket is bound to its interface.
        // SAFETY: socket takes no memory of ours.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was opened just above and belongs to nobody else.
        let wire = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        wire.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        wire.set(libc::SOL_PACKET, IGNORE_OUTGOING, 1)?;
        wire.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, SOCKET_BUFFER)?;
        wire.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SOCKET_BUFFER)?;
        // SAFETY: all-zero bytes are a valid sockaddr_ll: integers and bytes.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index as libc::c_int;
        // SAFETY: the pointer and the length describe `address`, which lives through the call.
        let bound = unsafe {
            libc::bind(
                fd,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(wire)
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the pointer and the length describe `value`, which lives through the call.
        let result = unsafe {
            libc::setsockopt(
                self.fd(),
                level,
                option,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as u32,
            )
        };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

/// Headers and vectors of one batch. They point into the batch, so they live no longer than one
/// call; the kernel reads them before it returns.
struct Messages {
    vectors: [libc::iovec; BATCH],
    headers: [libc::mmsghdr; BATCH],
}

impl Messages {
    fn new() -> Self {
        // SAFETY: all-zero bytes are valid iovecs and mmsghdrs: integers and null pointers.
        unsafe { zeroed() }
    }

    fn set(&mut self, index: usize, base: *const u8, length: usize) {
        self.vectors[index] = libc::iovec {
            iov_base: base.cast_mut().cast(),
            iov_len: length,
        };
        let header = &mut self.headers[index].msg_hdr;
        header.msg_iov = &raw mut self.vectors[index];
        header.msg_iovlen = 1;
    }
}

impl End for Wire {
    fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn receive(&mut self, batch: &mut Batch) -> io::Result<()> {
        let mut messages = Messages::new();
        for (index, frame) in batch.frames.iter_mut().enumerate() {
            messages.set(index, frame.as_mut_ptr(), frame.len());
        }
        // SAFETY: `headers` holds BATCH messages, each with one vector that describes the memory
        // of one frame of `batch`; all of it lives through the call, and the vectors were made
        // from exclusive references.
        let received = unsafe {
            libc::recvmmsg(
                self.fd(),
                messages.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                null_mut(),
            )
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            return if lost_on_the_way(&error) {
                Ok(())
            } else {
                Err(error)
            };
        }
        let filled = messages.headers.iter().take(received as usize);
        batch
            .lengths
            .extend(filled.map(|header| header.msg_len as usize));
        Ok(())
    }

    fn send(&mut self, batch: &Batch) -> io::Result<()> {
        let mut messages = Messages::new();
        for (index, (frame, length)) in batch.frames.iter().zip(&batch.lengths).enumerate() {
            messages.set(index, frame.as_ptr(), *length);
        }
        let mut first = 0;
        while first < batch.lengths.len() {
            let rest = &mut messages.headers[first..batch.lengths.len()];
            // SAFETY: as in `receive`, for the messages from `first` on; the kernel only reads
            // the frames.
            let sent =
                unsafe { libc::sendmmsg(self.fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
            if sent < 0 {
                let error = io::Error::last_os_error();
                if !lost_on_the_way(&error) {
                    return Err(error);
                }
                first += 1;
            } else {
                first += sent as usize;
            }
        }
        Ok(())
    }
}
