//! What a host and an eavesdropper see of two teams on one wire.

mod lab;

use esprit_datapath::Event;
use esprit_datapath::plan::SourceMac;
use esprit_ipsec::sad::Mode;
use esprit_packet::VnetHdr;
use esprit_port::LinkEvent;
use lab::{Host, TEAM, contains, member_mac, team_mac, tso, udp};

const CANARY: &[u8] = b"not-for-the-wire";

fn hosts(mode: Mode, encap: bool) -> (Host, Host) {
    let host = |me, peer| {
        Host::new(me, 2)
            .with_cpu()
            .active()
            .protect(me, peer, mode, encap)
    };
    (host(1, 2), host(2, 1))
}

/// Carries what `from` sent on its member 1 to member 1 of `to`; gives what an eavesdropper saw.
fn wire(from: &mut Host, to: &mut Host) -> Vec<Vec<u8>> {
    let frames = std::mem::take(&mut from.member(1).tx);
    let mut seen = Vec::new();
    for (vnet, frame) in frames {
        seen.push(frame.clone());
        to.hear(1, vnet, frame);
    }
    seen
}

#[test]
fn what_one_host_sends_the_other_gets_and_the_wire_does_not_show() {
    for (mode, encap) in [
        (Mode::Tunnel, false),
        (Mode::Tunnel, true),
        (Mode::Transport, false),
        (Mode::Transport, true),
    ] {
        let (mut left, mut right) = hosts(mode, encap);
        let frame = udp(1, 2, &CANARY.repeat(10));
        left.send(VnetHdr::default(), frame.clone());
        let seen = wire(&mut left, &mut right);
        assert_eq!(seen.len(), 1, "{mode:?} {encap} {:?}", left.drops());
        assert!(!contains(&seen[0], CANARY));
        assert_eq!(seen[0][23], if encap { 17 } else { 50 });
        let got = std::mem::take(&mut right.tap().tx);
        assert_eq!(got.len(), 1, "{mode:?} {encap} {:?}", right.drops());
        assert_eq!(got[0].1[34..], frame[34..], "{mode:?} {encap}");
        // In transport mode the IP header travelled as the outer one, which has an
        // identification of its own; the tunnel brings it back as it was.
        let addresses = 26..34;
        assert_eq!(got[0].1[addresses.clone()], frame[addresses]);
        if mode == Mode::Tunnel {
            assert_eq!(got[0].1, frame);
        }
    }
}

#[test]
fn a_super_frame_arrives_as_one() {
    for (mode, encap) in [
        (Mode::Tunnel, false),
        (Mode::Tunnel, true),
        (Mode::Transport, true),
    ] {
        let (mut left, mut right) = hosts(mode, encap);
        let payload: Vec<u8> = CANARY.iter().copied().cycle().take(20_000).collect();
        let (vnet, frame) = tso(1, 2, &payload, 1400);
        left.send(vnet, frame);
        let seen = wire(&mut left, &mut right);
        assert_eq!(seen.len(), if encap { 1 } else { 15 }, "{:?}", left.drops());
        assert!(seen.iter().all(|frame| !contains(frame, CANARY)));
        let got = std::mem::take(&mut right.tap().tx);
        let bytes: Vec<u8> = got.iter().flat_map(|(_, f)| f[54..].to_vec()).collect();
        assert!(bytes == payload, "{:?}", right.drops());
        if encap {
            assert_eq!(got.len(), 1);
            assert_eq!(got[0].0.gso_size, 1400);
        }
    }
}

#[test]
fn a_tagged_packet_is_protected_too_and_keeps_its_tag() {
    let (mut left, mut right) = hosts(Mode::Tunnel, false);
    let mut frame = udp(1, 2, CANARY);
    frame.splice(12..12, [0x81, 0, 0, 100]);
    left.send(VnetHdr::default(), frame.clone());
    let seen = wire(&mut left, &mut right);
    assert_eq!(seen.len(), 1, "{:?}", left.drops());
    assert!(!contains(&seen[0], CANARY));
    assert_eq!(seen[0][12..16], [0x81, 0, 0, 100]);
    let got = std::mem::take(&mut right.tap().tx);
    assert_eq!(got[0].1, frame, "{:?}", right.drops());
}

#[test]
fn a_replayed_or_damaged_packet_is_dropped_and_counted() {
    let (mut left, mut right) = hosts(Mode::Tunnel, false);
    left.send(VnetHdr::default(), udp(1, 2, CANARY));
    let sent = left.member(1).tx.remove(0).1;
    let mut damaged = sent.clone();
    *damaged.last_mut().unwrap() ^= 1;
    right.hear(1, VnetHdr::default(), damaged);
    assert_eq!(right.drops().get("icv"), Some(&1));
    right.hear(1, VnetHdr::default(), sent.clone());
    right.hear(1, VnetHdr::default(), sent);
    assert_eq!(right.drops().get("replay-duplicate"), Some(&1));
    assert_eq!(right.tap().tx.len(), 1);
}

