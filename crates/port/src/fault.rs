//! A bad line: a decorator that loses, doubles and swaps frames, the same way for the same seed.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use esprit_packet::{Pool, RxFrame, TxFrame};

use crate::counters::PortCounters;
use crate::{Port, PortError};

/// How bad a line is, in each direction. Probabilities per frame, 0.0 to 1.0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Where the dice start.
    pub seed: u64,
    /// A frame is lost.
    pub loss: f64,
    /// A frame comes twice in a row.
    pub duplicate: f64,
    /// A frame comes after the ones behind it that the same or the next call moves.
    pub reorder: f64,
}

/// What the faults came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounters {
    /// Frames lost.
    pub lost: u64,
    /// Frames that came twice.
    pub duplicated: u64,
    /// Frames that were held back.
    pub reordered: u64,
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, and good enough for dice.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn hit(&mut self, probability: f64) -> bool {
        // The upper 53 bits are a fraction that a double holds exactly.
        let roll = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        roll < probability
    }
}

#[derive(Clone, Copy)]
enum Fate {
    Passes,
    Lost,
    Twice,
    Later,
}

#[derive(Debug)]
struct Direction {
    dice: Dice,
    faults: Faults,
    counters: FaultCounters,
}

impl Direction {
    fn fate(&mut self) -> Fate {
        // Three rolls for every frame, so that one probability does not shift the others' dice.
        let [lost, twice, later] = [self.faults.loss, self.faults.duplicate, self.faults.reorder]
            .map(|p| self.dice.hit(p));
        if lost {
            self.counters.lost += 1;
            Fate::Lost
        } else if twice {
            self.counters.duplicated += 1;
            Fate::Twice
        } else if later {
            self.counters.reordered += 1;
            Fate::Later
        } else {
            Fate::Passes
        }
    }
}

/// A port on a bad line.
#[derive(Debug)]
pub struct FaultPort<P> {
    port: P,
    rx: Direction,
    tx: Direction,
    rx_held: Option<RxFrame>,
    /// Frames that have their fate behind them and wait for the device.
    tx_ready: VecDeque<TxFrame>,
    tx_held: Option<TxFrame>,
    scratch: Vec<RxFrame>,
}

impl<P: Port> FaultPort<P> {
    /// A bad line in front of `port`: what it receives suffers `rx`, what it sends `tx`.
    pub const fn new(port: P, rx: Faults, tx: Faults) -> Self {
        const NONE: FaultCounters = FaultCounters {
            lost: 0,
            duplicated: 0,
            reordered: 0,
        };
        Self {
            port,
            rx: Direction {
                dice: Dice(rx.seed),
                faults: rx,
                counters: NONE,
            },
            tx: Direction {
                dice: Dice(tx.seed),
                faults: tx,
                counters: NONE,
            },
            rx_held: None,
            tx_ready: VecDeque::new(),
            tx_held: None,
            scratch: Vec::new(),
        }
    }

    /// What the faults came to: on receive and on send.
    pub const fn faults(&self) -> (FaultCounters, FaultCounters) {
        (self.rx.counters, self.tx.counters)
    }
}

impl<P: Port> Port for FaultPort<P> {
    /// As of the port within; a doubled frame may exceed `max` by one per frame.
    fn recv(
        &mut self,
        pool: &Pool,
        out: &mut Vec<RxFrame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let before = out.len();
        let mut frames = std::mem::take(&mut self.scratch);
        let outcome = self.port.recv(pool, &mut frames, max);
        let held = self.rx_held.take();
        for frame in frames.drain(..) {
            match self.rx.fate() {
                Fate::Lost => {}
                // One at a time is late; the second one in a call passes.
                Fate::Later if self.rx_held.is_none() => self.rx_held = Some(frame),
                Fate::Passes | Fate::Later => out.push(frame),
                Fate::Twice => {
                    let copy = copy(&frame, pool);
                    out.push(frame);
                    out.extend(copy);
                }
            }
        }
        out.extend(held);
        self.scratch = frames;
        outcome.map(|_| out.len() - before)
    }

