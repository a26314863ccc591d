//! What a host's packets meet in the policy database, from bytes to verdict.

use esprit_ipsec::PolicyId;
use esprit_ipsec::spd::{Action, Builtin, PolicySpec, Rule, Spd, builtin};
use esprit_packet::VnetHdr;
use esprit_packet::parse::{parse_frame, parse_packet};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

fn spd(policies: &str, endpoints: &[&str]) -> Spd {
    let specs: Vec<PolicySpec> = serde_json::from_str(policies).unwrap();
    let endpoints: Vec<_> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
    Spd::new(specs, &endpoints).unwrap()
}

/// Web traffic in clear, the rest between two networks protected, one host shunned.
fn office() -> Spd {
    spd(
        r#"[
        {"id": 1, "name": "web", "action": "bypass", "local": "10.1.0.0/24",
         "remote": "10.2.0.0/24", "protocol": 6, "local_port": null, "remote_port": [80, 80]},
        {"id": 2, "name": "office", "action": "protect", "local": "10.1.0.0/24",
         "remote": "10.2.0.0/24", "protocol": null, "local_port": null, "remote_port": null},
        {"id": 3, "name": "shunned", "action": "discard", "local": "0.0.0.0/0",
         "remote": "203.0.113.66"},
        {"id": 4, "name": "six", "action": "protect", "local": "fd00:1::/64",
         "remote": "fd00:2::/64", "protocol": 17, "remote_port": [1000, 2000]}
        ]"#,
        &["192.0.2.2"],
    )
}

fn address(text: &str) -> Vec<u8> {
    match text.parse().unwrap() {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// An IPv4 packet; `fragment` is the flags and offset field.
fn v4(src: &str, dst: &str, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(address(src));
    packet.extend(address(dst));
    packet.extend(payload);
    packet
}

fn v6(src: &str, dst: &str, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, 255]);
    packet.extend(address(src));
    packet.extend(address(dst));
    packet.extend(payload);
    packet
}

fn tcp(sport: u16, dport: u16) -> Vec<u8> {
    let mut header = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    header
}

