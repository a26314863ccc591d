//! A member's port against the kernel: two of them on a veth pair.

mod common;

use std::collections::VecDeque;

use common::*;
use esprit_packet::buf::SMALL;
use esprit_packet::vnet_hdr::GSO_TCPV4;
use esprit_packet::{Pool, Slice, TxFrame, VnetHdr};
use esprit_port::packet::SOCKET_BUFFER;
use esprit_port::{MARK, PacketOptions, PacketPort, Port, PortCounters, PortError, device};

const IFF_PROMISC: &str = "promiscuity 1 ";

fn pool() -> Pool {
    Pool::new(256, 128)
}

#[test]
fn frames_of_all_sizes_arrive_as_they_were_and_in_order() {
    in_namespace(|| {
        veth("a0", "b0");
        ip("link set a0 mtu 9000");
        ip("link set b0 mtu 9000");
        let (mut a, mut b) = (open("a0"), open("b0"));
        let pool = pool();
        // Both sides of what fits a small buffer, and more than one system call's batch.
        let lengths = [
            46,
            100,
            1486,
            SMALL - 15,
            SMALL - 14,
            SMALL - 13,
            5000,
            8986,
        ];
        let frames: Vec<Vec<u8>> = (0..80_u8)
            .map(|n| experimental(&[], &vec![n; lengths[usize::from(n) % lengths.len()]]))
            .collect();
        // The middle part in slices, as an opened super-frame comes.
        let sliced = |bytes: &Vec<u8>| {
            let mut buf = pool.get(bytes.len()).unwrap();
            buf.append(bytes);
            let buf = buf.share();
            let cut = |start: usize, end: usize| Slice {
                buf: &buf,
                start: start as u32,
                end: end as u32,
            };
            TxFrame {
                vnet: VnetHdr::default(),
                head: bytes[..14].iter().copied().collect(),
                body: [cut(14, 20), cut(20, 20), cut(20, bytes.len())]
                    .into_iter()
                    .collect(),
            }
        };
        send(&mut a, frames.iter().map(sliced));
        let got = receive(&mut b, &pool, frames.len());
        for (got, sent) in got.iter().zip(&frames) {
            assert_eq!(got.buf.data(), sent);
            assert_eq!(got.vnet, VnetHdr::default());
        }
        assert_eq!(got.len(), frames.len());
        let bytes = frames.iter().map(Vec::len).sum::<usize>() as u64;
        assert_eq!((a.counters().tx_frames, a.counters().tx_bytes), (80, bytes));
        assert_eq!((b.counters().rx_frames, b.counters().rx_bytes), (80, bytes));
    });
}

#[test]
fn a_super_frame_stays_whole_and_described() {
    in_namespace(|| {
        veth("a0", "b0");
        let (mut a, mut b) = (open("a0"), open("b0"));
        let sent = super_frame(&[], 60_000, 1400);
        send(&mut a, [sent.clone()]);
        let got = receive(&mut b, &pool(), 1);
        assert_eq!(got[0].buf.data(), sent.to_vec());
        assert_eq!(got[0].vnet, sent.vnet);
    });
}

#[test]
fn stripped_tags_stand_in_the_frame_again() {
    in_namespace(|| {
        veth("a0", "b0");
        let (mut a, mut b) = (open("a0"), open("b0"));
        let tags: [&[u8]; 4] = [
            &[0x81, 0x00, 0x20, 0x05],
            // The priority tag of VLAN 0 is a tag too.
            &[0x81, 0x00, 0x00, 0x00],
            &[0x88, 0xa8, 0x00, 0x07],
            &[0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x20, 0x05],
        ];
        for tags in tags {
            for payload in [100, 1400] {
                let sent = experimental(tags, &vec![7; payload]);
                send(&mut a, [frame(&sent)]);
                assert_eq!(receive(&mut b, &pool(), 1)[0].buf.data(), sent);
            }
        }
    });
}

#[test]
fn a_tag_put_back_into_a_super_frame_moves_its_checksum() {
    in_namespace(|| {
        veth("a0", "b0");
        let (mut a, mut b) = (open("a0"), open("b0"));
        let sent = super_frame(&[0x81, 0x00, 0x00, 0x64], 20_000, 1400);
        send(&mut a, [sent.clone()]);
        let got = receive(&mut b, &pool(), 1);
        assert_eq!(got[0].buf.data(), sent.to_vec());
        assert_eq!(got[0].vnet.gso_kind(), GSO_TCPV4);
        assert_eq!(got[0].vnet.csum_start, 14 + 4 + 20);
        assert_eq!(got[0].vnet.csum_offset, 16);
        assert_eq!(got[0].vnet.hdr_len, 14 + 4 + 40);
    });
}

