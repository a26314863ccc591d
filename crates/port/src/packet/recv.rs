//! Receiving: one `recvmmsg` per batch into landing buffers that stay with the port.

use std::ffi::c_int;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::AsRawFd;

use esprit_packet::buf::{HEADROOM, LARGE, SMALL};
use esprit_packet::{Buf, Pool, RxFrame, VnetHdr};

use super::{PacketPort, STATISTICS_EVERY, vlan};
use crate::PortError;
use crate::gather::BATCH;
use crate::sys;

/// `struct ethhdr`: what a frame has at least.
const ETHERNET: usize = 14;

const _: () = assert!(vlan::TAG <= HEADROOM, "a tag is put back in front");

/// Room for one control message with `tpacket_auxdata`: CMSG_SPACE(20) = 40, in whole words for
/// its alignment.
type Control = [u64; 5];

const _: () = assert!(
    size_of::<libc::cmsghdr>() + size_of::<libc::tpacket_auxdata>() <= size_of::<Control>()
);

/// Where frames land, and the arrays that tell the kernel so.
#[derive(Default)]
pub struct Landing {
    /// Large buffers with [`LARGE`] bytes of data.
    buffers: Vec<Buf>,
    headers: Vec<[u8; VnetHdr::LEN]>,
    controls: Vec<Control>,
    pieces: Vec<[libc::iovec; 2]>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers in `pieces` and `messages` are written anew by `receive` before each call
// that follows them, from vectors and buffers that this struct owns; between two calls they
// are dead numbers, on whatever thread.
unsafe impl Send for Landing {}

impl Landing {
    /// Takes buffers until there are `want`, or as many as the pool gives.
    fn stock(&mut self, want: usize, pool: &Pool) {
        while self.buffers.len() < want
            && let Some(mut buf) = pool.get(LARGE)
        {
            buf.set_len(LARGE);
            self.buffers.push(buf);
            self.headers.push([0; VnetHdr::LEN]);
            self.controls.push([0; 5]);
            self.pieces.push([EMPTY; 2]);
            // SAFETY: an mmsghdr is integers and pointers; all zero is a value of it.
            self.messages
                .push(unsafe { MaybeUninit::zeroed().assume_init() });
        }
    }

    /// Receives at most `want` frames into the first places; returns how many came.
    fn receive(&mut self, fd: c_int, want: usize) -> Result<usize, c_int> {
        let want = want.min(self.buffers.len());
        for at in 0..want {
            let data = self.buffers[at].data_mut();
            self.pieces[at] = [piece(&mut self.headers[at]), piece(data)];
            let header = &mut self.messages[at].msg_hdr;
            header.msg_iov = self.pieces[at].as_mut_ptr();
            header.msg_iovlen = 2;
            header.msg_control = self.controls[at].as_mut_ptr().cast();
            header.msg_controllen = size_of::<Control>() as _;
            header.msg_flags = 0;
        }
        // SAFETY: the first `want` messages were set up above and point at memory that `self` owns
        // and that nothing else touches during the call; lengths are those of that memory.
        let received = unsafe {
            libc::recvmmsg(
                fd,
                self.messages.as_mut_ptr(),
                want as _,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        sys::check(received as isize)
    }

    /// The frame that landed at `at`, tag put back; the place has a buffer again.
    fn take(&mut self, at: usize, pool: &Pool) -> Result<RxFrame, Loss> {
        let message = &self.messages[at];
        let len = (message.msg_len as usize).saturating_sub(VnetHdr::LEN);
        let cut = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        if cut || !(ETHERNET..=LARGE).contains(&len) {
            return Err(Loss::BadLength);
        }
        let tag = self.auxdata(at).as_ref().and_then(vlan::tag);
        let mut vnet = VnetHdr::parse(&self.headers[at]);
        let mut buf = if len <= SMALL {
            let mut buf = pool.get(len).ok_or(Loss::NoBuffer)?;
            buf.append(&self.buffers[at].data()[..len]);
            buf
        } else {
            let mut fresh = pool.get(LARGE).ok_or(Loss::NoBuffer)?;
            fresh.set_len(LARGE);
            let mut buf = std::mem::replace(&mut self.buffers[at], fresh);
            buf.set_len(len);
            buf
        };
        if let Some(tag) = tag {
            vlan::insert(&mut buf, &mut vnet, tag);
        }
        Ok(RxFrame { vnet, buf })
    }

    /// What the kernel said beside frame `at`.
    fn auxdata(&self, at: usize) -> Option<libc::tpacket_auxdata> {
        let header = &self.messages[at].msg_hdr;
        // SAFETY: the kernel filled `msg_control`, which still points at `controls[at]`, and set
        // `msg_controllen` to what it wrote; CMSG_FIRSTHDR gives null where that is no header.
        let message = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
        let whole = size_of::<libc::cmsghdr>() + size_of::<libc::tpacket_auxdata>();
        if (message.cmsg_level, message.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA)
            || (message.cmsg_len as usize) < whole
        {
            return None;
        }
        // SAFETY: the message is as long as a header and a tpacket_auxdata, and lies in a `Control`,
        // which has room for both; any bytes are a value of it.
        Some(unsafe {
            libc::CMSG_DATA(message)
                .cast::<libc::tpacket_auxdata>()
                .read_unaligned()
        })
    }
}

const EMPTY: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

fn piece(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }
}

/// Why a frame that the kernel gave is not handed on.
enum Loss {
    BadLength,
    NoBuffer,
}

impl PacketPort {
    pub(super) fn receive(
        &mut self,
        pool: &Pool,
        out: &mut Vec<RxFrame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let fd = self.socket.as_raw_fd();
        let mut received = 0;
        // ENETDOWN may be an old one; what it means shows in the second.
        let mut found_down = false;
        while received < max {
            let want = (max - received).min(BATCH);
            self.landing.stock(want, pool);
            let want = want.min(self.landing.buffers.len());
            if want == 0 {
                // Nowhere to put it, and left where it is it would keep the socket readable.
                match discard(fd) {
                    Ok(()) => self.counters.rx_no_buffer += 1,
                    Err(errno) => {
                        if !self.goes_on(errno, &mut found_down)? {
                            break;
                        }
                    }
                }
                continue;
            }
            let got = match self.landing.receive(fd, want) {
                Ok(got) => got,
                Err(errno) => {
                    if self.goes_on(errno, &mut found_down)? {
                        continue;
                    }
                    break;
                }
            };
            self.was_down = false;
            for at in 0..got {
                match self.landing.take(at, pool) {
                    Ok(frame) => {
                        self.counters.received(frame.buf.len());
                        out.push(frame);
                        received += 1;
                    }
                    Err(Loss::BadLength) => self.counters.rx_bad_length += 1,
                    Err(Loss::NoBuffer) => self.counters.rx_no_buffer += 1,
                }
            }
            if got < want {
                break;
            }
            self.full_batches += 1;
            if self.full_batches >= STATISTICS_EVERY {
                self.full_batches = 0;
                self.read_statistics();
            }
        }
        Ok(received)
    }

