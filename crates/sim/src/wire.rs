//! The host's queue, members' devices and their wires, as ports of the worker.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::RawFd;

use esprit_datapath::Io;
use esprit_packet::{Pool as Buffers, RxFrame, Time, TxFrame, VnetHdr};
use esprit_port::{LinkEvent, Port, PortCounters, PortError};

/// A frame that the worker handed over.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) frame: TxFrame,
    /// When its last bit leaves.
    pub(crate) departs: Time,
}

/// The virtual NIC: what the host sends waits here, what goes up is taken at once.
#[derive(Debug, Default)]
pub(crate) struct HostPort {
    pub(crate) down: VecDeque<Vec<u8>>,
    pub(crate) up: Vec<TxFrame>,
    counters: PortCounters,
}

/// A frame that a member's device has received.
#[derive(Debug)]
struct Heard {
    bytes: Vec<u8>,
    /// It is a team's own, as probes between members are, and no packet of a flow.
    own: bool,
}

/// A member's device: it takes frames until its ring is full, and puts them on the wire at its
/// rate.
#[derive(Debug)]
pub(crate) struct MemberPort {
    rx: VecDeque<Heard>,
    /// Of those, frames that are no packets of a flow.
    own: usize,
    /// Such frames that were read with no buffer for them.
    pub(crate) own_lost: u64,
    pub(crate) handed: Vec<Handed>,
    pub(crate) now: Time,
    pub(crate) up: bool,
    pub(crate) deaf: bool,
    /// Its interface was deleted: reading and sending say so.
    pub(crate) gone: bool,
    /// The worker has done with it.
    closed: bool,
    rate_bps: u64,
    ring: usize,
    mtu: usize,
    free_at: Time,
    /// When those in the ring leave it.
    ring_until: VecDeque<Time>,
    counters: PortCounters,
}

/// Bytes on the wire besides a frame's own: preamble and start 8, FCS 4, gap 12 (IEEE 802.3).
const FRAMING: u64 = 24;

/// Ethernet header and a VLAN tag, which an MTU does not count.
const LINK_HEADER: usize = 18;

impl MemberPort {
    pub(crate) const fn new(rate_bps: u64, mtu: usize, ring: usize, up: bool) -> Self {
        Self {
            rx: VecDeque::new(),
            own: 0,
            own_lost: 0,
            handed: Vec::new(),
            now: Time::ZERO,
            up,
            deaf: false,
            gone: false,
            closed: false,
            rate_bps,
            ring,
            mtu,
            free_at: Time::ZERO,
            ring_until: VecDeque::new(),
            counters: PortCounters {
                rx_frames: 0,
                rx_bytes: 0,
                rx_no_buffer: 0,
                rx_bad_length: 0,
                rx_undescribed: 0,
                rx_kernel_drops: 0,
                tx_frames: 0,
                tx_packets: 0,
                tx_bytes: 0,
                tx_full: 0,
                tx_dropped: 0,
                tx_too_big: 0,
                tx_invalid: 0,
                tx_refused: 0,
            },
        }
    }

    /// A packet of a flow has come in.
    pub(crate) fn receive(&mut self, bytes: Vec<u8>) {
        self.rx.push_back(Heard { bytes, own: false });
    }

    /// A frame of a team's own has come in.
    pub(crate) fn receive_own(&mut self, bytes: Vec<u8>) {
        self.own += 1;
        self.rx.push_back(Heard { bytes, own: true });
    }

    /// Whether there is something to read.
    pub(crate) fn is_readable(&self) -> bool {
        !self.rx.is_empty()
    }

    /// Packets of flows that lie unread.
    pub(crate) fn unread(&self) -> usize {
        self.rx.len() - self.own
    }

    /// What lies unread goes with the interface.
    pub(crate) fn clear(&mut self) {
        self.rx.clear();
        self.own = 0;
    }

    /// When the ring has room again.
    pub(crate) fn room_at(&self) -> Option<Time> {
        (self.ring_until.len() >= self.ring)
            .then(|| self.ring_until.front().copied())
            .flatten()
    }
}

