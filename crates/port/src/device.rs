//! What an interface says of itself, by ioctl: unlike sysfs, which shows the network namespace
//! of whoever mounted it, an ioctl speaks of the calling thread's own.

use std::io;
use std::os::fd::OwnedFd;

use crate::Mac;
use crate::sys;

fn ask(name: &str, number: u64) -> io::Result<libc::ifreq> {
    let mut request = sys::ifreq(name)?;
    sys::ioctl_ifreq(&any_socket()?, number, &mut request)?;
    Ok(request)
}

fn any_socket() -> io::Result<OwnedFd> {
    sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
}

/// The interface's index.
///
/// # Errors
/// ENODEV where no interface of that name is in this network namespace.
pub fn ifindex(name: &str) -> io::Result<u32> {
    let request = ask(name, libc::SIOCGIFINDEX)?;
    // SAFETY: SIOCGIFINDEX wrote this member.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    u32::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))
}

/// The interface's own Ethernet address.
///
/// # Errors
/// As [`ifindex`]; EPROTOTYPE where it is no Ethernet interface.
pub fn mac(name: &str) -> io::Result<Mac> {
    let request = ask(name, libc::SIOCGIFHWADDR)?;
    // SAFETY: SIOCGIFHWADDR wrote this member.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    if address.sa_family != libc::ARPHRD_ETHER {
        return Err(io::Error::from_raw_os_error(libc::EPROTOTYPE));
    }
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(address.sa_data) {
        *to = from.cast_unsigned();
    }
    Ok(mac)
}

/// The interface's MTU in bytes.
///
/// # Errors
/// As [`ifindex`].
pub fn mtu(name: &str) -> io::Result<u32> {
    let request = ask(name, libc::SIOCGIFMTU)?;
    // SAFETY: SIOCGIFMTU wrote this member.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(u32::try_from(mtu).unwrap_or(0))
}

/// The low 16 of the interface's flags (`IFF_UP`, `IFF_RUNNING`, …). `IFF_RUNNING` may lag behind
/// a fallen carrier; [`crate::link`] says why and does better.
///
/// # Errors
/// As [`ifindex`].
pub fn flags(name: &str) -> io::Result<u16> {
    ask(name, libc::SIOCGIFFLAGS).map(|request| sys::ifreq_flags(&request).cast_unsigned())
}

/// Sets or clears `IFF_UP`.
///
/// # Errors
/// As [`ifindex`]; EPERM without CAP_NET_ADMIN.
pub fn set_up(name: &str, up: bool) -> io::Result<()> {
    let mut request = ask(name, libc::SIOCGIFFLAGS)?;
    let bit = (libc::IFF_UP & 0x7fff) as i16;
    let flags = sys::ifreq_flags(&request);
    request.ifr_ifru.ifru_flags = if up { flags | bit } else { flags & !bit };
    sys::ioctl_ifreq(&any_socket()?, libc::SIOCSIFFLAGS, &mut request)
}

/// Sets the Ethernet address. For virtual NICs of ours; a member's is never changed.
///
/// # Errors
/// As [`ifindex`]; EPERM without CAP_NET_ADMIN, EADDRNOTAVAIL for a group address.
pub fn set_mac(name: &str, mac: Mac) -> io::Result<()> {
    let mut request = sys::ifreq(name)?;
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().zip(mac) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_hwaddr = libc::sockaddr {
        sa_family: libc::ARPHRD_ETHER,
        sa_data: data,
    };
    sys::ioctl_ifreq(&any_socket()?, libc::SIOCSIFHWADDR, &mut request)
}

/// Sets the MTU in bytes.
///
/// # Errors
/// As [`ifindex`]; EPERM without CAP_NET_ADMIN, EINVAL where the device does not allow it.
pub fn set_mtu(name: &str, mtu: u32) -> io::Result<()> {
    let mut request = sys::ifreq(name)?;
    request.ifr_ifru.ifru_mtu =
        i32::try_from(mtu).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    sys::ioctl_ifreq(&any_socket()?, libc::SIOCSIFMTU, &mut request)
}
