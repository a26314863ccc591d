//! The few system calls that several modules need, with their results as `Result`.

use std::ffi::{c_int, c_short};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// What a call returned, or the errno it left.
pub fn check(returned: isize) -> Result<usize, c_int> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// A socket that is closed on exec and never waits.
pub fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory of ours is involved.
    let fd = unsafe { libc::socket(family, kind, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a socket option whose value is a `T` as the kernel knows it.
pub fn set_option<T: Copy>(fd: RawFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is `len` readable bytes throughout the call.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const *value).cast(), len) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Reads an integer socket option.
pub fn int_option(fd: RawFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: `value` is `len` writable bytes throughout the call.
    let result =
        unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value)
}

/// Asks for a socket buffer of `bytes` beyond the system's limit, or within it where we may
/// not, and returns what the kernel then counts (it doubles what it is asked).
pub fn socket_buffer(fd: RawFd, force: c_int, plain: c_int, bytes: usize) -> io::Result<usize> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    if set_option(fd, libc::SOL_SOCKET, force, &bytes).is_err() {
        set_option(fd, libc::SOL_SOCKET, plain, &bytes)?;
    }
    Ok(usize::try_from(int_option(fd, libc::SOL_SOCKET, plain)?).unwrap_or(0))
}

/// Binds a socket to an address structure of the kernel's.
pub fn bind<T: Copy>(fd: RawFd, address: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `address` is `len` readable bytes throughout the call.
    if unsafe { libc::bind(fd, (&raw const *address).cast(), len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// An `ifreq` that names an interface.
pub fn ifreq(name: &str) -> io::Result<libc::ifreq> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    // SAFETY: an ifreq is integers, arrays and unions of such; all zero is a value of it.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    Ok(request)
}

/// An ioctl over an `ifreq`, on a socket or a TUN descriptor.
pub fn ioctl_ifreq(fd: &impl AsRawFd, number: u64, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the requests of this crate (SIOCGIF*, SIOCSIF*, TUNSETIFF, TUNGETIFF) read and write
    // one ifreq, which `request` is.
    if unsafe { libc::ioctl(fd.as_raw_fd(), number as _, &raw mut *request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Bytes of memory that a socket's frames keep busy until they have left the host (SIOCOUTQ,
/// sockios(7)); 0 where it does not say.
pub fn unsent(fd: &impl AsRawFd) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ writes one int to the address, which is that of a local.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done < 0 {
        return 0;
    }
    u64::try_from(bytes).unwrap_or(0)
}

/// The flags of an `ifreq` that an ioctl filled in.
pub fn ifreq_flags(request: &libc::ifreq) -> c_short {
    // SAFETY: an ioctl that returns flags wrote this member, and every bit pattern is a value.
    unsafe { request.ifr_ifru.ifru_flags }
}
