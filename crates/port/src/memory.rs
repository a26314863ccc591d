//! Ports without a device: a pair joined by two bounded queues, for tests and simulation.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use esprit_packet::{Pool, RxFrame, TxFrame};

use crate::counters::PortCounters;
use crate::{Port, PortError};

#[derive(Debug, Default)]
struct Line {
    queue: VecDeque<TxFrame>,
    failure: Option<PortError>,
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    // A panic of another holder leaves a queue that is whole: every change to it is one call.
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One end of a [`pair`]. Super-frames and VLAN tags pass as they are.
#[derive(Debug)]
pub struct MemoryPort {
    incoming: Arc<Mutex<Line>>,
    outgoing: Arc<Mutex<Line>>,
    capacity: usize,
    counters: PortCounters,
}

/// Two ports of which each receives what the other sends; at most `capacity` frames wait in each
/// direction, and a sender finds the device full beyond that.
#[must_use]
pub fn pair(capacity: usize) -> (MemoryPort, MemoryPort) {
    let (there, back) = (Arc::default(), Arc::default());
    let end = |incoming: &Arc<Mutex<Line>>, outgoing: &Arc<Mutex<Line>>| MemoryPort {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        capacity,
        counters: PortCounters::default(),
    };
    (end(&back, &there), end(&there, &back))
}

impl MemoryPort {
    /// Makes the other end's calls fail from here on, or work again: a device that is down
    /// ([`PortError::Down`]) or deleted ([`PortError::Gone`]) as that end sees it.
    pub fn fail_peer(&mut self, failure: Option<PortError>) {
        lock(&self.outgoing).failure = failure;
    }

    /// Takes what the other end sent, without a pool.
    pub fn take(&mut self) -> Vec<TxFrame> {
        lock(&self.incoming).queue.drain(..).collect()
    }

    /// Frames that wait for the other end.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.outgoing).queue.len()
    }
}

impl Port for MemoryPort {
    fn recv(
        &mut self,
        pool: &Pool,
        out: &mut Vec<RxFrame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let mut line = lock(&self.incoming);
        if let Some(failure) = line.failure {
            return Err(failure);
        }
        let mut received = 0;
        while received < max {
            let Some(frame) = line.queue.pop_front() else {
                break;
            };
            let Some(mut buf) = pool.get(frame.len()) else {
                self.counters.rx_no_buffer += 1;
                continue;
            };
            buf.append(&frame.head);
            for part in frame.body.parts() {
                buf.append(part);
            }
            self.counters.received(buf.len());
            out.push(RxFrame {
                vnet: frame.vnet,
                buf,
            });
            received += 1;
        }
        Ok(received)
    }

    fn send(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        stats: &mut PortCounters,
    ) -> Result<usize, PortError> {
        // The failure that this end was told is kept with what it receives.
        if let Some(failure) = lock(&self.incoming).failure {
            return Err(failure);
        }
        let mut line = lock(&self.outgoing);
        let mut delta = PortCounters::default();
        while !frames.is_empty() && line.queue.len() < self.capacity {
            if let Some(frame) = frames.pop_front() {
                delta.sent(&frame.vnet, frame.len());
                line.queue.push_back(frame);
            }
        }
        delta.tx_full += u64::from(!frames.is_empty());
        self.counters.merge(&delta);
        stats.merge(&delta);
        Ok(delta.tx_frames as usize)
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use esprit_packet::VnetHdr;
    use esprit_packet::vnet_hdr::GSO_TCPV4;

    use super::*;

    fn numbered(count: u8) -> VecDeque<TxFrame> {
        (0..count)
            .map(|n| TxFrame {
                vnet: VnetHdr {
                    gso_type: GSO_TCPV4,
                    ..VnetHdr::default()
                },
                head: [n; 60].into_iter().collect(),
                ..TxFrame::default()
            })
            .collect()
    }

    #[test]
    fn a_full_line_leaves_the_rest_and_keeps_the_order() {
        let pool = Pool::new(8, 0);
        let (mut near, mut far) = pair(3);
        let mut stats = PortCounters::default();
        let mut frames = numbered(5);
        assert_eq!(near.send(&mut frames, &mut stats), Ok(3));
        assert_eq!((frames.len(), near.waiting(), stats.tx_full), (2, 3, 1));
        let mut got = Vec::new();
        assert_eq!(far.recv(&pool, &mut got, 2), Ok(2));
        assert_eq!(near.send(&mut frames, &mut stats), Ok(2));
        assert_eq!(far.recv(&pool, &mut got, 8), Ok(3));
        assert_eq!(far.recv(&pool, &mut got, 8), Ok(0));
        let numbers: Vec<u8> = got.iter().map(|frame| frame.buf.data()[0]).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        assert!(got.iter().all(|frame| frame.vnet.gso_type == GSO_TCPV4));
        assert_eq!((stats.tx_frames, far.counters().rx_frames), (5, 5));
    }

    #[test]
    fn a_frame_without_a_buffer_is_dropped_and_counted() {
        let (mut near, mut far) = pair(8);
        near.send(&mut numbered(3), &mut PortCounters::default())
            .unwrap();
        let mut got = Vec::new();
        assert_eq!(far.recv(&Pool::new(2, 0), &mut got, 8), Ok(2));
        assert_eq!(far.counters().rx_no_buffer, 1);
    }

    #[test]
    fn a_failure_is_seen_by_the_other_end_until_it_is_taken_back() {
        let pool = Pool::new(8, 0);
        let (mut near, mut far) = pair(8);
        let mut stats = PortCounters::default();
        for failure in [PortError::Down, PortError::Gone] {
            far.fail_peer(Some(failure));
            let mut frames = numbered(1);
            assert_eq!(near.send(&mut frames, &mut stats), Err(failure));
            assert_eq!(frames.len(), 1);
            assert_eq!(near.recv(&pool, &mut Vec::new(), 1), Err(failure));
            assert_eq!(far.recv(&pool, &mut Vec::new(), 1), Ok(0));
        }
        far.fail_peer(None);
        assert_eq!(near.send(&mut numbered(1), &mut stats), Ok(1));
        assert_eq!(far.take().len(), 1);
    }
}
