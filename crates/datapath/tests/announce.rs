//! Who says to all where the team's address is, and when: the new receiver, on failover and on
//! failback alike.

mod lab;

use esprit_datapath::Plan;
use esprit_datapath::plan::{Announcement, SourceMac};
use esprit_port::LinkEvent;
use lab::Host;

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
