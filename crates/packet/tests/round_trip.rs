//! Cutting a super-frame and joining its segments again gives the super-frame.

use esprit_packet::checksum::Sum;
use esprit_packet::coalesce::Coalescer;
use esprit_packet::parse::{parse_frame, parse_packet};
use esprit_packet::segment::{Segment, segments};
use esprit_packet::vnet_hdr::{GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM};
use esprit_packet::{Pool, Slice, TxFrame, VnetHdr};
use proptest::prelude::*;

const ETH: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

/// A super-frame as the host's stack leaves it: the checksum unfinished.
fn super_frame(v6: bool, tcp: bool, payload: &[u8], size: u16) -> (VnetHdr, Vec<u8>) {
    let transport = if tcp { 32 } else { 8 };
    let len = transport + payload.len();
    let mut frame = ETH.to_vec();
    let protocol = if tcp { 6 } else { 17 };
    let l4 = if v6 {
        frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend_from_slice(&(len as u16).to_be_bytes());
        frame.extend_from_slice(&[protocol, 64]);
        frame.extend_from_slice(&[0x20; 32]);
        54
    } else {
        frame.extend_from_slice(&[8, 0, 0x45, 0]);
        frame.extend_from_slice(&((20 + len) as u16).to_be_bytes());
        frame.extend_from_slice(&[0, 7, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = Sum::default().add(&frame[14..34]).finish();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        34
    };
    frame.extend_from_slice(&[0x13, 0x88, 0x17, 0x70]);
    if tcp {
        frame.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x18, 1, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    } else {
        frame.extend_from_slice(&(len as u16).to_be_bytes());
        frame.extend_from_slice(&[0, 0]);
    }
    frame.extend_from_slice(payload);
    let field = if tcp { 16 } else { 6 };
    let addresses = if v6 { 22..54 } else { 26..34 };
    let partial = Sum::default()
        .add(&frame[addresses])
        .word(protocol.into())
        .add(&(len as u32).to_be_bytes())
        .partial();
    frame[l4 + field..l4 + field + 2].copy_from_slice(&partial.to_be_bytes());
    let gso = payload.len() > usize::from(size);
    let vnet = VnetHdr {
        flags: NEEDS_CSUM,
        gso_type: match (gso, tcp, v6) {
            (false, ..) => GSO_NONE,
            (true, true, false) => GSO_TCPV4,
            (true, true, true) => GSO_TCPV6,
            (true, false, _) => GSO_UDP_L4,
        },
        hdr_len: (l4 + transport) as u16,
        gso_size: if gso { size } else { 0 },
        csum_start: l4 as u16,
        csum_offset: field as u16,
    };
    (vnet, frame)
}

/// The layer-3 packets that a super-frame is cut into. The blob starts dirty, as ours do.
fn cut(vnet: &VnetHdr, frame: &[u8]) -> Vec<Vec<u8>> {
    let parsed = parse_frame(frame, vnet).unwrap();
    let (mut headers, mut out): (Vec<u8>, Vec<Segment>) = (vec![0xa5; 7], Vec::new());
    segments(frame, &parsed, vnet, &mut headers, 16, 5, &mut out).unwrap();
    out.iter()
        .map(|segment| {
            let mut packet = headers[segment.head.start as usize..segment.head.end as usize].to_vec();
            packet.extend_from_slice(&frame[segment.body.start as usize..segment.body.end as usize]);
            packet
        })
        .collect()
}

fn join(packets: &[Vec<u8>], v6: bool) -> Vec<TxFrame> {
    let pool = Pool::new(256, 8);
    let mut coalescer = Coalescer::new(65_535);
    let mut eth = [0; 14];
    eth[..12].copy_from_slice(&ETH);
    eth[12..].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[8, 0] });
    let mut out = Vec::new();
    for packet in packets {
        let mut buf = pool.get(packet.len()).unwrap();
        buf.append(packet);
        let parsed = parse_packet(packet).unwrap();
        coalescer.push(&eth, Slice::whole(buf.share()), &parsed, &mut out);
    }
    coalescer.flush(&mut out);
    out
}

