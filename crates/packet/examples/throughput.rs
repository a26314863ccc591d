//! Prints what checksums, cutting and joining cost on this machine:
//!
//! ```text
//! cargo run --release -p esprit-packet --example throughput
//! ```
//!
//! One thread, data in the second-level cache; the best of a hundred short runs. Not a test: figures
//! differ from host to host by a factor of two.

use std::hint::black_box;
use std::time::Instant;

use esprit_packet::checksum::Sum;
use esprit_packet::coalesce::Coalescer;
use esprit_packet::parse::{parse_frame, parse_packet};
use esprit_packet::segment::segments;
use esprit_packet::vnet_hdr::{GSO_TCPV4, NEEDS_CSUM};
use esprit_packet::{Pool, Slice, VnetHdr};

const MSS: usize = 1448;
const SEGMENTS: usize = 45;
const ETH: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];

fn main() {
    let bytes: Vec<u8> = (0..65_000_u32).map(|n| ((n * 31) >> 3) as u8).collect();
    for len in [64, MSS, 65_000] {
        let rounds = 800_000 / (len + 200);
        let seconds = best(rounds, || {
            black_box(Sum::default().add(black_box(&bytes[..len])).finish());
        });
        report(&format!("checksum of {len} bytes"), seconds, len);
    }

    let (vnet, frame) = super_frame();
    let parsed = parse_frame(&frame, &vnet).expect("made to parse");
    let (mut headers, mut cut) = (Vec::new(), Vec::new());
    let seconds = best(100, || {
        headers.clear();
        cut.clear();
        let parsed = parse_frame(black_box(&frame), &vnet).expect("made to parse");
        segments(&frame, &parsed, &vnet, &mut headers, 16, 21, &mut cut).expect("made to be cut");
    });
    report("parse and cut a super-frame", seconds, MSS * SEGMENTS);

    let pool = Pool::new(0, 2);
    let mut buf = pool
        .get(SEGMENTS * (MSS + 52))
        .expect("fits a large buffer");
    for segment in &cut {
        buf.append(&headers[segment.head.start as usize..segment.head.end as usize]);
        buf.append(&frame[segment.body.start as usize..segment.body.end as usize]);
    }
    let opened = buf.share();
    let mut coalescer = Coalescer::new(65_535);
    let mut out = Vec::new();
    let seconds = best(100, || {
        out.clear();
        let mut start = 0;
        for segment in &cut {
            let len = segment.head.len() + segment.body.len();
            let packet = Slice {
                buf: &opened,
                start,
                end: start + len as u32,
            };
            start += len as u32;
            let inner = parse_packet(packet.bytes()).expect("made to parse");
            coalescer.push(&ETH, packet, &inner, &mut out);
        }
        coalescer.flush(&mut out);
    });
    assert_eq!(out.len(), 1, "one super-frame again");
    report("parse and join its segments", seconds, MSS * SEGMENTS);
    println!(
        "({SEGMENTS} segments of {MSS}, headers {} bytes)",
        parsed.payload
    );
}

/// Seconds that one call takes, in the best of a hundred short runs of `rounds`.
#[expect(
    clippy::disallowed_methods,
    reason = "measuring time is what this is for"
)]
fn best(rounds: usize, mut call: impl FnMut()) -> f64 {
    (0..100)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..rounds {
                call();
            }
            start.elapsed().as_secs_f64() / rounds as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn report(what: &str, seconds: f64, bytes: usize) {
    let (nanos, rate) = (seconds * 1e9, bytes as f64 / seconds / 1e9);
    println!("{what:32} {nanos:10.1} ns {rate:8.2} GB/s");
}

/// TCP over IPv4 with timestamps, the checksum unfinished, as the host's stack leaves it.
fn super_frame() -> (VnetHdr, Vec<u8>) {
    let payload = MSS * SEGMENTS;
    let mut frame = ETH.to_vec();
    frame.extend_from_slice(&[0x45, 0]);
    frame.extend_from_slice(&((52 + payload) as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend_from_slice(&[0x13, 0x88, 0x17, 0x70, 0, 0, 0, 1, 0, 0, 0, 2]);
    frame.extend_from_slice(&[0x80, 0x18, 1, 0, 0, 0, 0, 0]);
    frame.extend_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    frame.extend((0..payload as u32).map(|n| ((n * 31) >> 3) as u8));
    let vnet = VnetHdr {
        flags: NEEDS_CSUM,
        gso_type: GSO_TCPV4,
        hdr_len: 66,
        gso_size: MSS as u16,
        csum_start: 34,
        csum_offset: 16,
    };
    (vnet, frame)
}