fn udp(sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len() as u16;
    let mut datagram = [sport, dport, len, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    datagram
}

fn out(spd: &Spd, packet: &[u8]) -> (Action, Rule, Option<u32>) {
    let verdict = spd.lookup_out(&parse_packet(packet).unwrap(), packet);
    (verdict.action, verdict.rule, verdict.policy.map(|id| id.0))
}

fn inward(spd: &Spd, packet: &[u8]) -> (Action, Rule, Option<u32>) {
    let verdict = spd.lookup_in(&parse_packet(packet).unwrap(), packet);
    (verdict.action, verdict.rule, verdict.policy.map(|id| id.0))
}

#[test]
fn the_first_match_decides() {
    let spd = office();
    let web = v4("10.1.0.5", "10.2.0.5", TCP, 0, &tcp(40000, 80));
    let mail = v4("10.1.0.5", "10.2.0.5", TCP, 0, &tcp(40000, 25));
    assert_eq!(out(&spd, &web), (Action::Bypass, Rule::Policy, Some(1)));
    assert_eq!(out(&spd, &mail), (Action::Protect, Rule::Policy, Some(2)));
    let shunned = v4("10.1.0.5", "203.0.113.66", TCP, 0, &tcp(40000, 80));
    assert_eq!(
        out(&spd, &shunned),
        (Action::Discard, Rule::Policy, Some(3))
    );
    assert_eq!(spd.policies()[1].id, PolicyId(2));
    assert!(spd.protects());
}

#[test]
fn arriving_packets_meet_the_mirrored_selector() {
    let spd = office();
    let web = v4("10.2.0.5", "10.1.0.5", TCP, 0, &tcp(80, 40000));
    let mail = v4("10.2.0.5", "10.1.0.5", TCP, 0, &tcp(25, 40000));
    assert_eq!(inward(&spd, &web), (Action::Bypass, Rule::Policy, Some(1)));
    assert_eq!(
        inward(&spd, &mail),
        (Action::Protect, Rule::Policy, Some(2))
    );
    // The same packet in the other direction is neither's.
    assert_eq!(out(&spd, &mail).0, Action::Bypass);
    let to_port_80 = v4("10.2.0.5", "10.1.0.5", TCP, 0, &tcp(40000, 80));
    assert_eq!(inward(&spd, &to_port_80).2, Some(2));
}

#[test]
fn a_later_fragment_never_falls_through() {
    let spd = office();
    let first = v4("10.1.0.5", "10.2.0.5", TCP, 0x2000, &tcp(40000, 25));
    assert_eq!(out(&spd, &first).0, Action::Protect, "its ports are there");
    let later = v4("10.1.0.5", "10.2.0.5", TCP, 0x0003, &[0; 64]);
    assert_eq!(
        out(&spd, &later),
        (Action::Discard, Rule::Fragment, Some(1))
    );
    // A protocol that no policy with ports can mean goes on to the next.
    let other = v4("10.1.0.5", "10.2.0.5", 1, 0x0003, &[0; 64]);
    assert_eq!(out(&spd, &other), (Action::Protect, Rule::Policy, Some(2)));
    let back = v4("10.2.0.5", "10.1.0.5", TCP, 0x0003, &[0; 64]);
    assert_eq!(
        inward(&spd, &back),
        (Action::Discard, Rule::Fragment, Some(1))
    );
}

#[test]
fn an_ipv6_fragment_that_hides_its_protocol_is_not_passed() {
    let spd = office();
    let fragment = |next: u8, offset: u16| {
        let mut rest = vec![next, 0];
        rest.extend(offset.to_be_bytes());
        rest.extend([0, 0, 0, 7]);
        rest.extend([0; 24]);
        v6("fd00:1::5", "fd00:2::5", 44, &rest)
    };
    assert_eq!(
        out(&spd, &fragment(UDP, 0x18)),
        (Action::Discard, Rule::Fragment, Some(4))
    );
    assert_eq!(
        out(&spd, &fragment(60, 0x18)),
        (Action::Discard, Rule::Fragment, Some(4)),
        "destination options first: UDP may follow"
    );
    assert_eq!(out(&spd, &fragment(TCP, 0x18)).1, Rule::Protected);
}

#[test]
fn the_default_is_bypass_but_not_towards_protected_peers() {
    let spd = office();
    let elsewhere = v4("10.1.0.5", "198.51.100.1", UDP, 0, &udp(1, 2, &[]));
    assert_eq!(out(&spd, &elsewhere), (Action::Bypass, Rule::Default, None));
    // From an address that no policy names, into the protected network.
    let stray = v4("172.16.0.1", "10.2.0.5", UDP, 0, &udp(1, 2, &[]));
    assert_eq!(out(&spd, &stray), (Action::Discard, Rule::Protected, None));
    let peer = v4("192.0.2.1", "192.0.2.2", UDP, 0, &udp(1, 2, &[]));
    assert_eq!(out(&spd, &peer), (Action::Discard, Rule::Protected, None));
    let from_peer = v4("192.0.2.2", "192.0.2.1", UDP, 0, &udp(1, 2, &[]));
    assert_eq!(
        inward(&spd, &from_peer),
        (Action::Discard, Rule::Protected, None)
    );
    let six = v6("fd00:1::5", "fd00:2::5", UDP, &udp(9, 999, &[]));
    assert_eq!(out(&spd, &six).1, Rule::Protected);
}

#[test]
fn ike_passes_and_what_looks_like_it_does_not() {
    let spd = office();
    let ike = v4("192.0.2.1", "192.0.2.2", UDP, 0, &udp(500, 500, &[1; 28]));
    assert_eq!(
        out(&spd, &ike),
        (Action::Bypass, Rule::Builtin(Builtin::Ike), None)
    );
    let answer = v4("192.0.2.2", "192.0.2.1", UDP, 0, &udp(31000, 500, &[1; 28]));
    assert_eq!(inward(&spd, &answer).1, Rule::Builtin(Builtin::Ike));
    // An unprivileged process sends from any port to port 500 of the protected network.
    let app = v4(
        "10.1.0.5",
        "10.2.0.5",
        UDP,
        0,
        &udp(40000, 500, b"plaintext"),
    );
    assert_eq!(out(&spd, &app), (Action::Protect, Rule::Policy, Some(2)));

    let nat_t = |payload: &[u8]| v4("192.0.2.1", "192.0.2.2", UDP, 0, &udp(4500, 4500, payload));
    let marked = [[0; 4], [7; 4]].concat();
    assert_eq!(
        out(&spd, &nat_t(&marked)).1,
        Rule::Builtin(Builtin::IkeNatT)
    );
    assert_eq!(out(&spd, &nat_t(&[0, 0, 0, 1, 7])).1, Rule::Protected);
    assert_eq!(out(&spd, &nat_t(&[0, 0, 0])).1, Rule::Protected);
    assert_eq!(out(&spd, &nat_t(&[])).1, Rule::Protected);
}

#[test]
fn neighbours_are_found_under_any_policy() {
    let spd = spd(
        r#"[{"id": 1, "action": "protect", "local": "::/0", "remote": "::/0"},
            {"id": 2, "action": "protect", "local": "0.0.0.0/0", "remote": "0.0.0.0/0"}]"#,
        &[],
    );
    for kind in 133..=137 {
        let nd = v6("fe80::1", "ff02::1", ICMPV6, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            out(&spd, &nd).1,
            Rule::Builtin(Builtin::NeighbourDiscovery),
            "{kind}"
        );
        assert_eq!(inward(&spd, &nd).0, Action::Bypass);
    }
    for kind in [1, 128, 132, 138] {
        let icmp = v6("fe80::1", "ff02::1", ICMPV6, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out(&spd, &icmp).0, Action::Protect, "{kind}");
    }
    // Protocol 58 inside IPv4 is nobody's neighbour discovery.
    let odd = v4(
        "10.0.0.1",
        "10.0.0.2",
        ICMPV6,
        0,
        &[135, 0, 0, 0, 0, 0, 0, 0],
    );
    assert_eq!(out(&spd, &odd).0, Action::Protect);

    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 1, 8, 6]);
    arp.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend([0; 20]);
    let parsed = parse_frame(&arp, &VnetHdr::default()).unwrap();
    assert_eq!(
        spd.lookup_out(&parsed, &arp).rule,
        Rule::Builtin(Builtin::Arp)
    );
}

