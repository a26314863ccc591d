//! The eavesdropper on a veth pair.

mod common;

use common::*;
use esprit_packet::Pool;
use esprit_port::{Capture, CaptureOptions};

/// An IPv4 packet of a protocol, behind its Ethernet header and `tags`.
fn ipv4(tags: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    packet[9] = protocol;
    [&ADDRESSES, tags, &[0x08, 0x00], &packet, payload].concat()
}

#[test]
fn everything_is_heard_both_ways_and_needles_are_found() {
    in_namespace(|| {
        veth("a0", "b0");
        let path = std::env::temp_dir().join(format!("esprit-capture-{}.pcap", std::process::id()));
        let capture = Capture::start(
            "a0",
            CaptureOptions {
                needles: vec![
                    b"SECRET".to_vec(),
                    b"ZZZZZZZZZZ".to_vec(),
                    b"not there".to_vec(),
                ],
                sample_every: 2,
                keep: 2,
                pcap: Some(path.clone()),
            },
        )
        .unwrap();
        let (mut a, mut b) = (open("a0"), open("b0"));
        let esp = |n: u8| ipv4(&[], 50, &[n; 64]);
        send(&mut a, (1..=9).map(|n| frame(&esp(n))));
        send(
            &mut b,
            [frame(&ipv4(
                &[0x81, 0, 0, 5],
                17,
                b"\0\x09\0\x09\0\0\0\0a SECRET in a VLAN",
            ))],
        );
        send(&mut a, [super_frame(&[], 60_000, 1400)]);
        receive(&mut b, &Pool::new(16, 64), 10);
        receive(&mut a, &Pool::new(16, 64), 1);
        let heard = capture.stop();
        assert_eq!(heard.ended, None);
        assert_eq!(heard.drops, 0);
        assert_eq!((heard.frames, heard.esp, heard.plain), (11, 9, 2));
        let lengths = 9 * esp(0).len() + 14 + 4 + 20 + 8 + 18 + 14 + 40 + 60_000;
        assert_eq!(heard.bytes, lengths as u64);
        assert_eq!(heard.hits, [1, 1, 0]);
        let secret = &heard.first_hits[0];
        assert_eq!(&secret.frame[secret.offset..secret.offset + 6], b"SECRET");
        assert_eq!(secret.frame[12..16], [0x81, 0, 0, 5]);
        assert_eq!(heard.first_hits[1].needle, 1);
        let kept: Vec<_> = heard
            .samples
            .iter()
            .map(|s| (s.gso_size, s.frame.clone()))
            .collect();
        assert_eq!(kept, [(0, esp(1)), (0, esp(3))]);
        assert_eq!(heard.pcap_error, None);
        let record = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(record.len(), 24 + 11 * 16 + lengths);
    });
}

#[test]
fn a_fallen_link_does_not_end_it_and_a_deleted_one_does() {
    in_namespace(|| {
        veth("a0", "b0");
        let capture = Capture::start("a0", CaptureOptions::default()).unwrap();
        let (mut a, mut b) = (open("a0"), open("b0"));
        for fall in [false, true] {
            if fall {
                ip("link set a0 down");
                up("a0", "b0");
            }
            send(&mut b, [frame(&experimental(&[], b"heard"))]);
            receive(&mut a, &Pool::new(4, 64), 1);
        }
        let heard = capture.stop();
        assert_eq!((heard.frames, heard.other, heard.drops), (2, 2, 0));
        assert_eq!(heard.ended, None);
        let capture = Capture::start("a0", CaptureOptions::default()).unwrap();
        ip("link del a0");
        assert!(capture.stop().ended.is_some());
        assert!(Capture::start("a0", CaptureOptions::default()).is_err());
    });
}
