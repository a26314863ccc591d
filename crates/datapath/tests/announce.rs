//! Who says to all where the team's address is, and when: the new receiver, on failover and on
//! failback alike.

mod lab;

use esprit_datapath::Plan;
use esprit_datapath::plan::{Announcement, SourceMac};
use esprit_packet::VnetHdr;
use esprit_port::LinkEvent;
use lab::{Host, udp};

/// A frame to all that names the member by which it is to leave.
fn frame(member: u32) -> Vec<u8> {
    let mut frame = vec![0xff; 60];
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, member as u8]);
    frame[12..14].copy_from_slice(&[8, 6]);
    frame
}

/// One of two members carries, and each has something to say once it receives.
fn plan(host: &mut Host, active: u32) -> Plan {
    let mut plan = host.plan(vec![active], active, SourceMac::Team);
    plan.announce = (1..=2)
        .map(|member| Announcement {
            member,
            frames: vec![frame(member)],
        })
        .collect();
    plan
}

/// The members that announced since the last look, each by its own frame.
fn announced(host: &mut Host) -> Vec<u32> {
    host.settle();
    let mut found = Vec::new();
    for member in 1..=2 {
        for (_, sent) in std::mem::take(&mut host.member(member).tx) {
            assert_eq!(sent, frame(member));
            found.push(member);
        }
    }
    found
}

fn link(host: &mut Host, up: bool) {
    host.wires.links.push(LinkEvent {
        ifindex: 1,
        up,
        deleted: false,
    });
    host.settle();
}

#[test]
fn the_new_receiver_announces_on_failover_and_on_failback() {
    let mut host = Host::new(1, 2).with_cpu();
    let first = plan(&mut host, 1);
    host.publish(first);
    assert_eq!(announced(&mut host), [1]);

    let same = plan(&mut host, 1);
    host.publish(same);
    assert!(announced(&mut host).is_empty(), "who receives is no news");

    link(&mut host, false);
    assert_eq!(announced(&mut host), [2], "at once, before any Plan");
    let mut confirmed = plan(&mut host, 2);
    confirmed.latch = 1;
    host.publish(confirmed);
    assert!(announced(&mut host).is_empty());

    link(&mut host, true);
    assert!(announced(&mut host).is_empty(), "that is for a Plan to say");
    let mut back = plan(&mut host, 1);
    back.latch = 2;
    host.publish(back);
    assert_eq!(announced(&mut host), [1], "failback");
}

#[test]
fn what_was_flooded_at_a_handover_goes_up_once_and_nothing_is_lost() {
    let up = |host: &mut Host| {
        host.settle();
        let all = std::mem::take(&mut host.tap().tx);
        let number = |(_, frame): &(VnetHdr, Vec<u8>)| frame[42];
        all.iter().map(number).collect::<Vec<u8>>()
    };
    let flood = |host: &mut Host, number: u8| {
        for member in 1..=2 {
            let frame = udp(2, 1, &[number; 8]);
            let port = host.member(member);
            port.rx.push_back((VnetHdr::default(), frame));
        }
    };
    let mut host = Host::new(1, 2).with_cpu();
    let first = plan(&mut host, 1);
    host.publish(first);
    flood(&mut host, 1);
    assert_eq!(up(&mut host), [1]);
    // The switch knows neither where it was nor where it is.
    let second = plan(&mut host, 2);
    host.publish(second);
    flood(&mut host, 2);
    assert_eq!(up(&mut host), [2]);
    flood(&mut host, 3);
    assert_eq!(up(&mut host), [3]);
    // A receiver whose link fell has no copy of anything.
    host.wires.links.push(LinkEvent {
        ifindex: 2,
        up: false,
        deleted: false,
    });
    let frame = udp(2, 1, &[4; 8]);
    host.member(1).rx.push_back((VnetHdr::default(), frame));
    assert_eq!(up(&mut host), [4]);
}
