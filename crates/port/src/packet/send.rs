//! Sending: one `sendmmsg` per batch, gathered from where the bytes lie.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;

use esprit_packet::TxFrame;

use super::PacketPort;
use crate::PortError;
use crate::counters::{PortCounters, TxDrop};
use crate::gather::Filled;

impl PacketPort {
    pub(super) fn transmit(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        delta: &mut PortCounters,
    ) -> Result<(), PortError> {
        let fd = self.socket.as_raw_fd();
        while !frames.is_empty() {
            let mut batch = self.gather.fill(frames.iter());
            let (done, outcome) = push(&mut batch, fd, frames, delta);
            frames.drain(..done);
            match outcome {
                Outcome::More => {}
                Outcome::Full => {
                    delta.tx_full += 1;
                    return Ok(());
                }
                Outcome::Failed(error) => return Err(error),
            }
        }
        Ok(())
    }
}

enum Outcome {
    More,
    Full,
    Failed(PortError),
}

/// Sends a batch; returns how many frames are done with, sent or dropped, and why it stopped.
fn push(
    batch: &mut Filled<'_>,
    fd: i32,
    frames: &VecDeque<TxFrame>,
    delta: &mut PortCounters,
) -> (usize, Outcome) {
    let mut at = 0;
    let mut found_down = false;
    while at < batch.len() {
        // `sendmmsg` stops at the first frame that fails and tells why only when called for it
        // again.
        let drop = match batch.send_messages(fd, at) {
            Ok(0) => return (at, Outcome::Full),
            Ok(sent) => {
                for frame in frames.range(at..at + sent) {
                    delta.sent(&frame.vnet, frame.len());
                }
                at += sent;
                continue;
            }
            Err(libc::EINTR) => continue,
            // ENOBUFS: the device's queue is full (or a queue of the host's is); never a dead port.
            Err(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => return (at, Outcome::Full),
            // Perhaps left over from an earlier fall of the link: the first one clears it.
            Err(libc::ENETDOWN) if !found_down => {
                found_down = true;
                continue;
            }
            Err(libc::ENETDOWN) => return (at, Outcome::Failed(PortError::Down)),
            Err(libc::ENODEV | libc::ENXIO) => return (at, Outcome::Failed(PortError::Gone)),
            Err(libc::EMSGSIZE) => TxDrop::TooBig,
            Err(libc::EINVAL) => TxDrop::Invalid,
            Err(errno) => {
                delta.refused(TxDrop::Refused);
                return (at + 1, Outcome::Failed(PortError::Io(errno)));
            }
        };
        delta.refused(drop);
        at += 1;
    }
    (at, Outcome::More)
}
