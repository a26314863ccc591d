//! Flows keep their order when a Plan moves them between live members (row M13).

mod lab;

use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_datapath::plan::SourceMac;
use esprit_ipsec::sad::Mode;
use esprit_packet::{Time, VnetHdr};
use lab::{Host, TEAM, udp};

/// A packet that is not protected, of flow `port`, with a number in it.
fn plain(port: u8, number: u32) -> Vec<u8> {
    let mut frame = udp(1, 7, &number.to_be_bytes());
    frame[35] = port;
    frame
}

/// What left, in the order of time: one wire behind both members, read whenever asked.
fn observe(host: &mut Host, seen: &mut Vec<u32>) {
    for member in [1, 2] {
        for (_, frame) in std::mem::take(&mut host.member(member).tx) {
            seen.push(u32::from_be_bytes(frame[42..46].try_into().unwrap()));
        }
    }
}

#[test]
fn a_plain_flow_waits_for_what_went_before_it() {
    let mut host = Host::new(1, 2).with_cpu();
    let first = host.plan(vec![1], 1, SourceMac::Team);
    host.publish(first);
    // The old member's device takes nothing for a while.
    host.member(1).full = true;
    for number in 0..10 {
        host.send(VnetHdr::default(), plain(1, number));
    }
    let second = host.plan(vec![2], 1, SourceMac::Team);
    host.publish(second);
    for number in 10..20 {
        host.send(VnetHdr::default(), plain(1, number));
    }
    let mut seen = Vec::new();
    observe(&mut host, &mut seen);
    assert_eq!(seen, [], "what moved ran ahead");
    host.member(1).full = false;
    for _ in 0..10 {
        host.now = host.now + Time::from_millis(1);
        host.settle();
        observe(&mut host, &mut seen);
    }
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
    assert_eq!(host.worker.snapshot(host.now).teams[&TEAM].held, 1);
}

#[test]
fn the_wait_is_bounded() {
    let mut host = Host::new(1, 2).with_cpu();
    let first = host.plan(vec![1], 1, SourceMac::Team);
    host.publish(first);
    host.member(1).full = true;
    host.send(VnetHdr::default(), plain(1, 0));
    let second = host.plan(vec![2], 1, SourceMac::Team);
    host.publish(second);
    host.send(VnetHdr::default(), plain(1, 1));
    let began = host.now;
    let mut seen = Vec::new();
    while seen.is_empty() {
        let due = host.worker.step(host.now, &mut host.wires).next;
        host.now = due.expect("the worker asks to be called while frames wait");
        assert!(host.now.since(began) <= Time::from_millis(251));
        host.settle();
        observe(&mut host, &mut seen);
    }
    assert_eq!(seen, [1]);
    assert!(host.now.since(began) >= Time::from_millis(249));
}

#[test]
fn a_flow_waits_behind_its_frames_that_wait_whatever_a_plan_makes_of_its_share() {
    let mut host = Host::new(1, 2).with_cpu();
    let first = host.plan(vec![1], 1, SourceMac::Team);
    host.publish(first);
    host.member(1).full = true;
    let send = |host: &mut Host, number: u32| {
        for port in 0..8 {
            host.send(VnetHdr::default(), plain(port, number));
        }
    };
    send(&mut host, 0);
    let second = host.plan(vec![2], 1, SourceMac::Team);
    host.publish(second);
    send(&mut host, 1);
    // The same member for all, by more shares.
    let third = host.plan(vec![2, 2, 2, 2], 1, SourceMac::Team);
    host.publish(third);
    send(&mut host, 2);
    let mut seen = Vec::new();
    observe(&mut host, &mut seen);
    assert_eq!(seen, [], "what came last ran ahead");
    host.member(1).full = false;
    for _ in 0..10 {
        host.now = host.now + Time::from_millis(1);
        host.settle();
        observe(&mut host, &mut seen);
    }
    let in_order: Vec<u32> = (0..3).flat_map(|number| [number; 8]).collect();
    assert_eq!(seen, in_order);
}

