//! Every drop has a reason, and the reason is a counter (rule 5): each one provoked.

mod lab;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::{EngineId, Fault, Health, Verdict};
use esprit_datapath::drops::Way;
use esprit_datapath::plan::SourceMac;
use esprit_datapath::{Answer, DropReason, MemberSpec, PolicyWithSas};
use esprit_ipsec::sad::Mode;
use esprit_ipsec::selector::Selector;
use esprit_ipsec::spd::{Action, PolicySpec};
use esprit_packet::{Time, VnetHdr};
use lab::{Host, Queue, TEAM, fix_header, member_mac, sealed, team_mac, tso, udp};

const PLAIN: VnetHdr = VnetHdr {
    flags: 0,
    gso_type: 0,
    hdr_len: 0,
    gso_size: 0,
    csum_start: 0,
    csum_offset: 0,
};

fn left() -> Host {
    Host::new(1, 2)
        .with_cpu()
        .active()
        .protect(1, 2, Mode::Tunnel, false)
}

fn right() -> Host {
    Host::new(2, 2)
        .with_cpu()
        .active()
        .protect(2, 1, Mode::Tunnel, false)
}

fn hears(frame: Vec<u8>) -> Host {
    let mut host = right();
    host.hear(1, PLAIN, frame);
    host
}

fn sends(mut host: Host, frame: Vec<u8>) -> Host {
    host.send(PLAIN, frame);
    host
}

/// Replaces the SPD by one policy from host 1 to host 2.
fn policy(host: &mut Host, action: Action, protocol: Option<u8>, port: Option<(u16, u16)>) {
    let policy = PolicySpec {
        id: 1,
        name: String::new(),
        action,
        selector: Selector {
            local: "10.0.0.1/32".parse().unwrap(),
            remote: "10.0.0.2/32".parse().unwrap(),
            protocol,
            local_port: port,
            remote_port: None,
        },
    };
    let sas = Vec::new();
    host.worker
        .policies(TEAM, vec![PolicyWithSas { policy, sas }]);
}

/// A plaintext with a right trailer: padded to four bytes.
fn with_trailer(packet: &[u8], next_header: u8) -> Vec<u8> {
    let mut plain = packet.to_vec();
    let mut pad = 0;
    while !(plain.len() + 2).is_multiple_of(4) {
        pad += 1;
        plain.push(pad);
    }
    plain.extend_from_slice(&[pad, next_header]);
    plain
}

/// The inner packet of a frame of the lab.
fn inner(from: u8, to: u8) -> Vec<u8> {
    udp(from, to, b"inside")[14..].to_vec()
}