    /// Whether receiving goes on behind an error.
    fn goes_on(&mut self, errno: c_int, found_down: &mut bool) -> Result<bool, PortError> {
        match errno {
            // A deleted device is an empty one to its socket, once the ENETDOWN was read.
            libc::EAGAIN if self.was_down && self.is_unbound() => Err(PortError::Gone),
            libc::EAGAIN => Ok(false),
            libc::EINTR => Ok(true),
            // One frame that no virtio-net header describes; it is gone from the queue.
            libc::EINVAL => {
                self.counters.rx_undescribed += 1;
                Ok(true)
            }
            // Pending since the device went down, perhaps long ago: reading it clears it.
            libc::ENETDOWN if !*found_down => {
                *found_down = true;
                self.was_down = true;
                Ok(true)
            }
            libc::ENETDOWN => Err(PortError::Down),
            libc::ENODEV | libc::ENXIO => Err(PortError::Gone),
            errno => Err(PortError::Io(errno)),
        }
    }

    /// Whether the kernel has taken the socket off its device for good: it then names -1 as its
    /// interface.
    fn is_unbound(&self) -> bool {
        // SAFETY: a sockaddr_ll is integers; all zero is a value of it.
        let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
        let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` is `len` writable bytes throughout the call.
        let result = unsafe {
            libc::getsockname(
                self.socket.as_raw_fd(),
                (&raw mut address).cast(),
                &raw mut len,
            )
        };
        result == 0 && address.sll_ifindex < 0
    }

    /// Adds what the kernel dropped since the last look (PACKET_STATISTICS reads and resets).
    pub(super) fn read_statistics(&mut self) {
        let mut stats = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: `stats` is `len` writable bytes throughout the call.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut len,
            )
        };
        if result == 0 {
            self.counters.rx_kernel_drops += u64::from(stats.tp_drops);
        }
    }
}

/// Takes one frame off the socket and throws it away.
fn discard(fd: c_int) -> Result<(), c_int> {
    let mut header = [0_u8; VnetHdr::LEN];
    // SAFETY: `header` is writable memory of the stated length; the kernel cuts the frame to it.
    let read = unsafe {
        libc::recv(
            fd,
            header.as_mut_ptr().cast(),
            header.len(),
            libc::MSG_DONTWAIT,
        )
    };
    sys::check(read).map(|_| ())
}
