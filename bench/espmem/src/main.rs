//! ESP in memory: what a packet costs between the read from one device and the write to another.
//!
//! Two gateways, each a worker with its step function, but with shelves of frames in place of
//! devices: the clock runs from "frames lie there" to "frames were handed to the port". Beside
//! it stands the bare cipher over as many bytes, which nothing can go below.
//!
//! It prints one line of JSON: a list with an entry per packet length. All times are nanoseconds
//! per packet, the median of [`SAMPLES`] batches, from one core.

mod bare;
mod frames;
mod gateway;

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bare::Bare;
use crate::frames::{Batch, super_frame, udp_frame};
use crate::gateway::{Gateway, Side};

/// Batches that are timed; as many again go before, so that caches and branch predictors are warm.
const SAMPLES: usize = 2000;

/// Frames in a batch: what a worker takes from a port in one turn.
const BATCH: usize = 32;

/// Lengths of the inner IP packets.
const LENGTHS: [usize; 3] = [64, 512, 1400];

/// Segments in the super-frame: as many of 1400 bytes as fit into 64 KiB.
const SEGMENTS: usize = 46;

/// Segments in the super-frame that leaves as one, in UDP: as many as fit with what ESP adds,
/// 36 bytes each.
const SEGMENTS_IN_UDP: usize = 45;

#[derive(Serialize)]
struct Row {
    /// Bytes of the inner IP packet.
    bytes: usize,
    /// Packets that come as one super-frame.
    packets_per_frame: usize,
    /// ESP in UDP, so that super-frames go over the wire as well.
    udp: bool,
    seal_ns: f64,
    bare_seal_ns: f64,
    open_ns: f64,
    bare_open_ns: f64,
}

fn main() {
    let mut rows: Vec<Row> = LENGTHS
        .iter()
        .map(|&bytes| {
            let batch = Batch::new(udp_frame(bytes), BATCH);
            measure(bytes, 1, false, &batch)
        })
        .collect();
    let bytes = 1400;
    for (segments, udp) in [(SEGMENTS, false), (SEGMENTS_IN_UDP, true)] {
        let batch = Batch::new(super_frame(bytes, segments), 1);
        rows.push(measure(bytes, segments, udp, &batch));
    }
    match serde_json::to_string(&rows) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("espmem: {error}"),
    }
}

fn measure(bytes: usize, packets_per_frame: usize, udp: bool, batch: &Batch) -> Row {
    let mut left = Gateway::new(Side::Left, udp);
    let mut right = Gateway::new(Side::Right, udp);
    let packets = (batch.len() * packets_per_frame) as f64;
    let mut bare = Bare::new(bytes, BATCH);
    let [mut seal, mut open, mut bare_seal, mut bare_open] = [const { Vec::new() }; 4];
    for round in 0..2 * SAMPLES {
        left.put_host_frames(batch);
        let started = Instant::now();
        left.turn();
        let sealed_in = started.elapsed();

        let sealed = left.take_wire_frames();
        right.put_wire_frames(&sealed);
        let started = Instant::now();
        right.turn();
        let opened_in = started.elapsed();
        let opened = right.take_host_payload(batch.headers());
        assert_eq!(
            opened,
            batch.payload(),
            "everything that was sealed was opened"
        );

        // In turns, so that whatever else the machine does falls on both.
        let (bare_sealed_in, bare_opened_in) = bare.turn();
        if round >= SAMPLES {
            let per = |time: Duration, packets: f64| time.as_nanos() as f64 / packets;
            seal.push(per(sealed_in, packets));
            open.push(per(opened_in, packets));
            bare_seal.push(per(bare_sealed_in, BATCH as f64));
            bare_open.push(per(bare_opened_in, BATCH as f64));
        }
    }
    Row {
        bytes,
        packets_per_frame,
        udp,
        seal_ns: median(&mut seal),
        bare_seal_ns: median(&mut bare_seal),
        open_ns: median(&mut open),
        bare_open_ns: median(&mut bare_open),
    }
}

/// The middle value; zero of an empty list.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