/// How to provoke each reason. The match has no default: a new reason needs a new way.
fn provoke(reason: DropReason) -> Host {
    match reason {
        DropReason::Malformed => {
            let mut frame = udp(1, 2, &[]);
            frame.truncate(20);
            hears(frame)
        }
        DropReason::HeaderChecksum => {
            let mut frame = udp(1, 2, &[]);
            frame[24] ^= 1;
            hears(frame)
        }
        DropReason::Looped => {
            let mut frame = udp(1, 2, &[]);
            frame[6..12].copy_from_slice(&member_mac(2, 2).0);
            hears(frame)
        }
        DropReason::ProbeRefused => {
            // It claims to be one of the team's own, which is not even probed.
            let mut frame = udp(1, 2, &[0; 60]);
            frame[..6].copy_from_slice(&member_mac(2, 1).0);
            frame[12..18].copy_from_slice(&[0x88, 0xb5, b'E', b'S', b'P', b'R']);
            hears(frame)
        }
        DropReason::Duplicate => {
            let mut host = right();
            host.hear(2, PLAIN, udp(1, 2, &[]));
            host
        }
        DropReason::NotForUs => {
            let mut frame = udp(1, 2, &[]);
            frame[..6].copy_from_slice(&member_mac(9, 9).0);
            hears(frame)
        }
        DropReason::NoPlan => sends(Host::new(1, 1), udp(1, 2, &[])),
        DropReason::NoMember => {
            let mut host = Host::new(1, 1).with_cpu();
            let mut plan = host.plan(vec![1], 1, SourceMac::Team);
            plan.members[0].carry = false;
            host.publish(plan);
            sends(host, udp(1, 2, &[]))
        }
        DropReason::PolicyDiscard => {
            let mut host = left();
            policy(&mut host, Action::Discard, None, None);
            sends(host, udp(1, 2, &[]))
        }
        DropReason::DefaultDiscard => {
            let mut host = left();
            policy(&mut host, Action::Protect, Some(6), None);
            sends(host, udp(1, 2, &[]))
        }
        DropReason::FragmentDiscard => {
            let mut host = left();
            policy(&mut host, Action::Protect, Some(17), Some((5000, 5000)));
            let mut frame = udp(1, 2, &[0; 64]);
            frame[21] = 8;
            fix_header(&mut frame);
            sends(host, frame)
        }
        DropReason::Encapsulated => {
            let mut frame = udp(1, 2, &[]);
            frame[12..14].copy_from_slice(&[0x88, 0x64]);
            sends(left(), frame)
        }
        DropReason::PlaintextRefused => hears(udp(1, 2, &[])),
        DropReason::NoSa => {
            let mut host = left();
            host.worker.sa_delete(1);
            sends(host, udp(1, 2, &[]))
        }
        DropReason::SaMismatch => {
            // The policy covers a host that the transport-mode SA is not for.
            let mut host =
                Host::new(1, 1)
                    .with_cpu()
                    .active()
                    .protect(1, 2, Mode::Transport, false);
            let policy = lab::protecting(1, "10.0.0.1/32", "10.0.0.0/24", None);
            host.worker.policies(TEAM, vec![policy]);
            sends(host, udp(1, 3, &[]))
        }
        DropReason::SaExhausted => {
            let host = Host::new(1, 1).with_cpu().active();
            let host = host.protect_from(1, 2, Mode::Tunnel, false, u64::MAX, u64::MAX);
            let host = sends(host, udp(1, 2, &[]));
            sends(host, udp(1, 2, &[]))
        }
        DropReason::SaNotGranted => {
            let host = Host::new(1, 1).with_cpu().active();
            sends(
                host.protect_from(1, 2, Mode::Tunnel, false, 5, 5),
                udp(1, 2, &[]),
            )
        }
        DropReason::NoNextHop => {
            let mut host = left();
            host.worker.sa_next_hop(1, None);
            sends(host, udp(1, 2, &[]))
        }
        DropReason::NoEngine => {
            let host = Host::new(1, 1).active().protect(1, 2, Mode::Tunnel, false);
            sends(host, udp(1, 2, &[]))
        }
        DropReason::EngineFull => {
            let slow = AsicSpec {
                queue_jobs: 1,
                ..AsicSpec::default()
            };
            let host = Host::new(1, 1).with_device(&slow).active();
            let mut host = host.protect(1, 2, Mode::Tunnel, false);
            // More than may wait for an engine.
            for _ in 0..20_000 {
                host.tap().rx.push_back((PLAIN, udp(1, 2, &[0; 1000])));
            }
            host.settle();
            host
        }
        DropReason::NoMemory => {
            let host = Host::with_buffers(1, 1, 1, 0).with_cpu().active();
            sends(host.protect(1, 2, Mode::Tunnel, false), udp(1, 2, &[]))
        }
        DropReason::EngineLost => {
            let host = Host::new(1, 1).with_device(&AsicSpec::default()).active();
            let mut host = host.protect(1, 2, Mode::Tunnel, false);
            host.worker.engine_fault(EngineId(1), Fault::Die);
            host.send(PLAIN, udp(1, 2, &[]));
            for _ in 0..30 {
                host.now = host.now + Time::from_millis(500);
                host.settle();
            }
            host
        }
        DropReason::Segmentation => {
            let (mut vnet, frame) = tso(1, 2, &[0; 3000], 1000);
            vnet.gso_type = 5;
            let mut host = left();
            host.send(vnet, frame);
            host
        }
        DropReason::EspMalformed => {
            let mut frame = sealed(1, &with_trailer(&inner(1, 2), 4));
            frame.truncate(50);
            fix_header(&mut frame);
            hears(frame)
        }
        DropReason::Icv => {
            let mut frame = sealed(1, &with_trailer(&inner(1, 2), 4));
            frame[60] ^= 1;
            hears(frame)
        }
        DropReason::ReplayDuplicate => {
            let frame = sealed(1, &with_trailer(&inner(1, 2), 4));
            let mut host = hears(frame.clone());
            host.hear(1, PLAIN, frame);
            host
        }
        DropReason::ReplayTooOld => {
            // Both pass the check before opening; the second is late when its turn comes. (Had
            // it come alone, ESN would take it for one of the next 2^32.)
            let mut host = right();
            for seq in [5000, 1] {
                let frame = sealed(seq, &with_trailer(&inner(1, 2), 4));
                host.member(1).rx.push_back((PLAIN, frame));
            }
            host.settle();
            host
        }
        DropReason::Trailer => hears(sealed(1, &[9, 9, 9, 9, 9, 9, 200, 4])),
        DropReason::Dummy => hears(sealed(1, &with_trailer(&inner(1, 2), 59))),
        DropReason::InnerMalformed => hears(sealed(1, &with_trailer(&[0x45, 0, 0], 4))),
        DropReason::Congestion => {
            let mut frame = sealed(1, &with_trailer(&inner(1, 2), 4));
            frame[15] = 3;
            fix_header(&mut frame);
            hears(frame)
        }
        DropReason::InboundPolicy => hears(sealed(1, &with_trailer(&inner(7, 2), 4))),
        DropReason::Keepalive => {
            let mut host = Host::new(2, 1)
                .with_cpu()
                .active()
                .protect(2, 1, Mode::Tunnel, true);
            let mut frame = udp(1, 2, &[0xff]);
            frame[36..38].copy_from_slice(&4500_u16.to_be_bytes());
            host.hear(1, PLAIN, frame);
            host
        }
        DropReason::TxQueueFull => {
            // Its own flows fill it; another member's are still read for.
            let mut host = Host::new(1, 2).with_cpu();
            let plan = host.plan(vec![1, 1, 1, 2], 1, SourceMac::Team);
            host.publish(plan);
            host.member(1).full = true;
            for _ in 0..2000 {
                for port in 0..8 {
                    let mut frame = udp(1, 7, &[]);
                    frame[35] = port;
                    host.tap().rx.push_back((PLAIN, frame));
                }
            }
            host.settle();
            host.member(2).tx.clear();
            host
        }
        DropReason::PortDown => {
            let mut host = Host::new(1, 1).with_cpu().active();
            host.member(1).full = true;
            let mut frame = udp(1, 7, &[]);
            frame[..6].copy_from_slice(&team_mac(7).0);
            host.send(PLAIN, frame);
            host.wires.links.push(esprit_port::LinkEvent {
                ifindex: 1,
                up: false,
                deleted: false,
            });
            host.settle();
            host
        }
        DropReason::PortRefused => {
            let mut host = left();
            host.member(1).refuses = true;
            sends(host, udp(1, 2, &[]))
        }
    }
}

