//! Receives numbered packets and accounts for each.
//!
//! Orders: `count` answers what came so far; `take NS` writes a record of every packet of the last
//! while that came at NS or later to the file, and forgets the records before.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write, stdin},
    net::UdpSocket,
    os::fd::AsRawFd,
};

use serde_json::{Value, json};

use crate::{
    ledger::Ledger,
    options::Options,
    orders::{Order, Orders, say, wait},
    packet::{Numbered, wall_ahead},
    socket::{Landing, drops, listen},
};

/// Records kept: ten seconds at 200,000 packets/s.
const KEPT: usize = 2_000_000;
/// Streams told apart; a foreign packet cannot open more.
const STREAMS: u32 = 4096;

/// A packet that came: stream and number, when it was sent, when it came.
struct Record {
    packet: Numbered,
    arrived: u64,
}

struct Receiver {
    socket: UdpSocket,
    streams: BTreeMap<u32, Ledger>,
    foreign: u64,
    /// When the latest of the packets that came was sent.
    latest: u64,
    records: VecDeque<Record>,
    file: Option<BufWriter<File>>,
}

/// Receives until standard input ends.
pub fn receive(port: u16, options: &Options) -> io::Result<()> {
    let file = match options.text("take") {
        None => None,
        Some(path) => Some(BufWriter::new(
            OpenOptions::new().create(true).append(true).open(path)?,
        )),
    };
    let mut receiver = Receiver {
        socket: listen(port)?,
        streams: BTreeMap::new(),
        foreign: 0,
        latest: 0,
        records: VecDeque::new(),
        file,
    };
    say(&json!({"report": "ready"}))?;
    let mut landing = Landing::new();
    let mut orders = Orders::default();
    loop {
        match orders.next()? {
            Some(Order::End) => break,
            Some(Order::Line(line)) => {
                let answer = receiver.obey(&line)?;
                say(&answer)?;
            }
            None => {}
        }
        if receiver.take(&mut landing)? == 0 {
            let descriptors = [receiver.socket.as_raw_fd(), stdin().as_raw_fd()];
            wait(&descriptors, -1)?;
        }
    }
    // What waits in the socket came as well.
    while receiver.take(&mut landing)? > 0 {}
    say(&receiver.count()?)
}

impl Receiver {
    fn take(&mut self, landing: &mut Landing) -> io::Result<usize> {
        let ahead = wall_ahead();
        let Self {
            streams,
            foreign,
            latest,
            records,
            file,
            ..
        } = self;
        landing.receive(&self.socket, |payload, stamp| {
            let packet = Numbered::read(payload).filter(|packet| packet.stream < STREAMS);
            let Some(packet) = packet else {
                *foreign += 1;
                return;
            };
            if !streams
                .entry(packet.stream)
                .or_default()
                .take(packet.number)
            {
                *foreign += 1;
                return;
            }
            *latest = packet.sent.max(*latest);
            if file.is_some() {
                if records.len() == KEPT {
                    records.pop_front();
                }
                records.push_back(Record {
                    packet,
                    arrived: stamp.wrapping_sub(ahead),
                });
            }
        })
    }

    fn obey(&mut self, line: &str) -> io::Result<Value> {
        match line.split_once(' ') {
            None if line == "count" => self.count(),
            Some(("take", from)) => {
                let from = from.parse().unwrap_or(0);
                self.write(from)
            }
            _ => Ok(json!({"error": format!("{line}: count or take")})),
        }
    }

    fn write(&mut self, from: u64) -> io::Result<Value> {
        let mut written = 0;
        if let Some(file) = &mut self.file {
            for record in self
                .records
                .drain(..)
                .filter(|record| record.arrived >= from)
            {
                let Numbered {
                    stream,
                    number,
                    sent,
                } = record.packet;
                for word in [u64::from(stream) << 40 | number, sent, record.arrived] {
                    file.write_all(&word.to_ne_bytes())?;
                }
                written += 1;
            }
            file.flush()?;
        }
        Ok(json!({"records": written}))
    }

    fn count(&self) -> io::Result<Value> {
        let sum = |of: fn(&Ledger) -> u64| self.streams.values().map(of).sum::<u64>();
        Ok(json!({
            "received": sum(|ledger| ledger.distinct),
            "duplicates": sum(|ledger| ledger.duplicates),
            "reordered": sum(|ledger| ledger.reordered),
            "streams": self.streams.iter().map(|(stream, ledger)| {
                (stream.to_string(), json!({"next": ledger.next, "received": ledger.distinct}))
            }).collect::<serde_json::Map<_, _>>(),
            "foreign": self.foreign,
            "latest": self.latest,
            "overflows": drops(&self.socket)?,
        }))
    }
}