fn transport_checksum_is_right(packet: &[u8]) -> bool {
    let parsed = parse_packet(packet).unwrap();
    let segment = &packet[usize::from(parsed.l4)..];
    Sum::default()
        .pseudo(parsed.src, parsed.dst, parsed.protocol, segment.len() as u32)
        .add(segment)
        .finish()
        == 0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_tcp_super_frame_comes_back(
        v6 in any::<bool>(),
        payload in prop::collection::vec(any::<u8>(), 1..20_000),
        size in 400..1448_u16,
    ) {
        let (vnet, frame) = super_frame(v6, true, &payload, size);
        let packets = cut(&vnet, &frame);
        prop_assert_eq!(packets.len(), payload.len().div_ceil(usize::from(size)));
        for packet in &packets {
            prop_assert!(transport_checksum_is_right(packet));
        }
        let joined = join(&packets, v6);
        prop_assert_eq!(joined.len(), 1);
        if packets.len() > 1 {
            prop_assert_eq!(&joined[0].to_vec(), &frame);
            prop_assert_eq!(joined[0].vnet, vnet);
        } else {
            prop_assert_eq!(&joined[0].to_vec()[14..], &packets[0][..]);
        }
    }

    #[test]
    fn a_udp_super_frame_becomes_datagrams(
        v6 in any::<bool>(),
        payload in prop::collection::vec(any::<u8>(), 1..20_000),
        size in 400..1448_u16,
    ) {
        let (vnet, frame) = super_frame(v6, false, &payload, size);
        let packets = cut(&vnet, &frame);
        let mut sent = Vec::new();
        for packet in &packets {
            prop_assert!(transport_checksum_is_right(packet));
            let parsed = parse_packet(packet).unwrap();
            sent.extend_from_slice(&packet[parsed.payload as usize..]);
        }
        prop_assert_eq!(sent, payload);
        prop_assert_eq!(join(&packets, v6).len(), packets.len());
    }

    #[test]
    fn segments_out_of_order_are_not_joined_wrongly(
        payload in prop::collection::vec(any::<u8>(), 2000..20_000),
        seed in any::<u64>(),
    ) {
        let (vnet, frame) = super_frame(false, true, &payload, 1000);
        let mut packets = cut(&vnet, &frame);
        let at = (seed as usize) % packets.len();
        packets.rotate_left(at);
        let mut got = vec![None; payload.len()];
        for frame in join(&packets, false) {
            let bytes = frame.to_vec();
            let seq = u32::from_be_bytes(bytes[38..42].try_into().unwrap()) as usize - 1;
            for (n, byte) in bytes[66..].iter().enumerate() {
                prop_assert!(got[seq + n].replace(*byte).is_none());
            }
        }
        prop_assert!(got.iter().zip(&payload).all(|(got, sent)| *got == Some(*sent)));
    }

    #[test]
    fn a_damaged_segment_is_passed_as_it_is(
        payload in prop::collection::vec(any::<u8>(), 3000..9000),
        which in any::<prop::sample::Index>(),
    ) {
        let (vnet, frame) = super_frame(false, true, &payload, 1000);
        let mut packets = cut(&vnet, &frame);
        let at = which.index(packets.len());
        *packets[at].last_mut().unwrap() ^= 1;
        let joined = join(&packets, false);
        let alone = joined.iter().any(|frame| frame.to_vec()[14..] == packets[at][..]);
        prop_assert!(alone, "its receiver must see the damage");
    }

    #[test]
    fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), gso in 0..6_u8) {
        let vnet = VnetHdr { gso_type: gso, gso_size: 100, flags: 1, ..VnetHdr::default() };
        if let Ok(parsed) = parse_frame(&bytes, &vnet) {
            prop_assert!(parsed.end as usize <= bytes.len());
            prop_assert!(parsed.payload <= parsed.end);
            let (mut headers, mut out) = (Vec::new(), Vec::new());
            let _ = segments(&bytes, &parsed, &vnet, &mut headers, 16, 5, &mut out);
        }
        let _ = parse_packet(&bytes);
    }
}