#[test]
fn each_reason_is_counted_and_nothing_passes() {
    for &reason in DropReason::ALL {
        let mut host = provoke(reason);
        let drops = host.drops();
        let names: BTreeSet<_> = drops.keys().copied().collect();
        assert_eq!(names, BTreeSet::from([reason.name()]), "{drops:?}");
        // The peer's earlier, good packet aside, nothing went up.
        let replayed = matches!(
            reason,
            DropReason::ReplayDuplicate | DropReason::ReplayTooOld
        );
        assert_eq!(
            host.tap().tx.len(),
            usize::from(replayed),
            "{}",
            reason.name()
        );
    }
}

#[test]
fn what_a_removed_member_dropped_stays_counted() {
    // The last member goes with super-frames of four packets in its queue, which nobody can take.
    let mut host = Host::new(1, 1).with_cpu().active();
    host.member(1).full = true;
    let (vnet, frame) = tso(1, 7, &[0; 4000], 1000);
    for _ in 0..3 {
        host.send(vnet, frame.clone());
    }
    assert!(host.drops().is_empty());
    let mut none = host.plan(vec![], 1, SourceMac::Team);
    none.members.clear();
    none.takeover.clear();
    none.receiver = None;
    host.publish(none);
    host.worker.member_remove(host.now, 1, &mut host.wires);
    let snapshot = host.worker.snapshot(host.now);
    assert!(snapshot.members.is_empty());
    assert_eq!(
        snapshot.teams[&TEAM].drops,
        BTreeMap::from([("port-down", 12)])
    );
}

#[test]
fn what_goes_up_to_no_virtual_nic_is_counted() {
    let mut host = Host::new(2, 1).with_cpu().active();
    host.wires.taps.clear();
    host.hear(1, PLAIN, udp(1, 2, b"nobody is home"));
    assert_eq!(host.drops(), BTreeMap::from([("port-refused", 1)]));
}