/// Puts a frame where the worker finds it; answers whether there was a buffer.
fn read(bytes: &[u8], counters: &mut PortCounters, pool: &Buffers, out: &mut Vec<RxFrame>) -> bool {
    let Some(mut buf) = pool.get(bytes.len()) else {
        counters.rx_no_buffer += 1;
        return false;
    };
    buf.append(bytes);
    out.push(RxFrame {
        vnet: VnetHdr::default(),
        buf,
    });
    true
}

impl Port for HostPort {
    fn recv(
        &mut self,
        pool: &Buffers,
        out: &mut Vec<RxFrame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let before = out.len();
        while out.len() - before < max
            && let Some(bytes) = self.down.pop_front()
        {
            read(&bytes, &mut self.counters, pool, out);
        }
        Ok(out.len() - before)
    }

    fn send(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        stats: &mut PortCounters,
    ) -> Result<usize, PortError> {
        let n = frames.len();
        for frame in frames.drain(..) {
            stats.sent(&frame.vnet, frame.len());
            self.up.push(frame);
        }
        Ok(n)
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }
}

impl Port for MemberPort {
    fn recv(
        &mut self,
        pool: &Buffers,
        out: &mut Vec<RxFrame>,
        max: usize,
    ) -> Result<usize, PortError> {
        if self.gone {
            return Err(PortError::Gone);
        }
        let before = out.len();
        while out.len() - before < max
            && let Some(heard) = self.rx.pop_front()
        {
            let got = read(&heard.bytes, &mut self.counters, pool, out);
            self.own -= usize::from(heard.own);
            self.own_lost += u64::from(heard.own && !got);
        }
        Ok(out.len() - before)
    }

    fn send(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        stats: &mut PortCounters,
    ) -> Result<usize, PortError> {
        if self.gone {
            return Err(PortError::Gone);
        }
        // A device whose wire is dead takes frames like any other: that it lost them is seen by
        // the link alone.
        while self.ring_until.front().is_some_and(|&at| at <= self.now) {
            self.ring_until.pop_front();
        }
        let mut n = 0;
        while self.ring_until.len() < self.ring
            && let Some(frame) = frames.pop_front()
        {
            let len = frame.len();
            let each = match frame.vnet.gso_size {
                0 => len,
                size => usize::from(size) + usize::from(frame.vnet.hdr_len),
            };
            if each > self.mtu + LINK_HEADER {
                stats.tx_dropped += 1;
                stats.tx_too_big += 1;
                continue;
            }
            let bits = (len as u64 + FRAMING) * 8;
            let span = u128::from(bits) * 1_000_000_000 / u128::from(self.rate_bps.max(1));
            self.free_at = self.free_at.max(self.now) + Time(span as u64);
            self.ring_until.push_back(self.free_at);
            stats.sent(&frame.vnet, len);
            self.handed.push(Handed {
                frame,
                departs: self.free_at,
            });
            n += 1;
        }
        stats.tx_full += u64::from(!frames.is_empty());
        Ok(n)
    }

    fn unsent(&self) -> u64 {
        let left = self.free_at.since(self.now).0;
        (u128::from(left) * u128::from(self.rate_bps) / 8_000_000_000) as u64
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }
}

/// All ports of the host, and the link socket.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    pub(crate) hosts: BTreeMap<u32, HostPort>,
    pub(crate) members: BTreeMap<u32, MemberPort>,
    pub(crate) links: Vec<LinkEvent>,
}

impl Io for Wires {
    fn tap(&mut self, team: u32) -> Option<&mut dyn Port> {
        self.hosts.get_mut(&team).map(|port| port as &mut dyn Port)
    }

    fn member(&mut self, member: u32) -> Option<&mut dyn Port> {
        self.members
            .get_mut(&member)
            .filter(|port| !port.closed)
            .map(|port| port as &mut dyn Port)
    }

    fn close_member(&mut self, member: u32) {
        if let Some(port) = self.members.get_mut(&member) {
            port.closed = true;
        }
    }

    fn links(&mut self, out: &mut Vec<LinkEvent>) {
        out.append(&mut self.links);
    }
}