#[test]
fn what_is_wrong_with_one_packet_of_a_super_frame_does_not_touch_the_others() {
    let (mut left, mut right) = hosts(Mode::Tunnel, true);
    let payload: Vec<u8> = (0..14_000_u32).map(|at| (at / 1400) as u8).collect();
    let (vnet, frame) = tso(1, 2, &payload, 1400);
    left.send(vnet, frame);
    let (vnet, mut frame) = left.member(1).tx.remove(0);
    let (headers, each) = (42, usize::from(vnet.gso_size));
    let place = |n: usize| headers + n * each..headers + (n + 1) * each;
    // Once more instead of another, by an SA that there is not, damaged, and not even ESP.
    frame.copy_within(place(1), place(2).start);
    frame[place(4).start] ^= 1;
    frame[place(6).end - 1] ^= 1;
    frame.truncate(place(9).start + 8);
    let counts = |host: &Host| {
        let drops = host.drops();
        ["replay-duplicate", "no-sa", "icv", "esp-malformed"].map(|of| drops.get(of).copied())
    };

    right.hear(1, vnet, frame.clone());
    let got = std::mem::take(&mut right.tap().tx);
    let bytes: Vec<u8> = got.iter().flat_map(|(_, f)| f[54..].to_vec()).collect();
    let sent = payload.chunks(1400).enumerate();
    let whole = sent.filter(|(n, _)| ![2, 4, 6, 9].contains(n));
    assert!(
        bytes
            == whole
                .flat_map(|(_, chunk)| chunk.to_vec())
                .collect::<Vec<_>>()
    );
    assert_eq!(counts(&right), [Some(1); 4]);

    // All of it again: what was accepted is not opened a second time.
    right.hear(1, vnet, frame);
    assert!(right.tap().tx.is_empty());
    assert_eq!(counts(&right), [Some(8), Some(2), Some(2), Some(2)]);
}

#[test]
fn plain_packets_that_must_be_protected_do_not_pass_either_way() {
    let (mut left, mut right) = hosts(Mode::Tunnel, false);
    right.hear(1, VnetHdr::default(), udp(1, 2, CANARY));
    assert_eq!(right.drops().get("plaintext-refused"), Some(&1));
    assert!(right.tap().tx.is_empty());
    // No SA any more: dropped, not sent in plain.
    left.worker.sa_delete(1);
    left.send(VnetHdr::default(), udp(1, 2, CANARY));
    assert_eq!(left.drops().get("no-sa"), Some(&1));
    assert!(left.member(1).tx.is_empty());
}

#[test]
fn without_a_plan_or_an_engine_the_doors_are_closed() {
    let mut closed = Host::new(1, 1);
    closed.send(VnetHdr::default(), udp(1, 2, CANARY));
    assert_eq!(closed.drops().get("no-plan"), Some(&1));
    let mut unarmed = Host::new(1, 1).active().protect(1, 2, Mode::Tunnel, false);
    unarmed.send(VnetHdr::default(), udp(1, 2, CANARY));
    assert_eq!(unarmed.drops().get("no-engine"), Some(&1));
    assert!(unarmed.member(1).tx.is_empty());
}

#[test]
fn a_fallen_link_moves_traffic_at_once_and_stays_latched() {
    let (mut left, _) = hosts(Mode::Tunnel, false);
    let fall = |up| LinkEvent {
        ifindex: 1,
        up,
        deleted: false,
    };
    left.wires.links.push(fall(false));
    left.settle();
    left.send(VnetHdr::default(), udp(1, 2, CANARY));
    assert!(left.member(1).tx.is_empty());
    assert_eq!(left.member(2).tx.len(), 1);
    let takeover = left.told().into_iter().find_map(|told| {
        if let Event::Takeover {
            from, to, epoch, ..
        } = told.event
        {
            Some((from, to, epoch))
        } else {
            None
        }
    });
    let (from, to, epoch) = takeover.expect("a takeover was reported");
    assert_eq!((from, to), (1, Some(2)));
    // The link returns: the latch holds, also against a Plan that knew nothing of the fall.
    left.wires.links.push(fall(true));
    left.settle();
    let stale = left.plan(vec![1], 1, SourceMac::Team);
    left.publish(stale);
    left.send(VnetHdr::default(), udp(1, 2, CANARY));
    assert!(left.member(1).tx.is_empty());
    // A Plan that knew of it clears it.
    let mut fresh = left.plan(vec![1], 1, SourceMac::Team);
    fresh.latch = epoch;
    left.publish(fresh);
    left.send(VnetHdr::default(), udp(1, 2, CANARY));
    assert_eq!(left.member(1).tx.len(), 1);
}