#[test]
fn the_last_drop_is_told_whatever_the_reason() {
    for &reason in DropReason::ALL {
        let host = provoke(reason);
        let told = host.worker.last_drop(TEAM);
        let nobodys = matches!(
            reason,
            DropReason::Looped
                | DropReason::Duplicate
                | DropReason::NotForUs
                | DropReason::ProbeRefused
        );
        assert_eq!(
            told.map(|drop| drop.reason),
            (!nobodys).then_some(reason.name()),
            "no packet of the team's is recorded, and each of the team's is"
        );
    }
}

#[test]
fn the_last_drop_names_the_engine_and_what_the_others_would_have_cost() {
    let told = |reason| provoke(reason).worker.last_drop(TEAM).expect("dropped");

    let full = told(DropReason::EngineFull);
    let [engine] = full.candidates.as_slice() else {
        panic!("one engine: {full:?}");
    };
    assert_eq!(
        (engine.engine, engine.verdict),
        (EngineId(1), Verdict::Full)
    );
    assert!(engine.backlog_ns > 0 && engine.cost_ns > engine.backlog_ns);
    assert_eq!(full.trail.engine, None, "it was given to none");
    assert_eq!(full.trail.policy, Some(1));

    let lost = told(DropReason::EngineLost);
    assert_eq!(lost.trail.engine, Some(EngineId(1)));
    assert_eq!((lost.trail.sa, lost.trail.member), (Some(1), Some(1)));
    assert_eq!((lost.direction, lost.packets), (Way::Out, 1));
    assert_eq!(lost.candidates[0].verdict, Verdict::Unhealthy(Health::Hung));

    let forged = told(DropReason::Icv);
    assert_eq!(forged.trail.engine, Some(EngineId(1)));
    assert_eq!((forged.trail.sa, forged.trail.member), (Some(2), Some(1)));
    assert_eq!(
        forged.src,
        IpAddr::from([10, 0, 0, 1]),
        "the outer packet's"
    );
    assert!(forged.candidates.is_empty(), "engines had no part in it");

    // The inner packet, which no policy covers.
    let refused = told(DropReason::InboundPolicy);
    assert_eq!(refused.src, IpAddr::from([10, 0, 0, 7]));
    assert_eq!(refused.sport, Some(5000));

    let down = told(DropReason::PortDown);
    assert_eq!(down.dst, IpAddr::from([10, 0, 0, 7]));
    assert_eq!(down.trail.member, Some(1));
}

#[test]
fn a_storm_of_drops_asks_engines_once_in_a_while() {
    let mut host = Host::new(1, 1).active().protect(1, 2, Mode::Tunnel, false);
    let dropped = |host: &mut Host, to: u8, after_us: u64| {
        host.now = host.now + Time::from_micros(after_us);
        host.send(PLAIN, udp(1, to, &[]));
        let told = host.worker.last_drop(TEAM).expect("dropped");
        (told.reason, told.time)
    };
    let first = dropped(&mut host, 2, 0);
    assert_eq!(first.0, "no-engine");
    assert_eq!(dropped(&mut host, 2, 9_000), first, "too soon");
    let second = dropped(&mut host, 2, 2_000);
    assert_eq!(second.0, "no-engine");
    assert!(second.1 > first.1, "the engines were asked again");
    // Other drops are told at once.
    host.worker.sa_delete(1);
    assert_eq!(dropped(&mut host, 2, 1).0, "no-sa");
}

#[test]
fn what_a_new_port_loses_first_is_counted_though_the_old_one_had_lost_more() {
    let mut host = right();
    let lost = |host: &Host| host.drops().get("no-memory").copied().unwrap_or(0);
    host.member(1).counters.rx_no_buffer = 5;
    host.settle();
    assert_eq!(lost(&host), 5);
    let spec = MemberSpec {
        id: 1,
        team: TEAM,
        mac: member_mac(2, 1),
        ifindex: 1,
        up: true,
    };
    assert!(matches!(host.worker.member_add(&spec), Answer::Done));
    let mut port = Queue::default();
    port.counters.rx_no_buffer = 3;
    host.wires.members.insert(1, port);
    host.settle();
    assert_eq!(lost(&host), 8);
}
