//! The virtual NIC against the kernel.

mod common;

use std::collections::VecDeque;
use std::net::UdpSocket;

use common::*;
use esprit_packet::Pool;
use esprit_port::{Port, PortCounters, PortError, Tap, TapError, TapOptions, device};

const KEPT: TapOptions = TapOptions {
    adopt: false,
    persist: true,
};

const ADOPTED: TapOptions = TapOptions {
    adopt: true,
    persist: true,
};

#[test]
fn a_name_that_is_taken_is_left_alone() {
    in_namespace(|| {
        veth("a0", "b0");
        let tap = Tap::create("team0", TapOptions::default()).unwrap();
        assert!(!tap.adopted());
        for name in ["team0", "a0"] {
            let error = Tap::create(name, TapOptions::default()).unwrap_err();
            assert!(matches!(error, TapError::Taken(_)), "{error}");
        }
        for name in ["", "a-name-of-16-byte"] {
            let error = Tap::create(name, TapOptions::default()).unwrap_err();
            assert!(matches!(error, TapError::Name(_)), "{error}");
        }
    });
}

#[test]
fn a_device_that_persists_is_adopted_and_one_that_does_not_is_gone() {
    in_namespace(|| {
        let index = Tap::create("team0", KEPT).unwrap().ifindex();
        // The process is gone; the device and its address stay.
        device::set_mac("team0", [2, 0, 0, 0, 0, 7]).unwrap();
        assert!(matches!(
            Tap::create("team0", KEPT),
            Err(TapError::Taken(_))
        ));
        // A child that another test forks holds our old descriptor until it runs its program.
        let adopted = || {
            Tap::create("team0", ADOPTED).ok().or_else(|| {
                std::thread::yield_now();
                None
            })
        };
        let tap = std::iter::repeat_with(adopted)
            .take(100_000)
            .flatten()
            .next()
            .expect("the device is adopted");
        assert!(tap.adopted());
        assert_eq!((tap.ifindex(), tap.name()), (index, "team0"));
        assert_eq!(device::mac("team0").unwrap(), [2, 0, 0, 0, 0, 7]);
        // Another process holds it now.
        assert!(matches!(
            Tap::create("team0", ADOPTED),
            Err(TapError::Taken(_))
        ));
        tap.destroy().unwrap();
        assert!(device::ifindex("team0").is_err());
        // To adopt what is not there makes it.
        let tap = Tap::create("team0", ADOPTED).unwrap();
        assert!(!tap.adopted());
        tap.set_persist(false).unwrap();
        drop(tap);
        assert!(device::ifindex("team0").is_err());
    });
}

#[test]
fn the_host_and_the_process_exchange_frames() {
    in_namespace(|| {
        let mut tap = Tap::create("team0", TapOptions::default()).unwrap();
        assert!(
            ["csum", "tso4", "tso6"]
                .iter()
                .all(|name| tap.offloads().contains(name))
        );
        quiet("team0");
        device::set_mtu("team0", 1400).unwrap();
        assert_eq!(device::mtu("team0").unwrap(), 1400);
        let mac = device::mac("team0").unwrap();
        ip("link set team0 up");
        ip("addr add 10.2.2.1/24 dev team0");
        ip("neigh add 10.2.2.2 lladdr 02:00:00:00:00:09 dev team0");
        let host = UdpSocket::bind("10.2.2.1:2000").unwrap();
        host.send_to(b"out", "10.2.2.2:2001").unwrap();
        let pool = Pool::new(8, 2);
        let got = receive(&mut tap, &pool, 1);
        let out = got[0].buf.data();
        assert_eq!(
            out[..14],
            [&[2, 0, 0, 0, 0, 9][..], &mac, &[0x08, 0x00]].concat()
        );
        assert!(out.ends_with(b"out"));
        // Back to where it came from, without a UDP checksum.
        let mut back = out.to_vec();
        back[0..6].copy_from_slice(&mac);
        back[26..30].copy_from_slice(&[10, 2, 2, 2]);
        back[30..34].copy_from_slice(&[10, 2, 2, 1]);
        back[34..38].copy_from_slice(&[0x07, 0xd1, 0x07, 0xd0]);
        back[40..42].fill(0);
        send(&mut tap, [frame(&back)]);
        let mut text = [0; 16];
        host.set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        let (len, from) = host.recv_from(&mut text).unwrap();
        assert_eq!(
            (&text[..len], from),
            (&b"out"[..], "10.2.2.2:2001".parse().unwrap())
        );
    });
}

#[test]
fn a_device_that_is_down_says_so_and_keeps_the_frame() {
    in_namespace(|| {
        let mut tap = Tap::create("team0", TapOptions::default()).unwrap();
        quiet("team0");
        let mut frames = VecDeque::from([frame(&experimental(&[], b"early"))]);
        let mut stats = PortCounters::default();
        assert_eq!(tap.send(&mut frames, &mut stats), Err(PortError::Down));
        assert_eq!(frames.len(), 1);
        assert_eq!(tap.recv(&Pool::new(1, 1), &mut Vec::new(), 1), Ok(0));
        ip("link set team0 up");
        assert_eq!(tap.send(&mut frames, &mut stats), Ok(1));
        // Its virtio-net header names a checksum beyond the frame's end.
        let mut malformed = frame(&experimental(&[], b"bad"));
        malformed.vnet.flags = esprit_packet::vnet_hdr::NEEDS_CSUM;
        malformed.vnet.csum_start = 500;
        frames.extend([malformed, frame(&experimental(&[], b"good"))]);
        assert_eq!(tap.send(&mut frames, &mut stats), Ok(1));
        assert_eq!(
            (stats.tx_frames, stats.tx_invalid, stats.tx_dropped),
            (2, 1, 1)
        );
    });
}

#[test]
fn a_deleted_device_is_gone() {
    in_namespace(|| {
        let mut tap = Tap::create("team0", KEPT).unwrap();
        ip("link del team0");
        assert_eq!(
            tap.recv(&Pool::new(1, 1), &mut Vec::new(), 1),
            Err(PortError::Gone)
        );
        let mut frames = VecDeque::from([frame(&experimental(&[], b"late"))]);
        let mut stats = PortCounters::default();
        assert_eq!(tap.send(&mut frames, &mut stats), Err(PortError::Gone));
    });
}

#[test]
fn without_buffers_frames_are_dropped_and_counted() {
    in_namespace(|| {
        let mut tap = Tap::create("team0", TapOptions::default()).unwrap();
        quiet("team0");
        ip("link set team0 up");
        ip("addr add 10.2.2.1/24 dev team0");
        ip("neigh add 10.2.2.2 lladdr 02:00:00:00:00:09 dev team0");
        let host = UdpSocket::bind("10.2.2.1:2000").unwrap();
        for _ in 0..4 {
            host.send_to(b"out", "10.2.2.2:2001").unwrap();
        }
        let scarce = Pool::new(1, 1);
        let mut got = Vec::new();
        assert_eq!(
            tap.recv(&Pool::new(1, 0), &mut got, 1),
            Ok(0),
            "nowhere to land"
        );
        assert_eq!(tap.counters().rx_no_buffer, 4);
        for _ in 0..3 {
            host.send_to(b"out", "10.2.2.2:2001").unwrap();
        }
        assert_eq!(tap.recv(&scarce, &mut got, 8), Ok(1));
        assert_eq!(tap.counters().rx_no_buffer, 6);
        got.clear();
        host.send_to(b"out", "10.2.2.2:2001").unwrap();
        assert_eq!(tap.recv(&scarce, &mut got, 8), Ok(1));
    });
}
