//! Parsing: every offset is where the header is, and every bad packet has a name.

use core::net::IpAddr;

use esprit_packet::VnetHdr;
use esprit_packet::parse::{
    Fragment, MAX_EXTENSIONS, Net, ParseError, Parsed, parse_frame, parse_packet,
};
use esprit_packet::segment::segments;
use esprit_packet::vnet_hdr::GSO_TCPV4;
use proptest::prelude::*;

use crate::build::{ACK, Spec, any_spec};

const NONE: VnetHdr = VnetHdr {
    flags: 0,
    gso_type: 0,
    hdr_len: 0,
    gso_size: 0,
    csum_start: 0,
    csum_offset: 0,
};

/// What everybody else takes for granted.
pub fn assert_proved(parsed: &Parsed, bytes: &[u8]) {
    let (l3, l4) = (u32::from(parsed.l3), u32::from(parsed.l4));
    assert!(l3 <= l4 && l4 <= parsed.payload, "{parsed:?}");
    assert!(parsed.payload <= parsed.end, "{parsed:?}");
    assert!(parsed.end as usize <= bytes.len(), "{parsed:?}");
    if parsed.fragment == Fragment::Later {
        assert_eq!((parsed.ports, parsed.icmp), (None, None));
    }
}

proptest! {
    #[test]
    fn offsets_and_addresses_are_those_of_the_packet(
        spec in any_spec(0..500),
        tags in prop::collection::vec(any::<u16>(), 0..=2),
        padding in 0..50_usize,
    ) {
        let mut frame = [spec.ethernet(&tags), spec.packet()].concat();
        let end = frame.len();
        frame.resize(end + padding, 0xee);
        let parsed = parse_frame(&frame, &NONE).unwrap();
        assert_proved(&parsed, &frame);
        let l3 = 14 + 4 * tags.len();
        prop_assert_eq!(usize::from(parsed.l3), l3);
        prop_assert_eq!(usize::from(parsed.l4), l3 + spec.l4());
        prop_assert_eq!(parsed.payload as usize, end - spec.payload.len());
        prop_assert_eq!(parsed.end as usize, end);
        prop_assert_eq!(parsed.protocol, spec.protocol());
        prop_assert_eq!(parsed.ports, Some(spec.ports));
        prop_assert_eq!(parsed.net, if spec.v6 { Net::Ipv6 } else { Net::Ipv4 });
        prop_assert_eq!(parsed.fragment, Fragment::Whole);
        let (src, dst) = if spec.v6 {
            let mut src = [0x20; 16];
            src[15] = spec.host;
            (IpAddr::from(src), IpAddr::from([0x20; 16]))
        } else {
            (IpAddr::from([10, 0, 0, spec.host]), IpAddr::from([10, 0, 1, 1]))
        };
        prop_assert_eq!((parsed.src, parsed.dst), (src, dst));
        let seen: Vec<u16> = parsed.vlan.tags().iter().map(|(_, tci)| *tci).collect();
        prop_assert_eq!(seen, tags);
        prop_assert_eq!(parsed.header_checksum_ok(&frame), !spec.v6);

        let inner = parse_packet(&frame[l3..]).unwrap();
        prop_assert_eq!((inner.l3, inner.l4), (0, parsed.l4 - parsed.l3));
        prop_assert_eq!(inner.end + l3 as u32, parsed.end);
        prop_assert_eq!((inner.ports, inner.ethertype), (parsed.ports, parsed.ethertype));
    }

    /// Packets that are nearly right reach further into the parser than noise does.
    #[test]
    fn nothing_panics_and_what_parses_is_proved(
        spec in any_spec(0..100),
        tags in prop::collection::vec(any::<u16>(), 0..=3),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
        vnet in any::<(u8, u8, u16, u16, u16)>(),
    ) {
        let mut frame = [spec.ethernet(&tags), spec.packet()].concat();
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        if !whole {
            frame.truncate(cut.index(frame.len()));
        }
        let vnet = VnetHdr {
            flags: vnet.0 & 3,
            gso_type: vnet.1 & 0x87,
            hdr_len: 0,
            gso_size: vnet.2,
            csum_start: vnet.3 % 120,
            csum_offset: vnet.4 % 120,
        };
        for vnet in [NONE, vnet] {
            if let Ok(parsed) = parse_frame(&frame, &vnet) {
                assert_proved(&parsed, &frame);
                let (mut headers, mut out) = (Vec::new(), Vec::new());
                let _ = segments(&frame, &parsed, &vnet, &mut headers, 16, 5, &mut out);
            }
        }
        if let Some(Ok(parsed)) = frame.get(14..).map(parse_packet) {
            assert_proved(&parsed, &frame[14..]);
        }
    }

    #[test]
    fn noise_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(parsed) = parse_packet(&bytes) {
            assert_proved(&parsed, &bytes);
        }
    }
}

fn frame(ethertype: u16, rest: &[u8]) -> Vec<u8> {
    [&[2; 12], &ethertype.to_be_bytes()[..], rest].concat()
}

