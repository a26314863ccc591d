//! Malformed packets that others collected: nothing panics, and what parses is proved.
//!
//! The collections lie outside the repository: in the folder that ESPRIT_VECTORS names, or in
//! `../shared/vectors` from the repository's root.

use std::path::{Path, PathBuf};
use std::process::Command;

use esprit_packet::coalesce::Coalescer;
use esprit_packet::parse::{parse_frame, parse_packet};
use esprit_packet::segment::segments;
use esprit_packet::vnet_hdr::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM};
use esprit_packet::{Pool, Slice, VnetHdr};

use crate::parse::assert_proved;

/// The files of an archive, unpacked; `None`, said aloud, where it is missing.
fn unpack(archive: &str) -> Option<Vec<Vec<u8>>> {
    let vectors = std::env::var_os("ESPRIT_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let archive = vectors.join("malformed").join(archive);
    if !archive.is_file() {
        assert!(
            std::env::var_os("ESPRIT_CI").is_none(),
            "no {} on CI",
            archive.display()
        );
        println!("skipped: no {} (set ESPRIT_VECTORS)", archive.display());
        return None;
    }
    let name = archive.file_name()?.to_string_lossy().into_owned();
    let into = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.d"));
    std::fs::create_dir_all(&into).unwrap();
    let status = Command::new("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(&into)
        .status();
    assert!(
        status.unwrap().success(),
        "tar cannot unpack {}",
        archive.display()
    );
    let mut files = Vec::new();
    let mut folders = vec![into];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(std::fs::read(path).unwrap());
            }
        }
    }
    Some(files)
}

/// Sends one input through all that looks at a stranger's bytes. Whether it is a packet.
fn swallow(bytes: &[u8]) -> bool {
    for gso_type in [0, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4] {
        for flags in [0, NEEDS_CSUM] {
            let vnet = VnetHdr {
                flags,
                gso_type,
                hdr_len: 0,
                gso_size: 100,
                csum_start: 34,
                csum_offset: if gso_type == GSO_UDP_L4 { 6 } else { 16 },
            };
            if let Ok(parsed) = parse_frame(bytes, &vnet) {
                assert_proved(&parsed, bytes);
                let (mut headers, mut out) = (vec![0xa5; 3], Vec::new());
                let _ = segments(bytes, &parsed, &vnet, &mut headers, 16, 21, &mut out);
            }
        }
    }
    let Ok(parsed) = parse_packet(bytes) else {
        return false;
    };
    assert_proved(&parsed, bytes);
    let pool = Pool::new(2, 2);
    let mut coalescer = Coalescer::new(65_535);
    let mut out = Vec::new();
    for _ in 0..2 {
        let Some(mut buf) = pool.get(bytes.len()) else {
            return true;
        };
        buf.append(bytes);
        coalescer.push(&[2; 14], Slice::whole(&buf.share()), &parsed, &mut out);
    }
    coalescer.flush(&mut out);
    // It follows itself with the sequence number it had, so it is never joined.
    assert_eq!(out.len(), 2);
    for frame in out {
        assert_eq!(frame.to_vec()[14..], *bytes);
    }
    true
}

#[test]
fn the_fuzzers_packets() {
    let Some(files) = unpack("firezone-ip-packet-fuzz-corpus.tar.gz") else {
        return;
    };
    let packets = files.iter().filter(|bytes| swallow(bytes)).count();
    println!("{} inputs, {packets} of them packets", files.len());
    assert!(
        files.len() > 100 && packets > 0,
        "not the corpus that was meant"
    );
}

#[test]
fn the_malformed_captures() {
    let Some(files) = unpack("tcpdump-tests-pcaps.tar.xz") else {
        return;
    };
    let (mut records, mut packets) = (0, 0);
    for file in &files {
        for (ethernet, bytes) in captured(file) {
            records += 1;
            let skip = if ethernet { 14 } else { 0 };
            swallow(bytes);
            packets += usize::from(bytes.get(skip..).is_some_and(swallow));
        }
    }
    println!(
        "{} captures, {records} frames, {packets} of them IP",
        files.len()
    );
    assert!(
        records > 1000 && packets > 100,
        "not the captures that were meant"
    );
}

/// The frames of a pcap file, and whether they have an Ethernet header (link type 1). What
/// cannot be read is left out: these files are broken on purpose.
fn captured(file: &[u8]) -> Vec<(bool, &[u8])> {
    let swapped = match file.first_chunk() {
        Some([0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) => true,
        Some([0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d]) => false,
        _ => return Vec::new(),
    };
    let word = |bytes: &[u8], at: usize| -> Option<usize> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(if swapped {
            u32::from_le_bytes(word)
        } else {
            u32::from_be_bytes(word)
        } as usize)
    };
    let ethernet = word(file, 20) == Some(1);
    let mut frames = Vec::new();
    let mut at = 24;
    while let Some(len) = word(file, at + 8) {
        let Some(bytes) = file.get(at + 16..at + 16 + len) else {
            break;
        };
        frames.push((ethernet, bytes));
        at += 16 + len;
    }
    frames
}