#[test]
fn a_port_does_not_hear_itself() {
    in_namespace(|| {
        veth("a0", "b0");
        let (mut a, mut b) = (open("a0"), open("b0"));
        let pool = pool();
        send(&mut a, [frame(&experimental(&[], b"out"))]);
        receive(&mut b, &pool, 1);
        send(&mut b, [frame(&experimental(&[], b"in"))]);
        let got = receive(&mut a, &pool, 1);
        assert!(got[0].buf.data().ends_with(b"in"));
        assert_eq!(a.recv(&pool, &mut Vec::new(), 8), Ok(0));
    });
}

#[test]
fn a_door_shut_to_the_host_lets_the_port_through() {
    in_namespace(|| {
        veth("a0", "b0");
        ip("addr add 10.1.1.1/24 dev a0");
        ip("neigh add 10.1.1.2 lladdr 02:00:00:00:00:09 dev a0");
        run("nft", "add table netdev esprit");
        let hook = |direction| {
            format!(
                "add chain netdev esprit {direction} {{ type filter hook {direction} device a0 \
                 priority 0 ; policy drop ; }}"
            )
        };
        run("nft", &hook("ingress"));
        run("nft", &hook("egress"));
        run(
            "nft",
            &format!("add rule netdev esprit egress meta mark {MARK:#x} accept"),
        );
        let (mut a, mut b) = (open("a0"), open("b0"));
        let pool = pool();
        // What the host itself would send does not leave; its send fails or is lost.
        let host = std::net::UdpSocket::bind("10.1.1.1:0").unwrap();
        let _ = host.send_to(b"plain", "10.1.1.2:9");
        send(&mut a, [frame(&experimental(&[], b"marked"))]);
        let got = receive(&mut b, &pool, 1);
        assert!(
            got[0].buf.data().ends_with(b"marked"),
            "{:?}",
            got[0].buf.data()
        );
        // And the port still hears what ingress keeps from the host.
        send(&mut b, [frame(&experimental(&[], b"heard"))]);
        assert!(receive(&mut a, &pool, 1)[0].buf.data().ends_with(b"heard"));
    });
}

#[test]
fn a_device_that_was_down_carries_again() {
    in_namespace(|| {
        veth("a0", "b0");
        let (mut a, mut b) = (open("a0"), open("b0"));
        let pool = pool();
        device::set_up("a0", false).unwrap();
        let mut frames = VecDeque::from([frame(&experimental(&[], b"kept"))]);
        let mut stats = PortCounters::default();
        assert_eq!(a.send(&mut frames, &mut stats), Err(PortError::Down));
        assert_eq!(
            frames.len(),
            1,
            "a frame that a dead link did not take is not lost"
        );
        assert_eq!(a.recv(&pool, &mut Vec::new(), 8), Ok(0));
        // Down and up while nobody looks leaves an error behind that is not true any more.
        up("a0", "b0");
        device::set_up("a0", false).unwrap();
        up("a0", "b0");
        assert_eq!(a.send(&mut frames, &mut stats), Ok(1));
        assert!(receive(&mut b, &pool, 1)[0].buf.data().ends_with(b"kept"));
        device::set_up("a0", false).unwrap();
        up("a0", "b0");
        send(&mut b, [frame(&experimental(&[], b"back"))]);
        assert!(receive(&mut a, &pool, 1)[0].buf.data().ends_with(b"back"));
    });
}

#[test]
fn a_deleted_device_is_gone_for_both_directions() {
    in_namespace(|| {
        veth("a0", "b0");
        let (mut a, mut sender) = (open("a0"), open("b0"));
        ip("link del a0");
        assert_eq!(a.recv(&pool(), &mut Vec::new(), 8), Err(PortError::Gone));
        assert_eq!(
            a.recv(&pool(), &mut Vec::new(), 8),
            Err(PortError::Gone),
            "and stays so"
        );
        let mut frames = VecDeque::from([frame(&experimental(&[], b"kept"))]);
        let mut stats = PortCounters::default();
        assert_eq!(sender.send(&mut frames, &mut stats), Err(PortError::Gone));
        assert_eq!((frames.len(), stats.tx_dropped), (1, 0));
        // One of the same name is another device.
        veth("a0", "b0");
        assert_eq!(a.recv(&pool(), &mut Vec::new(), 8), Err(PortError::Gone));
    });
}

#[test]
fn a_device_that_goes_down_first_and_is_deleted_later_is_gone() {
    in_namespace(|| {
        veth("a0", "b0");
        let mut a = open("a0");
        device::set_up("a0", false).unwrap();
        assert_eq!(a.recv(&pool(), &mut Vec::new(), 8), Ok(0));
        assert_eq!(a.recv(&pool(), &mut Vec::new(), 8), Ok(0));
        ip("link del a0");
        assert_eq!(a.recv(&pool(), &mut Vec::new(), 8), Err(PortError::Gone));
    });
}