#[test]
fn only_flows_that_move_wait() {
    let mut host = Host::new(1, 2).with_cpu();
    let first = host.plan(vec![1, 1], 1, SourceMac::Team);
    host.publish(first);
    host.member(1).full = true;
    for port in 0..8 {
        host.send(VnetHdr::default(), plain(port, 0));
    }
    let second = host.plan(vec![1, 2], 1, SourceMac::Team);
    host.publish(second);
    for port in 0..8 {
        host.send(VnetHdr::default(), plain(port, 1));
    }
    assert_eq!(host.member(2).tx.len(), 0, "what moved waits");
    host.member(1).full = false;
    host.settle();
    let (stayed, mut moved) = (host.member(1).tx.len() - 8, 0);
    for _ in 0..3 {
        host.now = host.now + Time::from_millis(1);
        host.settle();
        moved = host.member(2).tx.len();
    }
    assert!(
        stayed > 0 && moved > 0 && stayed + moved == 8,
        "{stayed} {moved}"
    );
}

#[test]
fn a_slow_member_does_not_hold_up_the_flows_of_the_others() {
    let mut host = Host::new(1, 2).with_cpu();
    let table = host.plan(vec![1, 2], 1, SourceMac::Team);
    host.publish(table);
    host.member(1).full = true;
    for number in 0..2000 {
        for port in 0..4 {
            host.tap()
                .rx
                .push_back((VnetHdr::default(), plain(port, number)));
        }
    }
    host.settle();
    assert!(host.tap().rx.is_empty(), "the virtual NIC is read");
    let snapshot = host.worker.snapshot(host.now);
    let lost = snapshot.teams[&TEAM].drops["tx-queue-full"];
    let queued = snapshot.members[&1].queued as u64;
    assert_eq!(host.member(2).tx.len() as u64 + queued + lost, 8000);
    assert!(queued < 1024 && host.member(2).tx.len() >= 2000);
}

#[test]
fn what_was_accepted_waits_for_room_at_its_member() {
    let spec = AsicSpec {
        latency_ns: 1_000_000,
        ..AsicSpec::default()
    };
    let host = Host::new(1, 1).with_device(&spec);
    let mut host = host.protect(1, 2, Mode::Tunnel, false).active();
    host.member(1).full = true;
    // Native ESP: 41 super-frames become more frames than the member's queue holds.
    let (vnet, frame) = lab::tso(1, 2, &[0; 60_000], 1400);
    for _ in 0..41 {
        host.tap().rx.push_back((vnet, frame.clone()));
    }
    for _ in 0..200 {
        host.now = host.now + Time::from_millis(1);
        host.settle();
    }
    host.member(1).full = false;
    for _ in 0..200 {
        host.now = host.now + Time::from_millis(1);
        host.settle();
    }
    let lost: u64 = host.drops().values().sum();
    let accepted = host.worker.snapshot(host.now).sas[&1].seq - 1;
    assert_eq!(host.member(1).tx.len() as u64, accepted);
    assert_eq!(
        (accepted + lost) % 43,
        0,
        "whole super-frames of 43 packets"
    );
    assert!(accepted > 1024, "more than a queue's worth: {accepted}");
}

#[test]
fn a_protected_flow_waits_for_its_engine() {
    let spec = AsicSpec {
        latency_ns: 2_000_000,
        ..AsicSpec::default()
    };
    let host = Host::new(1, 2).with_device(&spec);
    let mut host = host.protect(1, 2, Mode::Tunnel, false);
    let first = host.plan(vec![1], 1, SourceMac::Team);
    host.publish(first);
    host.send(VnetHdr::default(), udp(1, 2, b"first"));
    let second = host.plan(vec![2], 2, SourceMac::Team);
    host.publish(second);
    host.send(VnetHdr::default(), udp(1, 2, b"second"));
    let jobs = |host: &Host| host.worker.snapshot(host.now).sas[&1].in_flight;
    assert_eq!(jobs(&host), 1, "the second has not been numbered");
    for _ in 0..20 {
        host.now = host.now + Time::from_millis(1);
        host.settle();
    }
    assert_eq!(host.member(1).tx.len(), 1);
    assert_eq!(host.member(2).tx.len(), 1);
}