#[test]
fn tags_hide_nothing_from_policy() {
    let spd = office();
    for tags in [&[0x81, 0, 0, 5][..], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 5][..]] {
        let mut frame = vec![2; 12];
        frame.extend(tags);
        frame.extend([8, 0]);
        frame.extend(v4("10.1.0.5", "10.2.0.5", TCP, 0, &tcp(40000, 25)));
        let parsed = parse_frame(&frame, &VnetHdr::default()).unwrap();
        assert_eq!(spd.lookup_out(&parsed, &frame).policy, Some(PolicyId(2)));
    }
}

#[test]
fn what_cannot_be_judged_is_refused_while_a_policy_protects() {
    // PPPoE session, MPLS.
    for ethertype in [[0x88, 0x64], [0x88, 0x47]] {
        let mut frame = vec![2; 12];
        frame.extend(ethertype);
        frame.extend([0; 46]);
        let parsed = parse_frame(&frame, &VnetHdr::default()).unwrap();
        assert_eq!(
            office().lookup_out(&parsed, &frame).rule,
            Rule::Encapsulated
        );
        assert_eq!(office().lookup_in(&parsed, &frame).action, Action::Discard);
        assert_eq!(
            Spd::default().lookup_out(&parsed, &frame).action,
            Action::Bypass
        );
    }
    let mut lldp = vec![2; 12];
    lldp.extend([0x88, 0xcc]);
    lldp.extend([0; 46]);
    let parsed = parse_frame(&lldp, &VnetHdr::default()).unwrap();
    assert_eq!(office().lookup_out(&parsed, &lldp).action, Action::Bypass);
}

#[test]
fn an_empty_database_passes_everything() {
    let packet = v4("10.1.0.5", "10.2.0.5", TCP, 0, &tcp(40000, 25));
    assert_eq!(
        out(&Spd::default(), &packet),
        (Action::Bypass, Rule::Default, None)
    );
    assert!(!Spd::default().protects());
}

#[test]
fn a_bad_list_is_refused_as_a_whole() {
    let refused = |text: &str| {
        let specs = serde_json::from_str::<Vec<PolicySpec>>(text).map_err(|e| e.to_string())?;
        Spd::new(specs, &[])
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let twice = r#"[{"id": 1, "action": "bypass", "local": "::/0", "remote": "::/0"},
                    {"id": 1, "action": "protect", "local": "::/0", "remote": "::/0"}]"#;
    assert!(
        refused(twice)
            .unwrap_err()
            .contains("policy 1 stands in the list twice")
    );
    let mixed = r#"[{"id": 4, "name": "mix", "action": "protect", "local": "10.0.0.0/8", "remote": "::/0"}]"#;
    let error = refused(mixed).unwrap_err();
    assert!(
        error.contains("policy 4 (mix)") && error.contains("IP versions"),
        "{error}"
    );
    let host_bits =
        r#"[{"id": 4, "action": "protect", "local": "10.0.0.1/8", "remote": "0.0.0.0/0"}]"#;
    assert!(refused(host_bits).unwrap_err().contains("10.0.0.0/8"));
    let action = r#"[{"id": 4, "action": "drop", "local": "::/0", "remote": "::/0"}]"#;
    assert!(refused(action).is_err());
}

#[test]
fn the_builtin_rules_can_be_listed() {
    let names: Vec<_> = builtin().iter().map(|rule| rule.name()).collect();
    assert_eq!(names, ["ike", "ike-nat-t", "arp", "neighbour-discovery"]);
    assert!(builtin().iter().all(|rule| !rule.description().is_empty()));
}
