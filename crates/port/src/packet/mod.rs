//! A member's frames by AF_PACKET (packet(7)).
//!
//! ETH_P_ALL, since only such a socket sees frames before an ingress drop shuts them off from
//! the host stack; PACKET_VNET_HDR, so that super-frames and unfinished checksums come described
//! and can be sent; PACKET_AUXDATA, since a VLAN tag is stripped on receive and stands only
//! there. PACKET_QDISC_BYPASS is never set: it drops super-frames that the device cannot cut.

mod recv;
mod send;
mod vlan;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use esprit_packet::{Pool, RxFrame, TxFrame};

use crate::counters::PortCounters;
use crate::gather::Gather;
use crate::{MARK, Mac, Port, PortError, sys};
use recv::Landing;

/// Asked of the kernel for each direction: 64 super-frames, each accounted with up to twice its
/// bytes. The kernel doubles the figure once more for its own use.
pub const SOCKET_BUFFER: usize = 64 * 2 * 65_536;

/// Full batches between two looks at the kernel's drop counter.
const STATISTICS_EVERY: u32 = 256;

/// How to open a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketOptions {
    /// Bytes asked for the receive buffer.
    pub receive_buffer: usize,
    /// Bytes asked for the send buffer.
    pub send_buffer: usize,
    /// Do not see what this host itself sends by the interface.
    pub ignore_outgoing: bool,
}

impl Default for PacketOptions {
    fn default() -> Self {
        Self {
            receive_buffer: SOCKET_BUFFER,
            send_buffer: SOCKET_BUFFER,
            ignore_outgoing: true,
        }
    }
}

/// A member's port, bound to one interface for good.
pub struct PacketPort {
    socket: OwnedFd,
    ifindex: u32,
    receive_buffer: usize,
    send_buffer: usize,
    addresses: Vec<Mac>,
    landing: Landing,
    gather: Gather,
    full_batches: u32,
    /// The device was heard to go down, and no frame has come since.
    was_down: bool,
    counters: PortCounters,
}

impl std::fmt::Debug for PacketPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketPort")
            .field("ifindex", &self.ifindex)
            .field("addresses", &self.addresses)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl PacketPort {
    /// Opens a port on the interface `ifindex` of the calling thread's network namespace. All
    /// multicast is let in (PACKET_MR_ALLMULTI); unicast addresses beside the interface's own
    /// come with [`PacketPort::set_addresses`]. Both end with the socket.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, ENODEV without such an interface, or what else the kernel says.
    pub fn open(ifindex: u32, options: PacketOptions) -> io::Result<Self> {
        // Protocol 0 receives nothing: no frame of another interface gets in before the bind.
        let socket = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        let fd = socket.as_raw_fd();
        let one: libc::c_int = 1;
        if options.ignore_outgoing {
            sys::set_option(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &one)?;
        }
        sys::set_option(fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &one)?;
        sys::set_option(fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &one)?;
        sys::set_option(fd, libc::SOL_SOCKET, libc::SO_MARK, &MARK)?;
        let receive_buffer = sys::socket_buffer(
            fd,
            libc::SO_RCVBUFFORCE,
            libc::SO_RCVBUF,
            options.receive_buffer,
        )?;
        let send_buffer = sys::socket_buffer(
            fd,
            libc::SO_SNDBUFFORCE,
            libc::SO_SNDBUF,
            options.send_buffer,
        )?;
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: protocol,
            sll_ifindex: index(ifindex)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        sys::bind(fd, &address)?;
        let port = Self {
            socket,
            ifindex,
            receive_buffer,
            send_buffer,
            addresses: Vec::new(),
            landing: Landing::default(),
            gather: Gather::default(),
            full_batches: 0,
            was_down: false,
            counters: PortCounters::default(),
        };
        port.membership(libc::PACKET_ADD_MEMBERSHIP, libc::PACKET_MR_ALLMULTI, None)?;
        Ok(port)
    }

    /// The interface's index.
    #[must_use]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Bytes of receive buffer as the kernel counts them: twice what it granted.
    #[must_use]
    pub const fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Bytes of send buffer as the kernel counts them: twice what it granted.
    #[must_use]
    pub const fn send_buffer(&self) -> usize {
        self.send_buffer
    }

    /// Whether both buffers hold the 64 super-frames that a port is to have.
    #[must_use]
    pub const fn buffers_suffice(&self) -> bool {
        self.receive_buffer >= SOCKET_BUFFER && self.send_buffer >= SOCKET_BUFFER
    }

    /// The unicast addresses that the device is to let in beside its own, all of them: those that
    /// were set before and are not named any more go (PACKET_MR_UNICAST).
    ///
    /// # Errors
    /// What the kernel said; addresses before the failing one are set.
    pub fn set_addresses(&mut self, addresses: &[Mac]) -> io::Result<()> {
        for &mac in addresses {
            if !self.addresses.contains(&mac) {
                self.membership(
                    libc::PACKET_ADD_MEMBERSHIP,
                    libc::PACKET_MR_UNICAST,
                    Some(mac),
                )?;
                self.addresses.push(mac);
            }
        }
        let gone: Vec<Mac> = self
            .addresses
            .iter()
            .copied()
            .filter(|mac| !addresses.contains(mac))
            .collect();
        for mac in gone {
            self.membership(
                libc::PACKET_DROP_MEMBERSHIP,
                libc::PACKET_MR_UNICAST,
                Some(mac),
            )?;
            self.addresses.retain(|&kept| kept != mac);
        }
        Ok(())
    }

    fn membership(&self, action: i32, kind: i32, mac: Option<Mac>) -> io::Result<()> {
        let mut request = libc::packet_mreq {
            mr_ifindex: index(self.ifindex)?,
            mr_type: kind as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        if let Some(mac) = mac {
            request.mr_alen = mac.len() as u16;
            request.mr_address[..mac.len()].copy_from_slice(&mac);
        }
        sys::set_option(self.socket.as_raw_fd(), libc::SOL_PACKET, action, &request)
    }
}

fn index(ifindex: u32) -> io::Result<i32> {
    match i32::try_from(ifindex) {
        Ok(index) if index > 0 => Ok(index),
        // 0 would bind to every interface.
        _ => Err(io::Error::from_raw_os_error(libc::ENODEV)),
    }
}

impl Port for PacketPort {
    fn recv(
        &mut self,
        pool: &Pool,
        out: &mut Vec<RxFrame>,
        max: usize,
    ) -> Result<usize, PortError> {
        self.receive(pool, out, max)
    }

    fn send(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        stats: &mut PortCounters,
    ) -> Result<usize, PortError> {
        let mut delta = PortCounters::default();
        let outcome = self.transmit(frames, &mut delta);
        self.counters.merge(&delta);
        stats.merge(&delta);
        outcome.map(|()| delta.tx_frames as usize)
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn unsent(&self) -> u64 {
        sys::unsent(&self.socket)
    }

    fn refresh(&mut self) {
        self.read_statistics();
    }

    fn set_addresses(&mut self, addresses: &[Mac]) -> io::Result<()> {
        Self::set_addresses(self, addresses)
    }
}
