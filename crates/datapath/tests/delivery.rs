//! Who seals and who sends: the mask, direct delivery, and what `explain` says of both.

mod lab;

use std::collections::BTreeMap;

use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::{Class, Grant, Transfer};
use esprit_datapath::plan::{Delivery, Mask, Served, SourceMac};
use esprit_datapath::{Explanation, Flow, Plan};
use esprit_ipsec::sad::Mode;
use esprit_packet::{Time, VnetHdr};
use lab::{Host, TEAM, member_mac, team_mac, udp};

const ALGORITHM: &str = "aes-128-gcm-16";

fn grant(engine: u32, member: u32) -> Grant {
    Grant {
        member: Some(member),
        seal: true,
        open: true,
        primary: Some(0),
        secondary: Some(0),
        ..Grant::none(engine)
    }
}

fn mask(own: &[u32], backed: &[u32]) -> Option<Mask> {
    Some(Mask {
        seal: vec![Served {
            algorithm: ALGORITHM.to_owned(),
            own: own.to_vec(),
            backed: backed.to_vec(),
        }],
        open: Vec::new(),
    })
}

/// Three members; engine 7 belongs to member 3, and no other has one. Its way there and back
/// takes `transfer_ns`.
fn host(transfer_ns: u64) -> Host {
    let spec = AsicSpec {
        transfer: Transfer {
            ns_per_job: transfer_ns,
            ns_per_byte: 0.0,
        },
        ..AsicSpec::default()
    };
    Host::new(1, 3)
        .with_device_as(7, &spec)
        .protect(1, 2, Mode::Tunnel, false)
}

fn plan(host: &mut Host, delivery: Delivery) -> Plan {
    let mut plan = host.plan(vec![1], 1, SourceMac::Member);
    plan.grants.engines = vec![grant(7, 3)];
    plan.delivery = delivery;
    plan.direct = vec![1, 2, 3];
    plan
}

fn flow() -> Flow {
    Flow {
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        protocol: 17,
        sport: Some(5000),
        dport: Some(6000),
        length: 100,
    }
}

/// Sends a packet and gives it a millisecond.
fn send(host: &mut Host) {
    host.send(VnetHdr::default(), udp(1, 2, b"secret"));
    host.now = host.now + Time::from_millis(1);
    host.settle();
}

/// Which members sent, with the source addresses of what they sent.
fn sent(host: &mut Host) -> BTreeMap<u32, Vec<Vec<u8>>> {
    (1..=3)
        .map(|id| (id, std::mem::take(&mut host.member(id).tx)))
        .filter(|(_, frames)| !frames.is_empty())
        .map(|(id, frames)| {
            let sources = frames.iter().map(|(_, f)| f[6..12].to_vec()).collect();
            (id, sources)
        })
        .collect()
}

fn explain(host: &Host) -> Explanation {
    host.worker
        .explain(host.now, TEAM, &flow())
        .expect("a flow that can be")
}

#[test]
fn in_return_delivery_the_requester_sends_and_in_direct_the_engine_s_member() {
    for (delivery, by) in [(Delivery::Return, 1), (Delivery::Direct, 3)] {
        let mut host = host(0);
        let plan = plan(&mut host, delivery);
        host.publish(plan);
        let told = explain(&host);
        send(&mut host);
        let expected = BTreeMap::from([(by, vec![member_mac(1, 1).0.to_vec()])]);
        assert_eq!(sent(&mut host), expected, "{:?}", host.drops());
        // What was told is what happened.
        assert_eq!((told.member, told.deliverer), (Some(1), Some(by)));
        assert_eq!((told.engine, told.class), (Some(7), Some(Class::Secondary)));
        assert_eq!((told.sa, told.policy, told.reason), (Some(1), Some(1), ""));
        let snapshot = host.worker.snapshot(host.now);
        assert_eq!(snapshot.members[&3].direct, u64::from(by == 3));
    }
}

