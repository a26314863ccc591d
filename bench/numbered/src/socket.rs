//! UDP sockets and the system calls that move many packets at once.

use std::{
    io,
    mem::{size_of, size_of_val, zeroed},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd,
};

/// Packets per system call.
pub const BATCH: usize = 64;
/// Asked of the kernel for what waits to be read: a second of 100,000 small packets.
const RECEIVE_BUFFER: libc::c_int = 128 << 20;
/// Asked of the kernel for what waits to be sent.
const SEND_BUFFER: libc::c_int = 8 << 20;
/// The place of the drops in what SO_MEMINFO tells (linux/sock_diag.h, SK_MEMINFO_DROPS), and how
/// many places there are.
const MEMINFO_DROPS: usize = 8;
const MEMINFO: usize = 9;

pub fn set<T>(socket: &UdpSocket, level: i32, name: i32, value: T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which lives through the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<T>() as u32,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A socket that receives on a port of every address; the kernel stamps what comes.
pub fn listen(port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    set(
        &socket,
        libc::SOL_SOCKET,
        libc::SO_RCVBUFFORCE,
        RECEIVE_BUFFER,
    )?;
    set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1_i32)?;
    Ok(socket)
}

/// A socket that sends to one address.
pub fn connect(to: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    set(&socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER)?;
    socket.connect(to)?;
    Ok(socket)
}

/// Packets that the socket had no room for.
pub fn drops(socket: &UdpSocket) -> io::Result<u32> {
    let mut info = [0_u32; MEMINFO];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` is writable memory of the stated length.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info[MEMINFO_DROPS])
}

/// Sends payloads by one system call; answers how many the kernel took.
pub fn send_batch(socket: &UdpSocket, payloads: &mut [Vec<u8>]) -> io::Result<usize> {
    let mut vectors: Vec<libc::iovec> = payloads
        .iter_mut()
        .map(|payload| libc::iovec {
            iov_base: payload.as_mut_ptr().cast(),
            iov_len: payload.len(),
        })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = vectors
        .iter_mut()
        .map(|vector| {
            // SAFETY: an mmsghdr is pointers and integers; all zero is a value of it.
            let mut message: libc::mmsghdr = unsafe { zeroed() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    // SAFETY: each message points to a vector and each vector to a payload; all of them live
    // through the call.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            messages.len() as u32,
            0,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Room for the packets of one system call.
pub struct Landing {
    buffers: Vec<[u8; 2048]>,
    controls: Vec<[u64; 8]>,
}

impl Landing {
    pub fn new() -> Self {
        Self {
            buffers: vec![[0; 2048]; BATCH],
            controls: vec![[0; 8]; BATCH],
        }
    }

    /// Takes what waits, without waiting: gives each payload and when the kernel had it, in
    /// nanoseconds of CLOCK_REALTIME.
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        mut each: impl FnMut(&[u8], u64),
    ) -> io::Result<usize> {
        let mut vectors: Vec<libc::iovec> = self
            .buffers
            .iter_mut()
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = vectors
            .iter_mut()
            .zip(&mut self.controls)
            .map(|(vector, control)| {
                // SAFETY: an mmsghdr is pointers and integers; all zero is a value of it.
                let mut message: libc::mmsghdr = unsafe { zeroed() };
                message.msg_hdr.msg_iov = vector;
                message.msg_hdr.msg_iovlen = 1;
                message.msg_hdr.msg_control = control.as_mut_ptr().cast();
                message.msg_hdr.msg_controllen = size_of_val(control);
                message
            })
            .collect();
        // SAFETY: each message points to a vector and a control buffer, and each vector to a
        // buffer; all of them live through the call.
        let came = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(came) = usize::try_from(came) else {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::WouldBlock {
                return Ok(0);
            }
            return Err(error);
        };
        for (message, buffer) in messages[..came].iter().zip(&self.buffers) {
            let len = (message.msg_len as usize).min(buffer.len());
            each(&buffer[..len], stamp(&message.msg_hdr));
        }
        Ok(came)
    }
}

/// When the kernel had a packet, of its control messages; 0 where they do not say.
fn stamp(header: &libc::msghdr) -> u64 {
    // SAFETY: the kernel filled the control buffer, which lives, and its length; the macros walk
    // within it. A timespec may lie unaligned there, so it is read as such.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_SOCKET
                && (*control).cmsg_type == libc::SCM_TIMESTAMPNS
            {
                let at: libc::timespec = libc::CMSG_DATA(control)
                    .cast::<libc::timespec>()
                    .read_unaligned();
                return at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64;
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    0
}
