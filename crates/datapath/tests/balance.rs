//! Receive balancing: what peers are told of the team's address, and what when a member is lost.

mod lab;

use std::collections::{BTreeMap, BTreeSet};

use esprit_datapath::plan::{Announcement, Receive, SourceMac};
use esprit_packet::{Time, VnetHdr};
use esprit_port::LinkEvent;
use lab::{Host, member_mac, team_mac};

/// An ARP packet of the host's, or of a peer's.
fn arp(kind: u8, from: ([u8; 6], [u8; 4]), to: ([u8; 6], [u8; 4]), dst: [u8; 6]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&dst);
    frame.extend_from_slice(&from.0);
    frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, kind]);
    for (mac, address) in [from, to] {
        frame.extend_from_slice(&mac);
        frame.extend_from_slice(&address);
    }
    frame.resize(60, 0);
    frame
}

fn peer(n: u8) -> ([u8; 6], [u8; 4]) {
    ([2, 9, 9, 9, 9, n], [10, 0, 0, n])
}

fn us() -> ([u8; 6], [u8; 4]) {
    (team_mac(1).0, [10, 0, 0, 1])
}

fn reply(n: u8) -> Vec<u8> {
    arp(2, us(), peer(n), peer(n).0)
}

fn host() -> Host {
    let mut host = Host::new(1, 3).with_cpu();
    let mut plan = host.plan(vec![1, 2, 3], 1, SourceMac::Member);
    plan.receive = Receive::Balance;
    plan.announce = (1..=3)
        .map(|member| Announcement {
            member,
            frames: vec![arp(1, us(), us(), [0xff; 6])],
        })
        .collect();
    host.publish(plan);
    taken(&mut host);
    host
}

/// What left: by member, who is told which address.
fn taken(host: &mut Host) -> Vec<(u32, [u8; 6], [u8; 6])> {
    host.settle();
    let mut all = Vec::new();
    for member in 1..=3 {
        for (_, frame) in std::mem::take(&mut host.member(member).tx) {
            let mac = |at: usize| frame[at..at + 6].try_into().unwrap();
            assert_eq!(frame[6..12], frame[22..28], "it says where it comes from");
            all.push((member, mac(0), mac(22)));
        }
    }
    all
}

#[test]
fn peers_are_told_members_by_their_address_and_the_same_each_time() {
    let mut host = host();
    let mut told = BTreeMap::new();
    for _ in 0..3 {
        for n in 2..200 {
            host.send(VnetHdr::default(), reply(n));
            let sent = taken(&mut host);
            assert_eq!(sent.len(), 1);
            let (member, to, says) = sent[0];
            assert_eq!((to, says), (peer(n).0, member_mac(1, member).0));
            assert_eq!(*told.entry(n).or_insert(member), member);
        }
    }
    let members: BTreeSet<u32> = told.values().copied().collect();
    assert_eq!(members, BTreeSet::from([1, 2, 3]));
}

#[test]
fn clients_of_a_lost_member_are_told_anew_at_once_and_others_are_not() {
    let mut host = host();
    let mut told = BTreeMap::new();
    for n in 2..100 {
        host.send(VnetHdr::default(), reply(n));
        told.insert(peer(n).0, taken(&mut host)[0].0);
    }
    host.wires.links.push(LinkEvent {
        ifindex: 3,
        up: false,
        deleted: false,
    });
    host.settle();
    let anew = taken(&mut host);
    let moved: BTreeSet<[u8; 6]> = anew.iter().map(|&(_, to, _)| to).collect();
    let lost: BTreeSet<[u8; 6]> = told
        .iter()
        .filter(|(_, member)| **member == 3)
        .map(|(&to, _)| to)
        .collect();
    assert_eq!(moved, lost);
    assert_eq!(moved.len(), anew.len(), "each once");
    for (member, _, says) in anew {
        assert!(member != 3 && says == member_mac(1, member).0);
    }
}

#[test]
fn an_announcement_is_followed_by_what_clients_are_to_know() {
    let mut host = host();
    for n in 2..20 {
        host.send(VnetHdr::default(), reply(n));
    }
    let told: BTreeSet<_> = taken(&mut host).into_iter().collect();
    // The receiver is lost: its heir says to all where the team's address is now.
    host.wires.links.push(LinkEvent {
        ifindex: 1,
        up: false,
        deleted: false,
    });
    host.settle();
    let announced = taken(&mut host);
    let all = ([0xff; 6], team_mac(1).0);
    assert!(
        announced
            .iter()
            .any(|&(member, to, says)| member == 2 && (to, says) == all)
    );
    // A second later, when they take it, all clients are told theirs.
    let due = host.worker.step(host.now, &mut host.wires).next.unwrap();
    assert!(due.since(host.now) <= Time::from_millis(1_100));
    host.now = due;
    let anew: BTreeSet<_> = taken(&mut host).into_iter().collect();
    assert_eq!(anew.len(), told.len());
    for told in told.iter().filter(|told| told.0 != 1) {
        assert!(anew.contains(told), "it has not moved");
    }
    host.now = host.now + Time::from_millis(5_000);
    assert_eq!(taken(&mut host), [], "once");
}

#[test]
fn a_question_tells_too_and_its_answer_shows_where_the_peer_is() {
    let mut host = host();
    let nobody = ([0; 6], peer(9).1);
    host.send(VnetHdr::default(), arp(1, us(), nobody, [0xff; 6]));
    let (member, _, says) = taken(&mut host)[0];
    assert_eq!(says, member_mac(1, member).0);
    let ours = (member_mac(1, member).0, us().1);
    host.hear(
        member,
        VnetHdr::default(),
        arp(2, peer(9), ours, member_mac(1, member).0),
    );
    assert_eq!(host.tap().tx.len(), 1, "the host asked for it");
    host.wires.links.push(LinkEvent {
        ifindex: member,
        up: false,
        deleted: false,
    });
    host.settle();
    let anew = taken(&mut host);
    assert!(anew.iter().any(|&(_, to, _)| to == peer(9).0), "{anew:?}");
}

#[test]
fn single_receive_tells_the_team_s_address() {
    let mut host = Host::new(1, 3).active();
    host.send(VnetHdr::default(), reply(5));
    let expected = (1, peer(5).0, team_mac(1).0);
    assert_eq!(taken(&mut host), [expected]);
}