#[test]
fn a_vanished_port_is_reported_and_its_member_replaced() {
    let (mut left, _) = hosts(Mode::Tunnel, false);
    left.member(1).gone = true;
    left.settle();
    left.send(VnetHdr::default(), udp(1, 2, CANARY));
    assert_eq!(left.member(2).tx.len(), 1);
    let told = left.told();
    assert!(
        told.iter()
            .any(|told| matches!(told.event, Event::PortGone { member: 1, .. }))
    );
}

#[test]
fn what_the_receiver_of_before_had_heard_is_not_lost() {
    let (mut left, mut right) = hosts(Mode::Tunnel, true);
    for number in 0..100_u8 {
        left.send(VnetHdr::default(), udp(1, 2, &[number; 40]));
    }
    let sealed = core::mem::take(&mut left.member(1).tx);
    assert!(!sealed.is_empty());
    let (early, late) = sealed.split_at(sealed.len() - 1);
    // They lie in the old receiver's socket when the other one becomes the receiver.
    for (vnet, frame) in early {
        right.member(1).rx.push_back((*vnet, frame.clone()));
    }
    let broadcast = [&[0xff; 6][..], &member_mac(9, 9).0, &[8, 6], &[0; 46]].concat();
    right
        .member(1)
        .rx
        .push_back((VnetHdr::default(), broadcast));
    let plan = right.plan(vec![2], 2, SourceMac::Team);
    right.publish(plan);
    right.settle();
    assert_eq!(right.tap().tx.len(), early.len(), "{:?}", right.drops());
    // What all members hear is still taken of one.
    assert_eq!(right.drops().get("duplicate"), Some(&1));
    // What comes there later, the switch has sent the wrong way.
    for (vnet, frame) in late {
        right.hear(1, *vnet, frame.clone());
    }
    assert_eq!(right.tap().tx.len(), early.len());
    assert_eq!(right.drops().get("duplicate"), Some(&2));
}

#[test]
fn one_member_accepts_what_is_for_all() {
    let (_, mut right) = hosts(Mode::Tunnel, false);
    let mut arp = Vec::from(member_mac(9, 9).0);
    arp.splice(0..0, [0xff; 6]);
    arp.extend_from_slice(&[8, 6]);
    arp.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    arp.resize(60, 0);
    right.hear(1, VnetHdr::default(), arp.clone());
    right.hear(2, VnetHdr::default(), arp.clone());
    assert_eq!(right.tap().tx.len(), 1);
    assert_eq!(right.drops().get("duplicate"), Some(&1));
    // Our own frame, come back through a switch.
    arp[6..12].copy_from_slice(&team_mac(2).0);
    right.hear(1, VnetHdr::default(), arp);
    assert_eq!(right.drops().get("looped"), Some(&1));
    // Flooded to us, but for somebody else.
    let mut foreign = udp(1, 7, CANARY);
    foreign[..6].copy_from_slice(&member_mac(7, 7).0);
    right.hear(1, VnetHdr::default(), foreign);
    assert_eq!(right.drops().get("not-for-us"), Some(&1));
    assert_eq!(right.tap().tx.len(), 1);
}

#[test]
fn how_far_an_inbound_sa_has_come_is_told_when_it_went_on() {
    let (mut left, mut right) = hosts(Mode::Tunnel, false);
    let none = right.worker.tops(TEAM, 1);
    assert!(none.is_empty(), "it has begun where it was told: {none:?}");
    for (packets, told) in [(3, None), (2, Some(5)), (1, None)] {
        for _ in 0..packets {
            left.send(VnetHdr::default(), udp(1, 2, CANARY));
            wire(&mut left, &mut right);
        }
        let tops = right.worker.tops(TEAM, 5);
        assert_eq!(tops.get(&2).copied(), told, "after {packets} more");
        assert_eq!(tops.len(), usize::from(told.is_some()), "no outbound one");
    }
    assert_eq!(right.worker.tops(TEAM, 0).get(&2), Some(&6), "all of them");
    assert!(right.worker.tops(TEAM + 1, 0).is_empty(), "another team's");
    assert_eq!(right.worker.sa(2).map(|sa| sa.seq), Some(6));
    assert_eq!(left.worker.sa(1).map(|sa| sa.seq), Some(7));
    assert!(left.worker.sa(3).is_none());
}
