//! Ports: how frames enter and leave the process, and how the state of a link becomes known.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`tap`] | the virtual NIC that the host stack binds to |
//! | [`packet`] | a member's frames by AF_PACKET |
//! | [`memory`] | a pair of ports joined by two queues, for tests and simulation |
//! | [`fault`], [`pcap`] | decorators: a bad line, a record of what passed |
//! | [`link`] | link state by an rtnetlink socket of our own |
//! | [`device`] | index, address, MTU and flags of an interface |
//! | [`wait`] | one sleep over all descriptors |
//! | [`capture`] | the eavesdropper of tests and demonstrations |
//!
//! This is the one room that calls the system; what stands above it is given frames, events and
//! time. Nothing here waits but [`wait`] and the capture's own thread.

mod counters;
mod gather;
mod sys;

pub mod capture;
pub mod device;
pub mod fault;
pub mod link;
pub mod memory;
pub mod packet;
pub mod pcap;
pub mod tap;
pub mod wait;

use std::collections::VecDeque;
use std::os::fd::RawFd;

use esprit_packet::{Pool, RxFrame, TxFrame};

pub use capture::{Capture, CaptureOptions, CaptureResult};
pub use counters::PortCounters;
pub use fault::{FaultPort, Faults};
pub use link::{Heard, LinkEvent, LinkMonitor, LinkProber};
pub use memory::MemoryPort;
pub use packet::{PacketOptions, PacketPort};
pub use pcap::{PcapPort, PcapWriter};
pub use tap::{Tap, TapError, TapOptions};
pub use wait::Waiter;

/// The socket mark of every frame that we send on a member ("ESPR"): the members' egress door
/// lets it pass and nothing else.
pub const MARK: u32 = 0x4553_5052;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// A way for frames in and out. Never waits.
pub trait Port: Send {
    /// Appends at most `max` received frames to `out`, their memory taken from `pool`, and
    /// returns how many; 0: nothing is there now. A frame for which the pool has no buffer is
    /// dropped and counted in [`PortCounters::rx_no_buffer`].
    ///
    /// # Errors
    /// What the port has come to; frames received before stand in `out` nevertheless.
    fn recv(&mut self, pool: &Pool, out: &mut Vec<RxFrame>, max: usize)
    -> Result<usize, PortError>;

    /// Sends from the front of `frames` and takes away what was sent, or what can never be
    /// (too big, malformed: dropped and counted); what the device will not take now stays, in
    /// order. Returns how many were sent, drops not included; both are added to `stats` too.
    ///
    /// # Errors
    /// What the port has come to; what was sent before has left `frames` and stands in `stats`.
    fn send(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        stats: &mut PortCounters,
    ) -> Result<usize, PortError>;

    /// The descriptor to wait for, where there is one: readable when [`Port::recv`] has
    /// something, writable when a device that was full takes frames again.
    fn fd(&self) -> Option<RawFd>;

    /// What passed and what did not, since the port was opened.
    fn counters(&self) -> &PortCounters;

    /// Brings those counters up to date that the kernel keeps. A system call; for snapshots.
    fn refresh(&mut self) {}

    /// Bytes of memory that frames keep busy which the kernel took and which have not left it
    /// yet: those in the queue of the interface too. A system call.
    fn unsent(&self) -> u64 {
        0
    }

    /// Sets the unicast addresses that the device is to let in beside its own, all of them.
    ///
    /// # Errors
    /// What the system said. A port without a filter takes everything and has none.
    fn set_addresses(&mut self, addresses: &[Mac]) -> std::io::Result<()> {
        let _ = addresses;
        Ok(())
    }
}

/// What a port has come to. A full device or an empty one is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The device is down (ENETDOWN, read twice: the first may be an old one). The port works
    /// again when the device does.
    #[error("the device is down")]
    Down,
    /// The device was deleted; its port is dead for good and is to be built anew (ENODEV, ENXIO,
    /// EBADFD).
    #[error("the device is gone")]
    Gone,
    /// What the kernel said otherwise, as an errno. A frame that provoked it was dropped and
    /// counted, so the next call goes on behind it.
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Io(i32),
}

impl<P: Port + ?Sized> Port for Box<P> {
    fn recv(
        &mut self,
        pool: &Pool,
        out: &mut Vec<RxFrame>,
        max: usize,
    ) -> Result<usize, PortError> {
        (**self).recv(pool, out, max)
    }

    fn send(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        stats: &mut PortCounters,
    ) -> Result<usize, PortError> {
        (**self).send(frames, stats)
    }

    fn fd(&self) -> Option<RawFd> {
        (**self).fd()
    }

    fn counters(&self) -> &PortCounters {
        (**self).counters()
    }

    fn refresh(&mut self) {
        (**self).refresh();
    }

    fn unsent(&self) -> u64 {
        (**self).unsent()
    }

    fn set_addresses(&mut self, addresses: &[Mac]) -> std::io::Result<()> {
        (**self).set_addresses(addresses)
    }
}
