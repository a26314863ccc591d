//! Cutting: every segment is, byte for byte, the packet that a NIC would have sent.

use esprit_packet::VnetHdr;
use esprit_packet::parse::{parse_frame, parse_packet};
use esprit_packet::segment::{Cutter, MAX_SEGMENTS, Segment, SegmentError, segments};
use esprit_packet::vnet_hdr::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM};
use proptest::prelude::*;

use crate::build::{ACK, CWR, FIN, PSH, Spec, any_spec, checksum};

const PREFIX: usize = 16;
const TAIL: usize = 21;

/// What lay in the blob before: what is written behind it must not depend on it.
const BEFORE: [u8; 7] = [0xa5; 7];

/// The layer-3 packets that a frame is cut into.
fn cut(vnet: &VnetHdr, frame: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, SegmentError> {
    let parsed = parse_frame(frame, vnet).unwrap();
    let cutter = Cutter {
        prefix: PREFIX,
        tail: TAIL,
        limit,
    };
    let (mut headers, mut out) = (BEFORE.to_vec(), Vec::new());
    let result = cutter.cut(frame, &parsed, vnet, &mut headers, &mut out);
    if let Err(error) = result {
        assert_eq!((&headers[..], &out[..]), (&BEFORE[..], &[][..]));
        return Err(error);
    }
    // The blob is gap, headers, gap per segment, and nothing else.
    let mut at = BEFORE.len();
    let mut body = None;
    for Segment { head, body: next } in &out {
        assert_eq!(head.start as usize, at + PREFIX);
        at = head.end as usize + TAIL;
        assert_eq!(next.start, body.unwrap_or(next.start));
        body = Some(next.end);
    }
    assert_eq!(headers.len(), at);
    assert_eq!(body, Some(parsed.end));
    assert_eq!(headers[..BEFORE.len()], BEFORE);
    let bytes = |Segment { head, body }: &Segment| {
        let head = &headers[head.start as usize..head.end as usize];
        [head, &frame[body.start as usize..body.end as usize]].concat()
    };
    Ok(out.iter().map(bytes).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_super_frame_becomes_what_a_nic_would_send(
        spec in any_spec(0..30_000),
        size in 100..3000_u16,
        tags in prop::collection::vec(any::<u16>(), 0..=2),
        cwr in any::<bool>(),
    ) {
        let spec = Spec { flags: spec.flags | if cwr { CWR } else { 0 }, ..spec };
        let (vnet, frame) = spec.unfinished(&tags, Some(size));
        let packets = cut(&vnet, &frame, usize::MAX).unwrap();
        let expected: Vec<_> = spec.cut(size.into()).iter().map(Spec::packet).collect();
        prop_assert_eq!(packets, expected);
    }

    #[test]
    fn tcp_is_cut_smaller_where_the_path_needs_it(
        spec in any_spec(1..30_000),
        size in 1000..3000_u16,
        limit in 500..4000_usize,
    ) {
        let spec = Spec { tcp: true, ..spec };
        let (vnet, frame) = spec.unfinished(&[], Some(size));
        let packets = cut(&vnet, &frame, limit).unwrap();
        let expected = spec.cut(limit.min(size.into()));
        prop_assert_eq!(packets, expected.iter().map(Spec::packet).collect::<Vec<_>>());
    }

    #[test]
    fn a_single_packet_gets_its_checksum_and_keeps_the_rest(
        spec in any_spec(0..2000),
        tags in prop::collection::vec(any::<u16>(), 0..=2),
        padding in 0..20_usize,
    ) {
        let (vnet, mut frame) = spec.unfinished(&tags, None);
        // Padding of short frames is not the packet's, and not summed.
        frame.resize(frame.len() + padding, 0xee);
        prop_assert_eq!(cut(&vnet, &frame, 100).unwrap(), [spec.packet()]);

        let done = [spec.ethernet(&tags), spec.packet()].concat();
        prop_assert_eq!(cut(&VnetHdr::default(), &done, 100).unwrap(), [spec.packet()]);
    }
}

#[test]
fn a_datagram_is_not_cut_to_fit() {
    let spec = Spec {
        tcp: false,
        payload: vec![1; 3000],
        ..Spec::default()
    };
    let (vnet, frame) = spec.unfinished(&[], Some(1400));
    assert_eq!(cut(&vnet, &frame, 500).unwrap().len(), 3);
}

#[test]
fn numbers_wrap_within_a_super_frame() {
    let spec = Spec {
        id: u16::MAX,
        seq: u32::MAX - 10,
        flags: ACK | PSH | FIN | CWR,
        payload: vec![7; 250],
        ..Spec::default()
    };
    let (vnet, frame) = spec.unfinished(&[], Some(100));
    let packets = cut(&vnet, &frame, usize::MAX).unwrap();
    let ids: Vec<_> = packets
        .iter()
        .map(|p| u16::from_be_bytes([p[4], p[5]]))
        .collect();
    assert_eq!(ids, [0xffff, 0, 1]);
    let seq = |p: &Vec<u8>| u32::from_be_bytes([p[24], p[25], p[26], p[27]]);
    let seqs: Vec<_> = packets.iter().map(seq).collect();
    assert_eq!(seqs, [u32::MAX - 10, 89, 189]);
    let flags: Vec<_> = packets.iter().map(|p| p[33]).collect();
    assert_eq!(flags, [ACK | CWR, ACK, ACK | PSH | FIN]);
}

#[test]
fn a_checksum_of_zero_is_sent_as_all_ones() {
    for tcp in [false, true] {
        // The payload is chosen so that all words together sum to all ones.
        let mut spec = Spec {
            tcp,
            payload: vec![0; 2],
            ..Spec::default()
        };
        let field = spec.l4() + spec.field()..spec.l4() + spec.field() + 2;
        spec.payload = spec.packet()[field.clone()].to_vec();
        for size in [None, Some(2)] {
            let (vnet, frame) = spec.unfinished(&[], size);
            let packets = cut(&vnet, &frame, usize::MAX).unwrap();
            assert_eq!(packets[0][field.clone()], [0xff, 0xff]);
        }
    }
}

#[test]
fn a_checksum_deep_in_the_packet_is_finished_too() {
    // An ICMPv6 echo request whose checksum the stack left to the device.
    let mut frame = Spec {
        v6: true,
        tcp: false,
        payload: vec![3; 56],
        ..Spec::default()
    }
    .ethernet(&[]);
    frame.extend_from_slice(&[0x60, 0, 0, 0, 0, 64, 58, 64]);
    frame.extend_from_slice(&[0x20; 32]);
    let pseudo = !checksum(&[&[0x20; 32], &[0, 0, 0, 64, 0, 0, 0, 58]]);
    let mut echo = vec![128, 0];
    echo.extend_from_slice(&pseudo.to_be_bytes());
    echo.extend_from_slice(&[3; 60]);
    frame.extend_from_slice(&echo);
    let vnet = VnetHdr {
        flags: NEEDS_CSUM,
        csum_start: 54,
        csum_offset: 2,
        ..VnetHdr::default()
    };
    let packets = cut(&vnet, &frame, usize::MAX).unwrap();
    let whole = checksum(&[&[0x20; 32], &[0, 0, 0, 64, 0, 0, 0, 58], &packets[0][40..]]);
    assert_eq!(whole, 0, "the receiver's check");
    assert_eq!(packets[0][44..], frame[58..]);
}

#[test]
fn every_error_has_its_frame() {
    let spec = Spec {
        payload: vec![1; 3000],
        ..Spec::default()
    };
    let (vnet, frame) = spec.unfinished(&[], Some(1000));
    let error = |vnet: VnetHdr, frame: &[u8]| cut(&vnet, frame, usize::MAX).unwrap_err();
    let gso = |gso_type, gso_size| VnetHdr {
        gso_type,
        gso_size,
        ..vnet
    };
    let mut seen = vec![
        error(gso(GSO_TCPV6, 1000), &frame),
        error(gso(GSO_UDP_L4, 1000), &frame),
        error(gso(3, 1000), &frame),
    ];
    assert_eq!(seen, [SegmentError::Protocol; 3]);

    assert_eq!(error(gso(GSO_TCPV4, 0), &frame), SegmentError::Size);
    assert_eq!(cut(&vnet, &frame, 0), Err(SegmentError::Size));
    assert_eq!(
        error(gso(GSO_TCPV4, 1), &frame),
        SegmentError::Size,
        "too many"
    );
    assert!(
        cut(
            &gso(GSO_TCPV4, 3000_u16.div_ceil(MAX_SEGMENTS as u16)),
            &frame,
            9000
        )
        .is_ok()
    );
    let mut long = frame.clone();
    long.resize(70_000, 1);
    assert_eq!(error(gso(GSO_TCPV4, 65_500), &long), SegmentError::Size);
    seen.push(SegmentError::Size);

    let elsewhere = VnetHdr {
        csum_start: vnet.csum_start + 2,
        ..vnet
    };
    assert_eq!(error(elsewhere, &frame), SegmentError::Checksum);
    let single = VnetHdr {
        gso_type: 0,
        ..vnet
    };
    for (csum_start, csum_offset) in [(13, 3), (34, 3032), (u16::MAX, 16), (34, u16::MAX)] {
        let outside = VnetHdr {
            csum_start,
            csum_offset,
            ..single
        };
        assert_eq!(error(outside, &frame), SegmentError::Checksum);
    }
    seen.push(SegmentError::Checksum);

    let mut fragment = frame.clone();
    fragment[20] = 0x20;
    assert_eq!(error(vnet, &fragment), SegmentError::Fragment);
    assert_eq!(error(single, &fragment), SegmentError::Fragment);
    seen.push(SegmentError::Fragment);

    let parsed = parse_frame(&frame, &vnet).unwrap();
    let other = segments(
        &frame[..60],
        &parsed,
        &vnet,
        &mut Vec::new(),
        0,
        0,
        &mut Vec::new(),
    );
    assert_eq!(other, Err(SegmentError::Frame));
    seen.push(SegmentError::Frame);

    assert!(SegmentError::ALL.iter().all(|error| seen.contains(error)));
}

#[test]
fn fragments_and_strangers_pass_whole() {
    let spec = Spec {
        payload: vec![1; 64],
        ..Spec::default()
    };
    let mut later = [spec.ethernet(&[]), spec.packet()].concat();
    later[20..22].copy_from_slice(&[0x20, 9]);
    assert_eq!(
        cut(&VnetHdr::default(), &later, 1).unwrap(),
        [later[14..].to_vec()]
    );

    let mut esp = [spec.ethernet(&[]), spec.packet()].concat();
    esp[23] = 50;
    let packets = cut(&VnetHdr::default(), &esp, 1).unwrap();
    assert_eq!(packets, [esp[14..].to_vec()]);
    assert_eq!(parse_packet(&packets[0]).unwrap().payload, 20);
}
