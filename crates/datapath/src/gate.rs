//! A port that is read only when the kernel said that something is there.
//!
//! An empty read costs a system call; with several members most reads of a turn would be empty.
//! One poll over all descriptors costs as much as one of them.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use esprit_packet::{Pool, RxFrame, TxFrame};
use esprit_port::{Heard, Port, PortCounters, PortError, Waiter};

use crate::command::BoxedPort;

/// A port and whether it may have something.
pub struct Gate {
    port: BoxedPort,
    open: bool,
    /// Who wants to know that frames arrive.
    heard: Option<Heard>,
}

impl Gate {
    /// Open at first: what came before the first poll is found.
    #[must_use]
    pub const fn new(port: BoxedPort) -> Self {
        Self {
            port,
            open: true,
            heard: None,
        }
    }

    /// From now on tells this one when frames arrive.
    pub fn tell(&mut self, heard: Heard) {
        self.heard = Some(heard);
    }

    /// Opens: something may have come.
    pub const fn open(&mut self) {
        self.open = true;
    }

    /// Opens where the last poll named the port; a port that nothing can be polled for is
    /// always open.
    pub fn look(&mut self, waiter: &Waiter) {
        self.open |= self.port.fd().is_none_or(|fd| waiter.is_ready(fd));
    }
}

impl Port for Gate {
    fn recv(
        &mut self,
        pool: &Pool,
        out: &mut Vec<RxFrame>,
        max: usize,
    ) -> Result<usize, PortError> {
        if !self.open {
            return Ok(0);
        }
        let received = self.port.recv(pool, out, max);
        if let (Some(heard), Ok(1..)) = (&self.heard, received) {
            heard.set();
        }
        // Fewer than there was room for: it is empty. An error is polled for, too.
        self.open = received.is_ok_and(|n| n == max);
        received
    }

    fn send(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        stats: &mut PortCounters,
    ) -> Result<usize, PortError> {
        self.port.send(frames, stats)
    }

    fn fd(&self) -> Option<RawFd> {
        self.port.fd()
    }

    fn counters(&self) -> &PortCounters {
        self.port.counters()
    }

    fn refresh(&mut self) {
        self.port.refresh();
    }

    fn unsent(&self) -> u64 {
        self.port.unsent()
    }

    fn set_addresses(&mut self, addresses: &[esprit_port::Mac]) -> std::io::Result<()> {
        self.port.set_addresses(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use esprit_packet::{Body, VnetHdr};
    use esprit_port::memory;

    #[test]
    fn it_stays_open_until_the_port_is_empty() {
        let (inside, mut outside) = memory::pair(16);
        let mut gate = Gate::new(Box::new(inside));
        let pool = Pool::new(16, 0);
        let mut frames: VecDeque<TxFrame> = (0..3)
            .map(|n| {
                let mut buf = pool.get(60).unwrap();
                buf.append(&[n; 60]);
                TxFrame {
                    vnet: VnetHdr::default(),
                    body: Body::whole(buf.share()),
                    ..TxFrame::default()
                }
            })
            .collect();
        let mut stats = PortCounters::default();
        outside.send(&mut frames, &mut stats).unwrap();
        let mut out = Vec::new();
        assert_eq!(gate.recv(&pool, &mut out, 2), Ok(2));
        assert_eq!(gate.recv(&pool, &mut out, 2), Ok(1));
        assert!(!gate.open);
        gate.look(&Waiter::new());
        assert!(gate.open, "nothing can be polled for a memory port");
    }
}