#[test]
fn what_may_hide_an_ip_packet_is_told_from_what_does_not() {
    let net = |ethertype, rest: &[u8]| parse_frame(&frame(ethertype, rest), &NONE).unwrap().net;
    for ethertype in [
        0x8863, 0x8864, 0x8847, 0x8848, 0x88e7, 0x22f3, 0x892f, 0x894f,
    ] {
        assert_eq!(net(ethertype, &[]), Net::Encapsulated(ethertype));
    }
    assert_eq!(net(0x0806, &[0; 28]), Net::Arp);
    assert_eq!(net(0x88cc, &[0; 28]), Net::Other(0x88cc));
    // IPv4 behind LLC and SNAP, inside a tag; spanning tree; ARP behind SNAP.
    let snap = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45];
    assert_eq!(net(60, &snap), Net::Encapsulated(60));
    let tagged = [&[0, 5, 0, 60][..], &snap].concat();
    assert_eq!(net(0x8100, &tagged), Net::Encapsulated(60));
    assert_eq!(net(38, &[0x42, 0x42, 3, 0, 0]), Net::Other(38));
    assert_eq!(net(60, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 6]), Net::Other(60));
    assert_eq!(net(60, &snap[..7]), Net::Other(60));
}

#[test]
fn a_tag_of_any_kind_is_seen_through() {
    let spec = Spec::default();
    for tpid in [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300] {
        let rest = [&[0xa0, 0x07, 8, 0][..], &spec.packet()].concat();
        let parsed = parse_frame(&frame(tpid, &rest), &NONE).unwrap();
        assert_eq!(parsed.vlan.tags(), [(tpid, 0xa007)]);
        assert_eq!(parsed.vlan.id(), Some(7));
        assert_eq!((parsed.net, parsed.ethertype), (Net::Ipv4, 0x0800));
    }
    let untagged = [spec.ethernet(&[]), spec.packet()].concat();
    assert_eq!(parse_frame(&untagged, &NONE).unwrap().vlan.id(), None);
}

/// An IPv6 packet with these extension headers before `rest`.
fn ipv6(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&(rest.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[first, 64]);
    packet.extend_from_slice(&[0x20; 32]);
    packet.extend_from_slice(rest);
    packet
}

const UDP: [u8; 8] = [0, 53, 0, 54, 0, 8, 0, 0];

#[test]
fn ipv6_extension_headers_are_followed_to_the_transport() {
    // Hop-by-hop of 8 bytes, routing of 24, destination options of 8, atomic fragment, UDP.
    let mut rest = vec![43, 0, 1, 4, 0, 0, 0, 0];
    rest.extend_from_slice(&[60, 2]);
    rest.extend_from_slice(&[0; 22]);
    rest.extend_from_slice(&[44, 0, 1, 4, 0, 0, 0, 0]);
    rest.extend_from_slice(&[17, 0xff, 0, 0, 0, 0, 0, 1]);
    rest.extend_from_slice(&UDP);
    let parsed = parse_packet(&ipv6(0, &rest)).unwrap();
    assert_eq!((parsed.protocol, parsed.l4, parsed.payload), (17, 88, 96));
    assert_eq!(
        (parsed.ports, parsed.fragment),
        (Some((53, 54)), Fragment::Whole)
    );
    // ESP, AH and "no next header" are not looked behind.
    for number in [50, 51, 59] {
        let parsed = parse_packet(&ipv6(number, &[17; 24])).unwrap();
        assert_eq!(
            (parsed.protocol, parsed.l4, parsed.payload),
            (number, 40, 40)
        );
        assert_eq!(parsed.ports, None);
    }
}

#[test]
fn fragments_show_ports_in_the_first_only() {
    let fragment = |offset: u16, more: u16, next: u8, rest: &[u8]| {
        let field = (offset << 3 | more).to_be_bytes();
        let header = [next, 0, field[0], field[1], 0, 0, 0, 1];
        parse_packet(&ipv6(44, &[&header[..], rest].concat()))
    };
    let first = fragment(0, 1, 17, &UDP).unwrap();
    assert_eq!(
        (first.fragment, first.ports),
        (Fragment::First, Some((53, 54)))
    );
    let later = fragment(1, 0, 17, &UDP).unwrap();
    assert_eq!(
        (later.fragment, later.ports, later.protocol),
        (Fragment::Later, None, 17)
    );
    let hidden = fragment(1, 1, 60, &UDP).unwrap();
    assert_eq!((hidden.fragment, hidden.protocol), (Fragment::Later, 60));
    // A first fragment that shows no ports could be judged by nobody.
    assert_eq!(fragment(0, 1, 17, &UDP[..4]), Err(ParseError::Truncated));
    assert_eq!(fragment(0, 1, 60, &[]), Err(ParseError::Truncated));
    // A second fragment header takes nothing back.
    let twice = [&[17, 0, 0, 0, 0, 0, 0, 2][..], &UDP].concat();
    assert_eq!(
        fragment(0, 1, 44, &twice).unwrap().fragment,
        Fragment::First
    );

    let ipv4 = |field: u16| {
        let mut packet = Spec::default().packet();
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        let parsed = parse_packet(&packet).unwrap();
        (parsed.fragment, parsed.ports.is_some())
    };
    assert_eq!(ipv4(0x4000), (Fragment::Whole, true));
    assert_eq!(ipv4(0x2000), (Fragment::First, true));
    assert_eq!(ipv4(0x2001), (Fragment::Later, false));
    assert_eq!(ipv4(0x0001), (Fragment::Later, false));
}

