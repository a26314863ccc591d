//! A record of what passed a port, as a pcap file that every analyser reads (nanosecond variant,
//! LINKTYPE_ETHERNET; draft-ietf-opsawg-pcap).
//!
//! A super-frame is one record of up to 64 KiB, as the host stack had it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::RawFd;

use esprit_packet::{Pool, RxFrame, Time, TxFrame};

use crate::counters::PortCounters;
use crate::{Port, PortError};

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINKTYPE_ETHERNET: u32 = 1;

/// The longest record that analysers accept (MAXIMUM_SNAPLEN of libpcap); no frame is longer.
const SNAPLEN: u32 = 262_144;

const NS_PER_S: u64 = 1_000_000_000;

/// Writes frames into a pcap stream.
#[derive(Debug)]
pub struct PcapWriter<W> {
    out: W,
}

impl<W: Write> PcapWriter<W> {
    /// Starts a stream with its header.
    ///
    /// # Errors
    /// What the stream says.
    pub fn new(mut out: W) -> io::Result<Self> {
        let mut header = [0; 24];
        header[0..4].copy_from_slice(&MAGIC_NANOSECONDS.to_le_bytes());
        header[4..6].copy_from_slice(&2_u16.to_le_bytes());
        header[6..8].copy_from_slice(&4_u16.to_le_bytes());
        header[16..20].copy_from_slice(&SNAPLEN.to_le_bytes());
        header[20..24].copy_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
        out.write_all(&header)?;
        Ok(Self { out })
    }

    /// Appends a frame that lies in pieces, one after the other; `at` counts from whatever origin
    /// the caller has.
    ///
    /// # Errors
    /// What the stream says.
    pub fn write<'a>(
        &mut self,
        at: Time,
        pieces: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> io::Result<()> {
        let len: usize = pieces.clone().map(<[u8]>::len).sum();
        let len = u32::try_from(len)
            .ok()
            .filter(|&len| len <= SNAPLEN)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut header = [0; 16];
        // Seconds have 32 bits in the format: a longer time wraps, as every writer's does.
        let (seconds, nanoseconds) = ((at.0 / NS_PER_S) as u32, (at.0 % NS_PER_S) as u32);
        header[0..4].copy_from_slice(&seconds.to_le_bytes());
        header[4..8].copy_from_slice(&nanoseconds.to_le_bytes());
        header[8..12].copy_from_slice(&len.to_le_bytes());
        header[12..16].copy_from_slice(&len.to_le_bytes());
        self.out.write_all(&header)?;
        for piece in pieces {
            self.out.write_all(piece)?;
        }
        Ok(())
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// What the stream says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The stream.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// A port whose frames are recorded, both ways. A record that cannot be written ends the
/// recording, never the traffic.
pub struct PcapPort<P, W> {
    port: P,
    writer: PcapWriter<W>,
    clock: Box<dyn FnMut() -> Time + Send>,
    error: Option<io::Error>,
    /// Frames given to the port, with a reference to each: what it sent is what is missing after.
    offered: Vec<TxFrame>,
}

impl<P: Port, W: Write + Send> PcapPort<P, W> {
    /// Records what passes `port` into `writer`; `clock` gives the records' time.
    pub fn new(
        port: P,
        writer: PcapWriter<W>,
        clock: impl FnMut() -> Time + Send + 'static,
    ) -> Self {
        Self {
            port,
            writer,
            clock: Box::new(clock),
            error: None,
            offered: Vec::new(),
        }
    }

    /// What ended the recording, if something did.
    pub const fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// The port and the record.
    pub fn into_inner(self) -> (P, PcapWriter<W>) {
        (self.port, self.writer)
    }

    fn record<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]> + Clone) {
        if self.error.is_none() {
            let now = (self.clock)();
            self.error = self.writer.write(now, pieces).err();
        }
    }
}

impl<P: Port, W: Write + Send> Port for PcapPort<P, W> {
    fn recv(
        &mut self,
        pool: &Pool,
        out: &mut Vec<RxFrame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let before = out.len();
        let outcome = self.port.recv(pool, out, max);
        for frame in &out[before..] {
            self.record(std::iter::once(frame.buf.data()));
        }
        outcome
    }

    /// As of the port within. A frame that it drops (too big, malformed) is in the record too: it
    /// left the queue like one that was sent.
    fn send(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        stats: &mut PortCounters,
    ) -> Result<usize, PortError> {
        let mut offered = std::mem::take(&mut self.offered);
        offered.extend(frames.iter().cloned());
        let outcome = self.port.send(frames, stats);
        let gone = offered.len() - frames.len();
        for frame in &offered[..gone] {
            self.record(std::iter::once(&frame.head[..]).chain(frame.body.parts()));
        }
        offered.clear();
        self.offered = offered;
        outcome
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;

    #[test]
    fn both_directions_are_recorded_with_time_and_length() {
        let pool = Pool::new(8, 0);
        let (near, mut far) = memory::pair(1);
        let writer = PcapWriter::new(Vec::new()).unwrap();
        let mut near = PcapPort::new(near, writer, || Time(3 * NS_PER_S + 5));
        let frame = |fill: u8| TxFrame {
            head: [fill; 60].into_iter().collect(),
            ..TxFrame::default()
        };
        let mut stats = PortCounters::default();
        far.send(&mut VecDeque::from([frame(1)]), &mut stats)
            .unwrap();
        near.recv(&pool, &mut Vec::new(), 8).unwrap();
        // The line holds one frame: the second one is not sent and so not recorded.
        let mut frames = VecDeque::from([frame(2), frame(3)]);
        assert_eq!(near.send(&mut frames, &mut stats), Ok(1));
        assert_eq!(frames.len(), 1);
        let bytes = near.into_inner().1.into_inner();
        let mut expected =
            Vec::from(*b"\x4d\x3c\xb2\xa1\x02\x00\x04\x00\0\0\0\0\0\0\0\0\0\0\x04\x00\x01\0\0\0");
        for fill in [1, 2] {
            expected.extend(b"\x03\0\0\0\x05\0\0\0\x3c\0\0\0\x3c\0\0\0");
            expected.extend([fill; 60]);
        }
        assert_eq!(bytes, expected);
    }
}
