//! A member that is up but deaf, one whose device refuses all, and a link that only flickers.

mod lab;

use std::collections::BTreeSet;

use esprit_datapath::plan::{Probe, SourceMac};
use esprit_datapath::probe::frame::ProbeKey;
use esprit_datapath::{Event, Stamped};
use esprit_ipsec::sad::Mode;
use esprit_packet::{Time, VnetHdr};
use esprit_port::LinkEvent;
use lab::{Host, TEAM, member_mac, udp};

const EVERY: Time = Time::from_millis(10);
const PROBE: u16 = 0x88b5;

/// A host whose members hang on one switch.
struct Switch {
    host: Host,
    members: u32,
    /// Ports that are up and pass nothing.
    dead: BTreeSet<u32>,
    /// What left that was no probe, in order.
    data: Vec<(u32, Vec<u8>)>,
}

impl Switch {
    fn new(members: u32) -> Self {
        let mut host = Host::new(1, members).with_cpu();
        host.worker
            .probe_key(TEAM, ProbeKey::new(&[3; ProbeKey::LEN]));
        let mut switch = Self {
            host: host.protect(1, 2, Mode::Tunnel, false),
            members,
            dead: BTreeSet::new(),
            data: Vec::new(),
        };
        switch.plan(1, 0);
        switch
    }

    fn plan(&mut self, active: u32, latch: u64) {
        let mut plan = self.host.plan(vec![active], active, SourceMac::Team);
        plan.latch = latch;
        plan.probe = Some(Probe {
            every_ns: EVERY.0,
            miss: 3,
            of: 4,
            hold_ns: 10 * EVERY.0,
            asks: Vec::new(),
        });
        self.host.publish(plan);
    }

    /// Lets `span` pass in slices of a millisecond; frames cross the switch meanwhile.
    fn wait(&mut self, span: Time) {
        let end = self.host.now + span;
        while self.host.now < end {
            self.host.now = self.host.now + Time::from_millis(1);
            self.host.settle();
            for member in 1..=self.members {
                for (vnet, frame) in std::mem::take(&mut self.host.member(member).tx) {
                    if frame[12..14] != PROBE.to_be_bytes() {
                        self.data.push((member, frame));
                        continue;
                    }
                    let to = (1..=self.members).find(|&to| frame[..6] == member_mac(1, to).0);
                    let to = to.expect("probes go to members");
                    if !self.dead.contains(&member) && !self.dead.contains(&to) {
                        self.host.member(to).rx.push_back((vnet, frame));
                    }
                }
            }
            self.host.settle();
        }
    }

    fn told(&self) -> Vec<(u64, String)> {
        self.host
            .told()
            .into_iter()
            .map(|Stamped { time, event }| (time, what(&event)))
            .collect()
    }
}

fn what(event: &Event) -> String {
    match event {
        Event::Probe { member, heard, .. } => format!("probe {member} {heard}"),
        Event::Takeover { from, to, .. } => format!("takeover {from} {to:?}"),
        Event::TxErrors { member, count, .. } => format!("tx-errors {member} {count}"),
        Event::Link { member, up, .. } => format!("link {member} {up}"),
        Event::ProbeTie { team } => format!("tie {team}"),
        other @ (Event::PortGone { .. }
        | Event::Engine { .. }
        | Event::SaGrant { .. }
        | Event::SaExhausted { .. }
        | Event::Panic { .. }
        | Event::Lost { .. }) => format!("{other:?}"),
    }
}

fn names(told: &[(u64, String)]) -> Vec<&str> {
    told.iter().map(|(_, name)| name.as_str()).collect()
}

#[test]
fn a_deaf_member_is_left_within_fifty_milliseconds_and_used_again_by_a_plan() {
    // Whenever within a round it happens.
    for offset in 0..10 {
        let mut switch = Switch::new(3);
        switch.wait(Time::from_millis(100 + offset));
        assert!(switch.told().is_empty());
        let cut = switch.host.now;
        switch.dead.insert(1);
        switch.wait(Time::from_millis(60));
        let told = switch.told();
        assert_eq!(names(&told), ["probe 1 false", "takeover 1 Some(2)"]);
        let gap = told[0].0 - cut.0;
        assert!(gap <= 50_000_000, "found after {gap} ns");

        switch.host.send(VnetHdr::default(), udp(1, 2, b"x"));
        assert_eq!(switch.host.member(2).tx.len(), 1);
        let snapshot = switch.host.worker.snapshot(switch.host.now);
        let lost = &snapshot.members[&1];
        assert!(lost.up && !lost.heard && lost.latched.is_some());
        assert!(lost.probes_missed >= 3 && lost.probes_sent > 0);

        // It is heard again; only a Plan that knows of it brings it back.
        switch.dead.clear();
        switch.wait(Time::from_millis(200));
        assert_eq!(names(&switch.told()), ["probe 1 true"]);
        switch.plan(1, 1);
        switch.host.send(VnetHdr::default(), udp(1, 2, b"x"));
        assert!(switch.host.member(1).tx.is_empty(), "an older Plan");
        let epoch = switch.host.worker.snapshot(switch.host.now).link_epoch;
        switch.plan(1, epoch);
        switch.wait(Time::from_millis(1));
        switch.data.clear();
        switch.host.send(VnetHdr::default(), udp(1, 2, b"x"));
        switch.wait(Time::from_millis(1));
        assert_eq!(switch.data.len(), 1);
        assert_eq!(switch.data[0].0, 1);
    }
}