#[test]
fn what_can_never_go_is_dropped_by_reason_and_the_rest_goes() {
    in_namespace(|| {
        veth("a0", "b0");
        let (mut a, mut b) = (open("a0"), open("b0"));
        let good = || frame(&experimental(&[], b"good"));
        let mut malformed = super_frame(&[], 4000, 1400);
        malformed.vnet.hdr_len = 60_000;
        let too_long = frame(&experimental(&[], &[0; 1501]));
        let mut frames = VecDeque::from([too_long, good(), malformed, good()]);
        let mut stats = PortCounters::default();
        assert_eq!(a.send(&mut frames, &mut stats), Ok(2));
        assert!(frames.is_empty());
        assert_eq!(
            (stats.tx_dropped, stats.tx_too_big, stats.tx_invalid),
            (2, 1, 1)
        );
        assert_eq!(stats.tx_frames, 2);
        let got = receive(&mut b, &pool(), 2);
        assert!(got.iter().all(|frame| frame.buf.data().ends_with(b"good")));
    });
}

#[test]
fn without_buffers_frames_are_dropped_and_counted() {
    in_namespace(|| {
        veth("a0", "b0");
        let (mut a, mut b) = (open("a0"), open("b0"));
        let small = || frame(&experimental(&[], b"small"));
        // Not even a landing place.
        let none = Pool::new(0, 0);
        send(&mut a, (0..40).map(|_| small()));
        assert!(wait_readable(&b));
        assert_eq!(b.recv(&none, &mut Vec::new(), 64), Ok(0));
        assert_eq!(b.counters().rx_no_buffer, 40);
        // A landing place, two small buffers, and none to replace the landing place.
        let scarce = Pool::new(2, 1);
        let mut got = Vec::new();
        send(
            &mut a,
            [small(), small(), small(), super_frame(&[], 9000, 1400)],
        );
        b.recv(&scarce, &mut got, 64).unwrap();
        assert_eq!(got.len(), 2);
        assert_eq!(b.counters().rx_no_buffer, 42);
        // The landing place is still there: it takes what comes when there is memory again.
        got.clear();
        send(&mut a, [small()]);
        assert_eq!(b.recv(&scarce, &mut got, 64), Ok(1));
        assert!(got[0].buf.data().ends_with(b"small"));
    });
}

#[test]
fn what_the_kernel_drops_is_counted() {
    in_namespace(|| {
        veth("a0", "b0");
        let mut a = open("a0");
        let options = PacketOptions {
            receive_buffer: 8192,
            ..PacketOptions::default()
        };
        let mut b = PacketPort::open(device::ifindex("b0").unwrap(), options).unwrap();
        assert!(!b.buffers_suffice());
        send(
            &mut a,
            (0..500).map(|_| frame(&experimental(&[], &[0; 1000]))),
        );
        // One more is told apart from the others and comes when there is room, after all of them.
        let mut got = Vec::new();
        let pool = Pool::new(600, 64);
        while b.recv(&pool, &mut got, 64) != Ok(0) {}
        b.refresh();
        assert!(got.len() < 500);
        assert_eq!(got.len() as u64 + b.counters().rx_kernel_drops, 500);
        b.refresh();
        assert_eq!(
            got.len() as u64 + b.counters().rx_kernel_drops,
            500,
            "counted once"
        );
    });
}

#[test]
fn memberships_end_with_the_port() {
    in_namespace(|| {
        veth("a0", "b0");
        let shown = || {
            let output = std::process::Command::new("ip")
                .args(["-d", "link", "show", "a0"])
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(shown().contains("allmulti 0 "), "{}", shown());
        let mut a = open("a0");
        assert!(
            a.buffers_suffice(),
            "{} {}",
            a.receive_buffer(),
            SOCKET_BUFFER
        );
        assert!(shown().contains("allmulti 1 "), "{}", shown());
        // A veth filters nothing itself: for an address more the kernel makes it promiscuous.
        a.set_addresses(&[[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]])
            .unwrap();
        assert!(shown().contains(IFF_PROMISC), "{}", shown());
        a.set_addresses(&[[2, 0, 0, 0, 0, 2]]).unwrap();
        assert!(shown().contains(IFF_PROMISC), "{}", shown());
        a.set_addresses(&[]).unwrap();
        assert!(!shown().contains(IFF_PROMISC), "{}", shown());
        a.set_addresses(&[[2, 0, 0, 0, 0, 1]]).unwrap();
        drop(a);
        assert!(
            !shown().contains(IFF_PROMISC) && shown().contains("allmulti 0 "),
            "{}",
            shown()
        );
    });
}

#[test]
fn no_port_without_an_interface() {
    in_namespace(|| {
        for ifindex in [0, 77, u32::MAX] {
            let error = PacketPort::open(ifindex, PacketOptions::default()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        }
    });
}