#[test]
fn where_the_engine_s_member_may_not_send_the_job_is_returned() {
    let mut host = host(0);
    let mut waiting = plan(&mut host, Delivery::Direct);
    waiting.direct = vec![1, 2];
    host.publish(waiting);
    send(&mut host);
    assert_eq!(sent(&mut host).keys().copied().collect::<Vec<_>>(), [1]);
    // It may, but its wire has just died.
    let fresh = plan(&mut host, Delivery::Direct);
    host.publish(fresh);
    host.wires.links.push(esprit_port::LinkEvent {
        ifindex: 3,
        up: false,
        deleted: false,
    });
    host.settle();
    send(&mut host);
    assert_eq!(sent(&mut host).keys().copied().collect::<Vec<_>>(), [1]);
    assert!(host.drops().is_empty());
}

#[test]
fn what_a_member_was_to_send_for_another_leaves_at_once_when_it_is_lost() {
    // Member 3 carries nothing of its own, so nobody takes over from it but for this.
    let mut host = host(0);
    let direct = plan(&mut host, Delivery::Direct);
    host.publish(direct);
    host.member(3).full = true;
    send(&mut host);
    assert!(sent(&mut host).is_empty());
    host.wires.links.push(esprit_port::LinkEvent {
        ifindex: 3,
        up: false,
        deleted: false,
    });
    host.settle();
    let expected = BTreeMap::from([(1, vec![member_mac(1, 1).0.to_vec()])]);
    assert_eq!(sent(&mut host), expected, "{:?}", host.drops());
}

#[test]
fn auto_takes_the_sooner_of_the_two() {
    // The way back takes a while and both queues are empty: direct.
    let mut far = host(20_000);
    let auto = plan(&mut far, Delivery::Auto);
    far.publish(auto);
    send(&mut far);
    assert_eq!(sent(&mut far).keys().copied().collect::<Vec<_>>(), [3]);
    // The engine's member is full, the requester is not: returned.
    far.member(3).full = true;
    for _ in 0..400 {
        send(&mut far);
    }
    let by_requester = sent(&mut far).remove(&1).unwrap_or_default().len();
    assert!(by_requester > 0, "all waits for the full one");
    // So where its queue is the device's own: 100 kB at 10 Gbit/s are more than the way back.
    let mut far = host(20_000);
    let auto = plan(&mut far, Delivery::Auto);
    far.publish(auto);
    far.member(3).unsent = 100_000;
    send(&mut far);
    assert_eq!(sent(&mut far).keys().copied().collect::<Vec<_>>(), [1]);
    far.member(3).unsent = 0;
    send(&mut far);
    assert_eq!(sent(&mut far).keys().copied().collect::<Vec<_>>(), [3]);
    // No way at all: there is nothing to win.
    let mut near = host(0);
    let auto = plan(&mut near, Delivery::Auto);
    near.publish(auto);
    send(&mut near);
    assert_eq!(sent(&mut near).keys().copied().collect::<Vec<_>>(), [1]);
}

#[test]
fn replies_reach_the_requester_wherever_the_switch_learnt_it() {
    let mut host = host(0);
    let hear = |host: &mut Host, member: u32| {
        let mut frame = udp(7, 1, b"x");
        frame[..6].copy_from_slice(&member_mac(1, 1).0);
        frame[6..12].copy_from_slice(&member_mac(9, 9).0);
        frame[26..30].copy_from_slice(&[10, 0, 1, 7]);
        lab::fix_header(&mut frame);
        host.hear(member, VnetHdr::default(), frame);
        std::mem::take(&mut host.tap().tx).len()
    };
    let plan_return = plan(&mut host, Delivery::Return);
    host.publish(plan_return);
    assert_eq!((hear(&mut host, 1), hear(&mut host, 3)), (1, 0));
    host.settle();
    assert_eq!(host.member(3).addresses, [team_mac(1).0]);
    let direct = plan(&mut host, Delivery::Direct);
    host.publish(direct);
    assert_eq!((hear(&mut host, 1), hear(&mut host, 3)), (1, 1));
    // And the ports let it in.
    assert!(host.member(3).addresses.contains(&member_mac(1, 1).0));
    assert_eq!(host.member(3).addresses.len(), 4);
}