    fn send(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        stats: &mut PortCounters,
    ) -> Result<usize, PortError> {
        // Only an empty queue takes more: what waits is bounded by twice one call's frames.
        if self.tx_ready.is_empty() {
            let held = self.tx_held.take();
            for frame in frames.drain(..) {
                match self.tx.fate() {
                    Fate::Lost => {}
                    Fate::Later if self.tx_held.is_none() => self.tx_held = Some(frame),
                    Fate::Passes | Fate::Later => self.tx_ready.push_back(frame),
                    Fate::Twice => {
                        self.tx_ready.push_back(frame.clone());
                        self.tx_ready.push_back(frame);
                    }
                }
            }
            self.tx_ready.extend(held);
        }
        self.port.send(&mut self.tx_ready, stats)
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

    fn set_addresses(&mut self, addresses: &[crate::Mac]) -> std::io::Result<()> {
        self.port.set_addresses(addresses)
    }
}

fn copy(frame: &RxFrame, pool: &Pool) -> Option<RxFrame> {
    let mut buf = pool.get(frame.buf.len())?;
    buf.append(frame.buf.data());
    Some(RxFrame {
        vnet: frame.vnet,
        buf,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{self, MemoryPort};

    const FRAMES: u8 = 200;

    fn numbered() -> VecDeque<TxFrame> {
        (0..FRAMES)
            .map(|n| TxFrame {
                head: [n; 60].into_iter().collect(),
                ..TxFrame::default()
            })
            .collect()
    }

    /// The numbers of the frames that come through, and what the faults came to.
    fn pass(rx: Faults, tx: Faults) -> (Vec<u8>, (FaultCounters, FaultCounters)) {
        let pool = Pool::new(1024, 0);
        let (near, mut far): (MemoryPort, MemoryPort) = memory::pair(1024);
        let mut near = FaultPort::new(near, rx, tx);
        let mut stats = PortCounters::default();
        far.send(&mut numbered(), &mut stats).unwrap();
        let mut got = Vec::new();
        // Once more than there is something: a frame that was held back comes with the next call.
        for _ in 0..12 {
            near.recv(&pool, &mut got, 20).unwrap();
        }
        let mut frames = numbered();
        near.send(&mut frames, &mut stats).unwrap();
        assert!(frames.is_empty());
        near.send(&mut frames, &mut stats).unwrap();
        let numbers = got
            .iter()
            .map(|frame| frame.buf.data()[0])
            .chain(far.take().iter().map(|frame| frame.head[0]))
            .collect();
        (numbers, near.faults())
    }

    #[test]
    fn a_good_line_changes_nothing() {
        let (numbers, _) = pass(Faults::default(), Faults::default());
        let once: Vec<u8> = (0..FRAMES).collect();
        assert_eq!(numbers, [once.clone(), once].concat());
    }

    #[test]
    fn the_same_seed_does_the_same_and_counts_what_it_did() {
        let faults = Faults {
            seed: 7,
            loss: 0.1,
            duplicate: 0.1,
            reorder: 0.1,
        };
        let (numbers, (rx, tx)) = pass(faults, faults);
        assert_eq!(pass(faults, faults).0, numbers);
        assert_ne!(pass(Faults { seed: 8, ..faults }, faults).0, numbers);
        for counters in [rx, tx] {
            assert!(counters.lost > 0 && counters.duplicated > 0 && counters.reordered > 0);
        }
        let expected = 2 * u64::from(FRAMES) - rx.lost - tx.lost + rx.duplicated + tx.duplicated;
        assert_eq!(numbers.len() as u64, expected);
    }

    #[test]
    fn a_swapped_frame_is_late_and_not_lost() {
        let late = Faults {
            seed: 3,
            reorder: 0.2,
            ..Faults::default()
        };
        let (numbers, _) = pass(late, late);
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        let twice: Vec<u8> = (0..FRAMES).flat_map(|n| [n, n]).collect();
        assert_eq!(sorted, twice);
        let once: Vec<u8> = (0..FRAMES).collect();
        assert_ne!(numbers, [once.clone(), once].concat());
    }
}