#[test]
fn what_has_one_sa_waits_when_its_member_changes_though_no_share_does() {
    let mut host = Host::new(1, 2)
        .with_cpu()
        .protect(1, 2, Mode::Tunnel, false);
    let by_first = host.plan(vec![1, 2, 1, 2], 1, SourceMac::Team);
    host.publish(by_first);
    host.member(1).full = true;
    let send_all = |host: &mut Host| {
        for port in 0..8 {
            let mut frame = udp(1, 2, b"one of a flow");
            frame[35] = port;
            host.send(VnetHdr::default(), frame);
        }
    };
    send_all(&mut host);
    let by_second = host.plan(vec![1, 2, 1, 2], 2, SourceMac::Team);
    host.publish(by_second);
    send_all(&mut host);
    assert!(host.member(2).tx.is_empty(), "none is ahead of the first");
    assert_eq!(host.worker.snapshot(host.now).teams[&TEAM].held, 1);
    host.member(1).full = false;
    for _ in 0..4 {
        host.now = host.now + Time::from_millis(1);
        host.settle();
    }
    assert_eq!((host.member(1).tx.len(), host.member(2).tx.len()), (8, 8));
}

#[test]
fn what_waits_at_a_replaced_member_goes_by_the_one_that_has_its_sa() {
    let mut host = Host::new(1, 3)
        .with_cpu()
        .protect(1, 2, Mode::Tunnel, false);
    let of = |member: u32| lab::protecting(1, "10.0.0.1/32", "10.0.0.2/32", Some(member));
    host.worker.policies(TEAM, vec![of(2)]);
    let first = host.plan(vec![2], 1, SourceMac::Team);
    host.publish(first);
    host.member(2).full = true;
    for _ in 0..8 {
        host.send(VnetHdr::default(), udp(1, 2, b"before"));
    }
    // The third comes in, takes the SA over, and the second leaves.
    let both = host.plan(vec![2, 3], 1, SourceMac::Team);
    host.publish(both);
    host.worker.policies(TEAM, vec![of(3)]);
    let mut after = host.plan(vec![3], 1, SourceMac::Team);
    after.members.retain(|role| role.id != 2);
    host.publish(after);
    host.worker.member_remove(host.now, 2, &mut host.wires);
    for _ in 0..4 {
        host.now = host.now + Time::from_millis(1);
        host.send(VnetHdr::default(), udp(1, 2, b"after"));
    }
    assert_eq!((host.member(1).tx.len(), host.member(2).tx.len()), (0, 0));
    let numbers: Vec<u8> = host
        .member(3)
        .tx
        .iter()
        // Ethernet, IPv4, SPI; the last byte of the number.
        .map(|(_, frame)| frame[14 + 20 + 4 + 3])
        .collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<u8>>());
}

#[test]
fn a_plan_that_moves_nothing_holds_nothing_and_neither_does_a_failover() {
    let mut host = Host::new(1, 2).with_cpu();
    let first = host.plan(vec![1, 2], 1, SourceMac::Team);
    host.publish(first);
    let same = host.plan(vec![1, 2], 1, SourceMac::Team);
    host.publish(same);
    host.wires.links.push(esprit_port::LinkEvent {
        ifindex: 2,
        up: false,
        deleted: false,
    });
    host.settle();
    let after = host.plan(vec![1, 1], 1, SourceMac::Team);
    host.publish(after);
    let snapshot = host.worker.snapshot(host.now);
    assert_eq!(snapshot.teams[&TEAM].held, 0);
}

#[test]
fn bytes_are_counted_by_share() {
    let mut host = Host::new(1, 2).with_cpu();
    let table = host.plan(vec![1, 2, 1, 2], 1, SourceMac::Team);
    host.publish(table);
    let mut bytes = 0;
    for port in 0..100 {
        let frame = plain(port, 0);
        bytes += frame.len() as u64;
        host.send(VnetHdr::default(), frame);
    }
    let snapshot = host.worker.snapshot(host.now);
    let shares = &snapshot.teams[&TEAM].shares;
    assert_eq!(shares.len(), 4);
    assert_eq!(shares.iter().sum::<u64>(), bytes);
    assert!(shares.iter().all(|&share| share > 0));
    let sent = snapshot.members[&1].tx.bytes;
    assert_eq!(sent, shares[0] + shares[2]);
}