#[test]
fn protected_flows_keep_to_served_members_and_plain_ones_do_not() {
    let mut host = host(0);
    let mut masked = plan(&mut host, Delivery::Return);
    masked.transmit = vec![1, 2, 3];
    masked.mask = mask(&[3], &[]);
    host.publish(masked);
    for _ in 0..20 {
        send(&mut host);
    }
    assert_eq!(sent(&mut host).keys().copied().collect::<Vec<_>>(), [3]);
    for port in 0..60_u8 {
        let mut frame = udp(1, 7, b"plain");
        frame[35] = port;
        host.send(VnetHdr::default(), frame);
    }
    let plain = sent(&mut host);
    assert_eq!(plain.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn served_by_nobody_is_no_engine() {
    let mut host = host(0);
    let mut masked = plan(&mut host, Delivery::Return);
    masked.mask = Some(Mask::default());
    host.publish(masked);
    let told = explain(&host);
    send(&mut host);
    assert_eq!(host.drops(), BTreeMap::from([("no-engine", 1)]));
    assert_eq!(told.reason, "no-engine");
    let drop = host.worker.last_drop(TEAM).expect("one was dropped");
    assert_eq!((drop.reason, drop.packets), ("no-engine", 1));
    assert_eq!((drop.sport, drop.dport), (Some(5000), Some(6000)));
    assert_eq!((drop.trail.policy, drop.trail.sa), (Some(1), None));
    // Nothing speaks against the engine itself: it is the mask that gives it to nobody.
    assert_eq!((drop.candidates.len(), told.candidates.len()), (1, 1));
    assert!(drop.candidates[0].cost_ns > 0, "{:?}", drop.candidates);
    assert_eq!(drop.candidates[0].engine, told.candidates[0].engine);
}

#[test]
fn an_explanation_changes_nothing_and_names_what_stands_in_the_way() {
    let mut host = host(0);
    let told = explain(&host);
    assert_eq!(
        (told.reason, told.action),
        ("no-plan", esprit_ipsec::spd::Action::Protect)
    );
    let ready = plan(&mut host, Delivery::Return);
    host.publish(ready);
    let before = host.worker.snapshot(host.now);
    for _ in 0..10 {
        explain(&host);
    }
    let after = host.worker.snapshot(host.now);
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    let told = explain(&host);
    assert_eq!(
        told.candidates.len(),
        1,
        "member 1 has no engine of its own"
    );
    assert!(
        told.why.contains("SA 1") && told.why.contains("engine 7"),
        "{}",
        told.why
    );

    host.worker.sa_next_hop(1, None);
    assert_eq!(explain(&host).reason, "no-next-hop");
    host.worker.sa_delete(1);
    assert_eq!(explain(&host).reason, "no-sa");
    let plain = Flow {
        dst: [10, 0, 0, 7].into(),
        ..flow()
    };
    let told = host.worker.explain(host.now, TEAM, &plain).unwrap();
    assert_eq!(
        (told.rule, told.member, told.sa),
        ("default", Some(1), None)
    );
    let broadcast = Flow {
        dst: [255; 4].into(),
        ..flow()
    };
    let told = host.worker.explain(host.now, TEAM, &broadcast).unwrap();
    assert_eq!(told.member, Some(1));
    let mixed = Flow {
        dst: "fe80::1".parse().unwrap(),
        ..flow()
    };
    assert!(host.worker.explain(host.now, TEAM, &mixed).is_err());
    for protocol in 0..=255 {
        for length in [0, 1500, 1 << 20] {
            let odd = Flow {
                protocol,
                length,
                sport: None,
                dport: None,
                ..flow()
            };
            // Whatever it is, it has an answer.
            let _ = host.worker.explain(host.now, TEAM, &odd);
        }
    }
}

#[test]
fn a_drop_by_a_full_engine_names_its_packet() {
    let slow = AsicSpec {
        queue_jobs: 1,
        ..AsicSpec::default()
    };
    let host = Host::new(1, 1).with_device(&slow).active();
    let mut host = host.protect(1, 2, Mode::Tunnel, false);
    for _ in 0..20_000 {
        host.tap()
            .rx
            .push_back((VnetHdr::default(), udp(1, 2, &[0; 1000])));
    }
    host.settle();
    let drop = host.worker.last_drop(TEAM).expect("some were dropped");
    assert_eq!(drop.reason, "engine-full");
    assert_eq!(drop.dst, std::net::IpAddr::from([10, 0, 0, 2]));
    assert_eq!((drop.trail.sa, drop.trail.member), (Some(1), Some(1)));
}