#[test]
fn icmp_shows_type_and_code_and_neighbour_discovery_is_known() {
    let parsed = parse_packet(&ipv6(58, &[135, 0, 0, 0])).unwrap();
    assert_eq!((parsed.icmp, parsed.ports), (Some((135, 0)), None));
    assert!(parsed.is_neighbour_discovery());
    assert!(
        !parse_packet(&ipv6(58, &[128, 0]))
            .unwrap()
            .is_neighbour_discovery()
    );
    assert!(
        !parse_packet(&ipv6(1, &[135, 0]))
            .unwrap()
            .is_neighbour_discovery()
    );
}

#[test]
fn a_super_frame_ends_with_its_frame() {
    let spec = Spec {
        payload: vec![1; 5000],
        ..Spec::default()
    };
    let (vnet, mut frame) = spec.unfinished(&[], Some(1000));
    assert_eq!(vnet.gso_type, GSO_TCPV4);
    frame[16..18].fill(0);
    assert_eq!(
        parse_frame(&frame, &vnet).unwrap().end as usize,
        frame.len()
    );
    assert_eq!(parse_frame(&frame, &NONE), Err(ParseError::TotalLength));
}

#[test]
fn a_wrong_header_checksum_is_seen() {
    let mut packet = Spec::default().packet();
    let parsed = parse_packet(&packet).unwrap();
    assert!(parsed.header_checksum_ok(&packet));
    packet[8] ^= 1;
    assert!(!parsed.header_checksum_ok(&packet));
    assert!(!parsed.header_checksum_ok(&packet[..10]));
}

#[test]
fn every_error_has_its_packet() {
    let good = Spec {
        flags: ACK,
        payload: vec![0; 10],
        ..Spec::default()
    }
    .packet();
    let changed = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        parse_packet(&packet).unwrap_err()
    };
    let mut many = Vec::new();
    for _ in 0..MAX_EXTENSIONS {
        many.extend_from_slice(&[60, 0, 1, 4, 0, 0, 0, 0]);
    }
    assert!(
        parse_packet(&ipv6(
            60,
            &[&many[8..], &[17, 0, 1, 4, 0, 0, 0, 0], &UDP].concat()
        ))
        .is_ok()
    );
    many.extend_from_slice(&[17, 0, 1, 4, 0, 0, 0, 0]);
    many.extend_from_slice(&UDP);
    // ICMP without a header is a packet whose type nobody sees.
    assert_eq!(parse_packet(&ipv6(58, &[1])).unwrap().icmp, None);
    let tags = [0, 1, 0x81, 0, 0, 1, 0x81, 0, 0, 1, 8, 0];
    let cases = [
        (ParseError::Truncated, parse_packet(&[]).unwrap_err()),
        (
            ParseError::Truncated,
            parse_frame(&[2; 13], &NONE).unwrap_err(),
        ),
        (
            ParseError::Truncated,
            parse_packet(&good[..19]).unwrap_err(),
        ),
        (
            ParseError::Truncated,
            parse_packet(&ipv6(17, &UDP[..7])).unwrap_err(),
        ),
        (ParseError::Version, changed(0, 0x55)),
        (
            ParseError::Version,
            parse_frame(&frame(0x86dd, &[0x45; 60]), &NONE).unwrap_err(),
        ),
        (ParseError::HeaderLength, changed(0, 0x44)),
        (
            ParseError::HeaderLength,
            parse_packet(&[0x4f; 30]).unwrap_err(),
        ),
        (ParseError::HeaderLength, changed(32, 0x40)),
        (ParseError::HeaderLength, changed(32, 0xf0)),
        (
            ParseError::HeaderLength,
            parse_packet(&ipv6(60, &[17, 9, 0, 0, 0, 0, 0, 0])).unwrap_err(),
        ),
        (ParseError::TotalLength, changed(3, 19)),
        (ParseError::TotalLength, changed(3, 63)),
        (
            ParseError::TotalLength,
            parse_packet(&ipv6(17, &UDP)[..47]).unwrap_err(),
        ),
        (
            ParseError::Extensions,
            parse_packet(&ipv6(60, &many)).unwrap_err(),
        ),
        (
            ParseError::Tags,
            parse_frame(&frame(0x88a8, &tags), &NONE).unwrap_err(),
        ),
    ];
    for (n, (expected, got)) in cases.iter().enumerate() {
        assert_eq!(got, expected, "case {n}");
    }
    assert!(
        ParseError::ALL
            .iter()
            .all(|error| cases.iter().any(|(_, got)| got == error))
    );
}
