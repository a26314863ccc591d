//! The messages of rtnetlink that concern links.

use std::ffi::c_int;

use super::LinkEvent;

/// `struct nlmsghdr` and `struct ifinfomsg`.
pub const HEADER: usize = 16;
pub const IFINFO: usize = 16;

/// Messages start at multiples of this (NLMSG_ALIGNTO).
const ALIGN: usize = 4;

/// RTEXT_FILTER_SKIP_STATS (linux/rtnetlink.h): no statistics, which are half of the work.
const SKIP_STATS: u32 = 1 << 3;

/// The flags of a link that carries frames. The carrier alone (IFF_LOWER_UP) comes too early: until
/// the kernel's link watch has run and set IFF_RUNNING, the device has no queue, and a frame sent is
/// reported as sent and lost.
const CARRIES: c_int = libc::IFF_UP | libc::IFF_LOWER_UP | libc::IFF_RUNNING;

/// An `rtattr` with a word in it.
const ATTRIBUTE: usize = 8;

/// RTM_GETLINK for one interface, or with NLM_F_DUMP in `flags` for all of them.
pub fn get_link(ifindex: u32, flags: c_int) -> [u8; HEADER + IFINFO + ATTRIBUTE] {
    let mut message = [0_u8; HEADER + IFINFO + ATTRIBUTE];
    let total = message.len() as u32;
    message[0..4].copy_from_slice(&total.to_ne_bytes());
    message[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    let flags = (libc::NLM_F_REQUEST | flags) as u16;
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message[HEADER + 4..HEADER + 8].copy_from_slice(&ifindex.to_ne_bytes());
    let attribute = &mut message[HEADER + IFINFO..];
    attribute[0..2].copy_from_slice(&(ATTRIBUTE as u16).to_ne_bytes());
    attribute[2..4].copy_from_slice(&libc::IFLA_EXT_MASK.to_ne_bytes());
    attribute[4..8].copy_from_slice(&SKIP_STATS.to_ne_bytes());
    message
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// A link's state.
    Link(LinkEvent),
    /// The dump is complete.
    Done,
    /// Links changed while the dump ran: it may lack one.
    Interrupted,
    /// A request was refused, with this errno.
    Error(c_int),
}

/// The messages of a datagram that concern links; what is cut short ends it.
pub fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while bytes.len() >= HEADER {
        let len = word(bytes, 0) as usize;
        if len < HEADER || len > bytes.len() {
            break;
        }
        let message = &bytes[..len];
        let kind = half(message, 4);
        if c_int::from(half(message, 6)) & libc::NLM_F_DUMP_INTR != 0 {
            found.push(Message::Interrupted);
        }
        match kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => found.extend(link(message)),
            _ if c_int::from(kind) == libc::NLMSG_DONE => found.push(Message::Done),
            _ if c_int::from(kind) == libc::NLMSG_ERROR && len >= HEADER + 4 => {
                let code = word(message, HEADER).cast_signed();
                if code != 0 {
                    found.push(Message::Error(-code));
                }
            }
            _ => {}
        }
        bytes = &bytes[len.next_multiple_of(ALIGN).min(bytes.len())..];
    }
    found
}

fn link(message: &[u8]) -> Option<Message> {
    if message.len() < HEADER + IFINFO {
        return None;
    }
    // Family AF_BRIDGE speaks of a bridge's port: its "deleted" is not the interface's.
    if c_int::from(message[HEADER]) != libc::AF_UNSPEC {
        return None;
    }
    let flags = word(message, HEADER + 8);
    let carries = CARRIES.cast_unsigned();
    let deleted = half(message, 4) == libc::RTM_DELLINK;
    Some(Message::Link(LinkEvent {
        ifindex: word(message, HEADER + 4),
        up: !deleted && flags & carries == carries,
        deleted,
    }))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        bytes
    }

    fn info(family: u8, ifindex: u32, flags: i32) -> Vec<u8> {
        let mut bytes = vec![family, 0, 0, 0];
        bytes.extend(ifindex.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes
    }

    fn event(ifindex: u32, up: bool, deleted: bool) -> Message {
        Message::Link(LinkEvent {
            ifindex,
            up,
            deleted,
        })
    }

    #[test]
    fn a_link_is_up_with_all_flags_only() {
        let mut bytes = message(libc::RTM_NEWLINK, 0, &info(0, 3, CARRIES));
        let mut expected = vec![event(3, true, false)];
        for missing in [libc::IFF_UP, libc::IFF_LOWER_UP, libc::IFF_RUNNING] {
            bytes.extend(message(
                libc::RTM_NEWLINK,
                0,
                &info(0, 4, CARRIES & !missing),
            ));
            expected.push(event(4, false, false));
        }
        bytes.extend(message(libc::RTM_DELLINK, 0, &info(0, 6, CARRIES)));
        expected.push(event(6, false, true));
        assert_eq!(messages(&bytes), expected);
    }

    #[test]
    fn leaving_a_bridge_is_not_being_deleted() {
        let bytes = message(libc::RTM_DELLINK, 0, &info(libc::AF_BRIDGE as u8, 6, 0));
        assert_eq!(messages(&bytes), []);
    }

    #[test]
    fn errors_ends_and_interruptions_are_told_apart() {
        let error = (-libc::ENODEV).to_ne_bytes();
        let bytes = [
            message(libc::NLMSG_ERROR as u16, 0, &error),
            message(libc::NLMSG_ERROR as u16, 0, &[0; 4]),
            message(
                libc::NLMSG_DONE as u16,
                libc::NLM_F_DUMP_INTR as u16,
                &[0; 4],
            ),
        ]
        .concat();
        let expected = [
            Message::Error(libc::ENODEV),
            Message::Interrupted,
            Message::Done,
        ];
        assert_eq!(messages(&bytes), expected);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(bytes in proptest::collection::vec(0_u8..=255, 0..200)) {
            messages(&bytes);
        }
    }
}
