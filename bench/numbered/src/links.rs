//! When the kernel said that a link of this namespace rose or fell: by an rtnetlink socket of the
//! bench's own, apart from the one in the data plane that is measured.

use std::{
    collections::BTreeMap,
    io,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use serde_json::json;

use crate::{
    orders::{Order, Orders, say, wait},
    packet::monotonic,
};

/// struct nlmsghdr and struct ifinfomsg (linux/netlink.h, linux/rtnetlink.h).
const HEADER: usize = 16;
const INFO: usize = 16;

/// Says what happens until standard input ends.
pub fn watch() -> io::Result<()> {
    let socket = open()?;
    first_in_line();
    say(&json!({"report": "ready"}))?;
    let mut orders = Orders::default();
    let mut known = BTreeMap::new();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let stdin = io::stdin().as_raw_fd();
        let heard = wait(&[socket.as_raw_fd(), stdin], -1)?;
        let time = monotonic();
        if heard.contains(&stdin) && orders.next()? == Some(Order::End) {
            return Ok(());
        }
        if !heard.contains(&socket.as_raw_fd()) {
            continue;
        }
        // SAFETY: `buffer` is writable memory of the stated length.
        let len = unsafe {
            libc::recv(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        let Ok(len) = usize::try_from(len) else {
            continue;
        };
        for (ifindex, up) in links(&buffer[..len]) {
            if known.insert(ifindex, up) != Some(up) {
                say(&json!({"time": time, "ifindex": ifindex, "up": up}))?;
            }
        }
    }
}

fn open() -> io::Result<OwnedFd> {
    // SAFETY: socket takes no memory of ours.
    let fd = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_ROUTE,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was opened just above and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a sockaddr_nl is integers; all zero is a value of it.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = libc::RTMGRP_LINK as u32;
    // SAFETY: the pointer and the length describe `address`, which lives through the call.
    let bound = unsafe {
        libc::bind(
            fd,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_nl>() as u32,
        )
    };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// Runs before everything that is measured, so that the stamp is the kernel's moment and not that
/// of a processor that was busy. It works for microseconds at a time. Refused: it is stamped late,
/// and what is measured looks better than it is, so that is said.
fn first_in_line() {
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: `first` is a readable sched_param.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first) } < 0 {
        eprintln!("numbered: links are stamped late where the processors are busy");
    }
}

/// The links that a datagram tells of, and whether each works.
fn links(mut bytes: &[u8]) -> Vec<(i32, bool)> {
    let word = |bytes: &[u8], at: usize| {
        bytes
            .get(at..at + 4)
            .map(|four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
    };
    let works = (libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOWER_UP) as u32;
    let mut found = Vec::new();
    while let Some(len) = word(bytes, 0)
        && (HEADER..=bytes.len()).contains(&(len as usize))
    {
        let message = &bytes[..len as usize];
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        if message.len() >= HEADER + INFO
            && let (Some(ifindex), Some(flags)) =
                (word(message, HEADER + 4), word(message, HEADER + 8))
        {
            match kind {
                libc::RTM_NEWLINK => found.push((ifindex as i32, flags & works == works)),
                libc::RTM_DELLINK => found.push((ifindex as i32, false)),
                _ => {}
            }
        }
        let next = (len as usize).next_multiple_of(4).min(bytes.len());
        bytes = &bytes[next..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, ifindex: i32, flags: i32) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + INFO];
        bytes[..4].copy_from_slice(&32_u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[20..24].copy_from_slice(&ifindex.to_ne_bytes());
        bytes[24..28].copy_from_slice(&flags.to_ne_bytes());
        bytes
    }

    #[test]
    fn links_are_read_of_every_message() {
        let up = libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOWER_UP;
        let bytes = [
            message(libc::RTM_NEWLINK, 3, up),
            message(libc::RTM_NEWLINK, 4, libc::IFF_UP),
            message(libc::RTM_NEWADDR, 5, up),
            message(libc::RTM_DELLINK, 3, up),
        ]
        .concat();
        assert_eq!(links(&bytes), [(3, true), (4, false), (3, false)]);
        assert_eq!(links(&bytes[..40]), [(3, true)]);
        assert_eq!(links(&[0; 3]), []);
    }
}
