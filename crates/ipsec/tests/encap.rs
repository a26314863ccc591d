//! Outer headers as a receiver reads them, and the way back.

use esprit_ipsec::ecn::EcnDrop;
use esprit_ipsec::encap::{self, EncapError, OuterTemplate};
use esprit_ipsec::sad::{Direction, Mode, SaSpec, UdpEncap};
use esprit_packet::parse::{Net, parse_packet};
use smallvec::SmallVec;

const ESP: u8 = 50;
const UDP: u8 = 17;
/// Stands for any protocol without ports (RFC 3692).
const OTHER: u8 = 253;
const NAT_T: Option<UdpEncap> = Some(UdpEncap {
    sport: 4500,
    dport: 4501,
});

fn spec(mode: Mode, src: &str, dst: &str, encap: Option<UdpEncap>) -> SaSpec {
    SaSpec {
        id: 1,
        team: 1,
        direction: Direction::Out,
        spi: 0x1000,
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        mode,
        algorithm: "aes-gcm-16".into(),
        esn: false,
        replay_window: 0,
        encap,
        weight: 1,
        member: None,
        policy: None,
        seq: 1,
        granted: u64::MAX,
    }
}

/// The ones' complement sum of 16-bit words, as RFC 1071 writes it down.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// An IPv4 packet from 10.0.0.1 to 10.0.0.2 with a good header checksum.
fn ipv4(class: u8, flags: u16, options: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, class];
    packet.extend(((header + payload.len()) as u16).to_be_bytes());
    packet.extend(0xbeef_u16.to_be_bytes());
    packet.extend(flags.to_be_bytes());
    packet.extend([61, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(options);
    let checksum = !sum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An IPv6 packet from fd00::1 to fd00::2; `rest` holds extension headers and payload.
fn ipv6(class: u8, next_header: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = (6 << 28 | u32::from(class) << 20 | 0x12345_u32)
        .to_be_bytes()
        .to_vec();
    packet.extend((rest.len() as u16).to_be_bytes());
    packet.extend([next_header, 61]);
    for last in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(rest);
    packet
}

/// What is written for `packet`, behind some bytes that stand in `out` already.
fn written(
    spec: &SaSpec,
    packet: &[u8],
    esp_len: usize,
    segmented: bool,
) -> (Vec<u8>, Option<usize>) {
    let template = OuterTemplate::new(spec, packet, &parse_packet(packet).unwrap()).unwrap();
    let mut out: SmallVec<[u8; 128]> = SmallVec::from_slice(&[0xa5; 14]);
    let udp = template.write(&mut out, 0x0102, esp_len, segmented);
    assert_eq!(out.len(), 14 + template.len());
    assert_eq!(out[..14], [0xa5; 14], "what stood there stays");
    (out[14..].to_vec(), udp.map(|at| at - 14))
}

#[test]
fn ipv4_around_ipv4_copies_class_and_df() {
    for df in [0, 0x4000] {
        let inner = ipv4(0b1011_1001, df, &[], OTHER, &[7; 40]);
        let (outer, udp) = written(
            &spec(Mode::Tunnel, "192.0.2.1", "192.0.2.2", None),
            &inner,
            96,
            false,
        );
        assert_eq!((outer.len(), udp), (20, None));
        assert_eq!(outer[..2], [0x45, 0b1011_1001]);
        assert_eq!(word(&outer, 2), 20 + 96);
        assert_eq!(word(&outer, 4), 0x0102);
        assert_eq!(word(&outer, 6), df);
        assert_eq!(outer[8..10], [64, ESP]);
        assert_eq!(sum(&outer), 0xffff, "header checksum");
        assert_eq!(outer[12..], [192, 0, 2, 1, 192, 0, 2, 2]);
    }
}

#[test]
fn ipv6_inside_sets_df_outside() {
    let inner = ipv6(0b0110_1010, 58, &[0; 8]);
    let (outer, _) = written(
        &spec(Mode::Tunnel, "192.0.2.1", "192.0.2.2", None),
        &inner,
        96,
        false,
    );
    assert_eq!((outer[1], word(&outer, 6)), (0b0110_1010, 0x4000));
}

#[test]
fn ipv6_outside_has_one_flow_label_per_sa() {
    let tunnel = spec(Mode::Tunnel, "2001:db8::1", "2001:db8::2", None);
    let (outer, udp) = written(
        &tunnel,
        &ipv4(0b0110_1010, 0, &[], OTHER, &[7; 40]),
        96,
        false,
    );
    assert_eq!((outer.len(), udp), (40, None));
    assert_eq!(word(&outer, 0) & 0xfff0, 0x66a0, "version, traffic class");
    assert_eq!((word(&outer, 4), outer[6], outer[7]), (96, ESP, 64));
    let label = |outer: &[u8]| u32::from(outer[1] & 0xf) << 16 | u32::from(word(outer, 2));
    assert_ne!(label(&outer), 0);
    let (other_flow, _) = written(&tunnel, &ipv6(0, 58, &[9; 30]), 96, false);
    assert_eq!(
        label(&outer),
        label(&other_flow),
        "nothing of the inner flow shows"
    );
    let mut other_sa = tunnel;
    other_sa.spi += 1;
    let (other_sa, _) = written(&other_sa, &ipv6(0, 58, &[9; 30]), 96, false);
    assert_ne!(label(&outer), label(&other_sa));
}

/// The UDP checksum, completed over all that follows as a NIC would.
fn completed(outer: &[u8], udp: usize, esp: &[u8]) -> u16 {
    let mut rest = outer[udp..].to_vec();
    rest.extend(esp);
    !sum(&rest)
}

#[test]
fn udp_over_ipv4_has_no_checksum_unless_segmented() {
    let tunnel = spec(Mode::Tunnel, "192.0.2.1", "192.0.2.2", NAT_T);
    let inner = ipv4(0, 0, &[], OTHER, &[7; 40]);
    let (outer, udp) = written(&tunnel, &inner, 96, false);
    assert_eq!((outer.len(), udp, outer[9]), (28, None, UDP));
    assert_eq!(word(&outer, 2), 28 + 96);
    assert_eq!(
        outer[20..],
        [4500_u16, 4501, 8 + 96, 0].map(u16::to_be_bytes).concat()
    );

    let esp = vec![0x5a; 960];
    let (outer, udp) = written(&tunnel, &inner, esp.len(), true);
    assert_eq!((udp, word(&outer, 24)), (Some(20), 8 + 960));
    let checksum = completed(&outer, 20, &esp);
    let mut pseudo = outer[12..20].to_vec();
    pseudo.extend([0, UDP]);
    pseudo.extend(968_u16.to_be_bytes());
    pseudo.extend(&outer[20..26]);
    pseudo.extend(checksum.to_be_bytes());
    pseudo.extend(&esp);
    assert_eq!(sum(&pseudo), 0xffff, "what a receiver verifies");
}

#[test]
fn udp_over_ipv6_always_has_a_checksum() {
    let tunnel = spec(Mode::Tunnel, "2001:db8::1", "2001:db8::2", NAT_T);
    let esp = vec![0x33; 101];
    let (outer, udp) = written(&tunnel, &ipv6(0, 58, &[0; 8]), esp.len(), false);
    assert_eq!((outer.len(), udp, outer[6]), (48, Some(40), UDP));
    assert_eq!((word(&outer, 4), word(&outer, 44)), (109, 109));
    let checksum = completed(&outer, 40, &esp);
    let mut pseudo = outer[8..40].to_vec();
    pseudo.extend([0, 0, 0, 109, 0, 0, 0, UDP]);
    pseudo.extend(&outer[40..46]);
    pseudo.extend(checksum.to_be_bytes());
    pseudo.extend(&esp);
    assert_eq!(sum(&pseudo), 0xffff, "what a receiver verifies");
}

#[test]
fn only_udp_of_one_outer_header_joins_a_super_frame() {
    let make = |encap, class| {
        let packet = ipv4(class, 0, &[], OTHER, &[7; 40]);
        let spec = spec(Mode::Tunnel, "192.0.2.1", "192.0.2.2", encap);
        OuterTemplate::new(&spec, &packet, &parse_packet(&packet).unwrap()).unwrap()
    };
    assert!(make(NAT_T, 0).joins(&make(NAT_T, 0)));
    assert!(!make(NAT_T, 0).joins(&make(NAT_T, 2)), "ECN differs");
    assert!(
        !make(None, 0).joins(&make(None, 0)),
        "native ESP is not cut by anyone"
    );
    assert_eq!(make(None, 0).ethertype(), 0x0800);
}

/// Seals nothing: the payload goes through as it is, so that only headers are at work.
fn there_and_back(encap: Option<UdpEncap>, src: &str, dst: &str, packet: &[u8]) -> Vec<u8> {
    let parsed = parse_packet(packet).unwrap();
    let spec = spec(Mode::Transport, src, dst, encap);
    let template = OuterTemplate::new(&spec, packet, &parsed).unwrap();
    let payload = &packet[usize::from(parsed.l4)..parsed.end as usize];
    let mut wire: SmallVec<[u8; 128]> = SmallVec::new();
    template.write(&mut wire, word(packet, 4), payload.len(), false);
    wire.extend_from_slice(payload);

    let arrived = parse_packet(&wire).unwrap();
    assert_eq!(arrived.protocol, if encap.is_some() { UDP } else { ESP });
    assert_eq!((arrived.src, arrived.dst), (parsed.src, parsed.dst));
    let (outer, rest) = wire.split_at(usize::from(arrived.l4));
    let mut restored = vec![0xa5; outer.len()];
    encap::restore_transport(outer, &mut restored, payload.len(), parsed.protocol, 0).unwrap();
    restored.extend(&rest[if encap.is_some() { 8 } else { 0 }..]);
    restored
}

#[test]
fn transport_mode_gives_back_the_very_packet() {
    let udp = [0x30, 0x39, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
    let v4 = ipv4(0xb8, 0x4000, &[], UDP, &udp);
    let options = ipv4(0, 0, &[7, 3, 4, 0, 1, 1, 1, 0], UDP, &udp);
    for encap in [None, NAT_T] {
        assert_eq!(there_and_back(encap, "10.0.0.1", "10.0.0.2", &v4), v4);
        assert_eq!(
            there_and_back(encap, "10.0.0.1", "10.0.0.2", &options),
            options
        );
    }
}

#[test]
fn ipv6_extension_headers_stay_before_esp() {
    let udp = [0x30, 0x39, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
    let hop_by_hop = |next: u8| [next, 0, 5, 2, 0, 0, 1, 0];
    let destination = |next: u8| {
        let mut header = vec![next, 1, 1, 12];
        header.extend([0; 12]);
        header
    };
    let both: Vec<u8> = [hop_by_hop(60).to_vec(), destination(UDP), udp.to_vec()].concat();
    let packets = [
        ipv6(0, UDP, &udp),
        ipv6(7, 0, &[hop_by_hop(UDP).to_vec(), udp.to_vec()].concat()),
        ipv6(0, 0, &both),
    ];
    for packet in &packets {
        for encap in [None, NAT_T] {
            assert_eq!(&there_and_back(encap, "fd00::1", "fd00::2", packet), packet);
        }
    }
}

#[test]
fn transport_mode_refuses_what_it_cannot_carry() {
    let refused = |spec: &SaSpec, packet: &[u8]| {
        OuterTemplate::new(spec, packet, &parse_packet(packet).unwrap()).unwrap_err()
    };
    let to_peer = spec(Mode::Transport, "10.0.0.1", "10.0.0.2", None);
    let elsewhere = spec(Mode::Transport, "10.0.0.1", "10.0.0.3", None);
    let whole = ipv4(0, 0, &[], UDP, &[0; 16]);
    assert_eq!(refused(&elsewhere, &whole), EncapError::Addresses);
    for flags in [0x2000, 0x0001, 0x2001] {
        let fragment = ipv4(0, flags, &[], UDP, &[0; 16]);
        assert_eq!(refused(&to_peer, &fragment), EncapError::Fragment);
    }
    // A whole packet in a fragment header (RFC 6946): ESP would stand behind it.
    let atomic = ipv6(0, 44, &[UDP, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 2, 0, 8, 0, 0]);
    assert_eq!(
        refused(&spec(Mode::Transport, "fd00::1", "fd00::2", None), &atomic),
        EncapError::Fragment
    );
}

#[test]
fn restoring_from_nonsense_is_an_error() {
    for header in [
        vec![],
        vec![0x45; 19],
        vec![0x46; 20],
        vec![0x44; 16],
        vec![0x05; 20],
        vec![0x60; 39],
        vec![0x60; 41],
        ipv6(0, 6, &[0; 8]),
        ipv6(0, 0, &[6, 1, 0, 0, 0, 0, 0, 0]),
        ipv6(0, 44, &[6, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let mut out = vec![0; header.len()];
        assert!(
            encap::restore_transport(&header, &mut out, 8, 6, 0).is_err(),
            "{header:x?}"
        );
    }
    let header = ipv4(0, 0, &[], ESP, &[]);
    let mut out = vec![0; 20];
    assert!(encap::restore_transport(&header, &mut out, 65_516, 6, 0).is_err());
    assert!(encap::restore_transport(&header, &mut out, 65_515, 6, 0).is_ok());
}

#[test]
fn congestion_outside_reaches_the_inner_packet() {
    let outer = ipv4(0b11, 0, &[], ESP, &[]);
    let calm = ipv4(0b10, 0, &[], ESP, &[]);
    let outer6 = ipv6(0b11, ESP, &[]);
    for congested in [&outer, &outer6] {
        let mut inner = ipv4(0b1010_0010, 0x4000, &[], OTHER, &[1; 8]);
        encap::decapsulate_ecn(congested, &mut inner).unwrap();
        assert_eq!(
            inner,
            ipv4(0b1010_0011, 0x4000, &[], OTHER, &[1; 8]),
            "checksum included"
        );
        let mut inner = ipv6(0b1010_0001, 58, &[1; 8]);
        encap::decapsulate_ecn(congested, &mut inner).unwrap();
        assert_eq!(inner, ipv6(0b1010_0011, 58, &[1; 8]));
        for mut blind in [ipv4(0b1010_0000, 0, &[], OTHER, &[]), ipv6(0, 58, &[])] {
            assert_eq!(encap::decapsulate_ecn(congested, &mut blind), Err(EcnDrop));
        }
    }
    let before = ipv4(0b1010_0001, 0, &[], OTHER, &[1; 8]);
    let mut inner = before.clone();
    encap::decapsulate_ecn(&calm, &mut inner).unwrap();
    assert_eq!(inner, before);
}

#[test]
fn ecn_of_what_is_no_packet_is_left_alone() {
    let outer = ipv4(0b11, 0, &[], ESP, &[]);
    for nonsense in [
        vec![],
        vec![0x45],
        vec![0x45, 2],
        vec![0x45, 2, 0, 0, 9],
        vec![0xf5, 2, 3],
    ] {
        let mut inner = nonsense.clone();
        assert!(encap::decapsulate_ecn(&outer, &mut inner).is_ok());
    }
    assert!(encap::decapsulate_ecn(&[], &mut [0x45, 0]).is_ok());
}

#[test]
fn what_is_inside_does_not_change_the_network() {
    let inner = ipv6(0, 58, &[0; 8]);
    let (outer, _) = written(
        &spec(Mode::Tunnel, "192.0.2.1", "192.0.2.2", None),
        &inner,
        0,
        false,
    );
    assert_eq!(parse_packet(&outer).map(|p| p.net).ok(), Some(Net::Ipv4));
}