#[test]
fn a_waiting_member_is_probed_too() {
    let mut switch = Switch::new(3);
    switch.wait(Time::from_millis(100));
    switch.dead.insert(3);
    switch.wait(Time::from_millis(100));
    // Nobody took over, since it carried nothing.
    assert_eq!(names(&switch.told()), ["probe 3 false"]);
    switch.host.wires.links.push(LinkEvent {
        ifindex: 1,
        up: false,
        deleted: false,
    });
    switch.host.settle();
    assert_eq!(
        names(&switch.told()),
        ["link 1 false", "takeover 1 Some(2)"]
    );
}

#[test]
fn two_members_on_a_silent_wire_are_told_once() {
    let mut switch = Switch::new(2);
    switch.wait(Time::from_millis(100));
    switch.dead.insert(1);
    switch.wait(Time::from_millis(300));
    assert_eq!(names(&switch.told()), ["tie 1"]);
    // A stranger's frame shows who is alive.
    let mut frame = udp(7, 9, b"x");
    frame[..6].copy_from_slice(&member_mac(9, 9).0);
    switch
        .host
        .member(2)
        .rx
        .push_back((VnetHdr::default(), frame));
    switch.wait(Time::from_millis(30));
    assert_eq!(
        names(&switch.told()),
        ["probe 1 false", "takeover 1 Some(2)"]
    );
}

#[test]
fn probes_are_no_traffic_and_never_go_up() {
    let mut switch = Switch::new(3);
    switch.wait(Time::from_millis(200));
    let snapshot = switch.host.worker.snapshot(switch.host.now);
    for member in snapshot.members.values() {
        assert_eq!((member.tx.packets, member.rx.packets), (0, 0));
        assert!(member.probes_sent >= 38 && member.probes_heard >= 38);
        assert_eq!(member.probes_missed, 0);
        assert!(member.drops.is_empty());
    }
    assert!(switch.host.tap().tx.is_empty());
    assert!(switch.data.is_empty());
}

#[test]
fn a_device_that_refuses_everything_is_given_up_and_a_full_one_is_not() {
    let mut switch = Switch::new(2);
    switch.host.member(1).full = true;
    for _ in 0..100 {
        switch.host.send(VnetHdr::default(), udp(1, 2, b"x"));
    }
    assert!(switch.told().is_empty());
    switch.host.member(1).full = false;
    switch.host.member(1).fails = Some(5);
    switch.host.send(VnetHdr::default(), udp(1, 2, b"x"));
    for _ in 0..20 {
        switch.host.now = switch.host.now + Time::from_millis(1);
        switch.host.settle();
    }
    assert_eq!(
        names(&switch.told()),
        ["tx-errors 1 8", "takeover 1 Some(2)"]
    );
    // What it did not lose leaves by the heir.
    switch.wait(Time::from_millis(1));
    let refused = switch.host.drops()["port-refused"];
    assert_eq!(switch.data.len() as u64 + refused, 101);
    assert!(refused <= 8);
    let snapshot = switch.host.worker.snapshot(switch.host.now);
    assert!(snapshot.members[&1].tx_errors >= 8);
}

#[test]
fn a_link_that_only_flickers_is_left_alone_where_the_plan_says_so() {
    let mut host = Host::new(1, 2).with_cpu();
    let mut plan = host.plan(vec![1], 1, SourceMac::Team);
    plan.down_delay_ns = 50_000_000;
    host.publish(plan);
    let link = |up, deleted| LinkEvent {
        ifindex: 1,
        up,
        deleted,
    };
    let told = |host: &Host| -> Vec<String> {
        let told = host.told();
        told.iter().map(|told| what(&told.event)).collect()
    };
    host.wires.links.push(link(false, false));
    host.settle();
    host.now = host.now + Time::from_millis(40);
    host.settle();
    host.wires.links.push(link(true, false));
    host.settle();
    host.now = host.now + Time::from_millis(40);
    host.settle();
    assert_eq!(told(&host), Vec::<String>::new());
    // Down for good: the worker asks to be called then.
    host.wires.links.push(link(false, false));
    host.settle();
    let due = host.worker.step(host.now, &mut host.wires).next;
    assert!(due.is_some_and(|due| due.since(host.now) <= Time::from_millis(50)));
    host.now = due.expect("a time");
    host.settle();
    assert_eq!(told(&host), ["link 1 false", "takeover 1 Some(2)"]);
    // A deleted interface does not come back.
    let mut host = Host::new(1, 2).with_cpu();
    let mut plan = host.plan(vec![1], 1, SourceMac::Team);
    plan.down_delay_ns = 50_000_000;
    host.publish(plan);
    host.wires.links.push(link(false, true));
    host.settle();
    assert_eq!(told(&host), ["link 1 false", "takeover 1 Some(2)"]);
}
