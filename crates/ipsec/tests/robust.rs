//! Whatever arrives, the answer is a value.

use esprit_ipsec::encap::{self, OuterTemplate};
use esprit_ipsec::esp;
use esprit_ipsec::sad::{Direction, Mode, SaSpec, UdpEncap};
use esprit_ipsec::spd::{PolicySpec, Spd};
use esprit_packet::VnetHdr;
use esprit_packet::parse::{parse_frame, parse_packet};
use proptest::prelude::*;
use smallvec::SmallVec;

/// Bytes that often begin like an IP packet.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        Just(0x45_u8),
        Just(0x46),
        Just(0x4f),
        Just(0x60),
        any::<u8>()
    ];
    let bytes = prop::collection::vec(
        prop_oneof![3 => any::<u8>(), 2 => Just(0), 1 => prop_oneof![Just(17_u8), Just(44), Just(60)]],
        0..120,
    );
    (first, bytes, any::<bool>()).prop_map(|(first, mut bytes, fits)| {
        if let Some(at) = bytes.first_mut() {
            *at = first;
        }
        // Right lengths lead further into the packet.
        let len = bytes.len() as u16;
        match first >> 4 {
            4 if fits && len >= 4 => bytes[2..4].copy_from_slice(&len.to_be_bytes()),
            6 if fits && len >= 40 => bytes[4..6].copy_from_slice(&(len - 40).to_be_bytes()),
            _ => {}
        }
        bytes
    })
}

fn spd() -> Spd {
    let text = r#"[{"id": 1, "action": "protect", "local": "0.0.0.0/1", "remote": "0.0.0.0/0",
                    "protocol": 17, "local_port": [0, 4095]},
                   {"id": 2, "action": "bypass", "local": "::/0", "remote": "::/1"}]"#;
    let specs: Vec<PolicySpec> = serde_json::from_str(text).unwrap();
    Spd::new(specs, &[]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn received_bytes_never_panic(outer in packets(), mut inner in packets(), next: u8, len in 0..70_000_usize) {
        let _ = esp::parse_packet(&outer);
        if let Ok(trailer) = esp::parse_trailer(&inner) {
            prop_assert!(trailer.payload_len + esp::TRAILER_MIN <= inner.len());
        }
        let before = inner.len();
        let _ = encap::decapsulate_ecn(&outer, &mut inner);
        prop_assert_eq!(inner.len(), before);
        let mut header = vec![0; outer.len()];
        if encap::restore_transport(&outer, &mut header, len, next, 0).is_ok() {
            prop_assert!(len <= 65_535);
        }
    }

    #[test]
    fn any_packet_of_the_host_gets_a_verdict_and_a_header_or_none(packet in packets(), udp: bool, transport: bool) {
        let spd = spd();
        let frame = [&[2; 12][..], &[8, 0], &packet].concat();
        if let Ok(parsed) = parse_frame(&frame, &VnetHdr::default()) {
            let _ = spd.lookup_out(&parsed, &frame);
        }
        let Ok(parsed) = parse_packet(&packet) else {
            return Ok(());
        };
        let (out, inward) = (spd.lookup_out(&parsed, &packet), spd.lookup_in(&parsed, &packet));
        prop_assert!(out.policy.is_none_or(|id| id.0 <= 2) && inward.policy.is_none_or(|id| id.0 <= 2));
        let spec = SaSpec {
            id: 1,
            team: 1,
            direction: Direction::Out,
            spi: 256,
            src: parsed.src,
            dst: parsed.dst,
            mode: if transport { Mode::Transport } else { Mode::Tunnel },
            algorithm: "aes-gcm-16".into(),
            esn: false,
            replay_window: 0,
            encap: udp.then(UdpEncap::default),
            weight: 1,
            member: None,
            policy: None,
            seq: 1,
            granted: u64::MAX,
        };
        if let Ok(template) = OuterTemplate::new(&spec, &packet, &parsed) {
            let mut head: SmallVec<[u8; 128]> = SmallVec::new();
            template.write(&mut head, 1, 100, false);
            // What we send, we can read: ESP, or UDP around it, behind the headers.
            head.extend_from_slice(&[0; 100]);
            let sent = parse_packet(&head).unwrap();
            prop_assert_eq!(sent.end as usize, head.len());
            prop_assert_eq!(sent.protocol, if udp { 17 } else { esp::PROTOCOL });
            prop_assert_eq!((sent.src, sent.dst), (parsed.src, parsed.dst));
        }
    }
}
