use std::collections::BTreeSet;

use super::*;

const EVERY: u64 = 10_000_000;

fn key() -> ProbeKey {
    ProbeKey::new(&[7; ProbeKey::LEN])
}

fn spec() -> plan::Probe {
    plan::Probe {
        every_ns: EVERY,
        miss: 3,
        of: 4,
        hold_ns: 10 * EVERY,
        asks: Vec::new(),
    }
}

/// A team on one switch whose ports can fail in either direction.
struct Lab {
    prober: Prober,
    now: Time,
    members: u32,
    up: BTreeSet<u32>,
    /// Members whose frames do not reach the switch, and that it does not reach.
    mute: BTreeSet<u32>,
    deaf: BTreeSet<u32>,
    /// Members that hear strangers, and that have not read their ports.
    strange: BTreeSet<u32>,
    behind: BTreeSet<u32>,
    seen: Vec<Vec<u8>>,
}

impl Lab {
    fn new(members: u32) -> Self {
        let now = Time::from_millis(5);
        let mut lab = Self {
            prober: Prober::new(1, Mac([2, 0, 0, 0, 0, 0]), spec(), now),
            now,
            members,
            up: (1..=members).collect(),
            mute: BTreeSet::new(),
            deaf: BTreeSet::new(),
            strange: BTreeSet::new(),
            behind: BTreeSet::new(),
            seen: Vec::new(),
        };
        lab.round();
        lab
    }

    fn mac(member: u32) -> Mac {
        Mac([2, 0, 0, 0, 1, member as u8])
    }

    /// Ends a round at its time, and carries the probes of the next.
    fn round(&mut self) -> Vec<Finding> {
        self.now = self.prober.due();
        self.round_at(self.now)
    }

    fn round_at(&mut self, now: Time) -> Vec<Finding> {
        let roster: Vec<Standing> = (1..=self.members)
            .map(|id| Standing {
                id,
                mac: Self::mac(id),
                up: self.up.contains(&id),
                drained: !self.behind.contains(&id),
                strange: self.strange.contains(&id),
            })
            .collect();
        let found = self.prober.turn(now, &roster);
        let mut out = Vec::new();
        self.prober.probes(now, &key(), &mut out);
        for probe in out {
            let dst = Mac(*probe.frame.first_chunk().unwrap());
            let to = (1..=self.members).find(|&id| Self::mac(id) == dst).unwrap();
            self.seen.push(probe.frame.to_vec());
            if !self.mute.contains(&probe.member) && !self.deaf.contains(&to) {
                self.prober.hear(to, &probe.frame, &key()).unwrap();
            }
        }
        found
    }

    fn cut(&mut self, member: u32) {
        self.mute.insert(member);
        self.deaf.insert(member);
    }

    fn heal(&mut self, member: u32) {
        self.mute.remove(&member);
        self.deaf.remove(&member);
    }

    /// What rounds find, with the round in which they do.
    fn rounds(&mut self, count: usize) -> Vec<(usize, Finding)> {
        (1..=count)
            .flat_map(|n| self.round().into_iter().map(move |found| (n, found)))
            .collect()
    }
}

#[test]
fn a_sound_team_is_left_alone() {
    for members in [1, 2, 3, 9, 64] {
        let mut lab = Lab::new(members);
        assert_eq!(lab.rounds(200), [], "{members} members");
        let tally = lab.prober.tally(1);
        assert_eq!(tally.missed, if members == 1 { tally.missed } else { 0 });
    }
}

#[test]
fn of_three_the_one_without_a_path_is_found_in_three_rounds() {
    for what in 0..3 {
        let mut lab = Lab::new(3);
        lab.rounds(10);
        match what {
            0 => lab.cut(2),
            1 => drop(lab.mute.insert(2)),
            _ => drop(lab.deaf.insert(2)),
        }
        // The round under way was heard already: three more, each judged at its end.
        assert_eq!(lab.rounds(20), [(4, Finding::Deaf(2))]);
        // 40 ms and the rest of the round in which it happened: within 50.
    }
}

#[test]
fn in_a_large_team_each_probes_three_and_a_quarter_of_it_can_fail() {
    let mut lab = Lab::new(40);
    lab.rounds(10);
    lab.seen.clear();
    lab.rounds(1);
    assert_eq!(lab.seen.len(), 40 * PARTNERS);
    for member in 1..=10 {
        lab.cut(member);
    }
    let found: BTreeSet<u32> = lab
        .rounds(12)
        .into_iter()
        .map(|(_, found)| match found {
            Finding::Deaf(member) => member,
            Finding::Hears(_) | Finding::Tie => panic!("{found:?}"),
        })
        .collect();
    assert_eq!(found, (1..=10).collect());
}

#[test]
fn it_counts_as_hearing_after_the_hold_time_and_not_before() {
    let mut lab = Lab::new(3);
    lab.rounds(10);
    lab.cut(2);
    lab.rounds(6);
    lab.heal(2);
    assert_eq!(lab.rounds(5), []);
    lab.cut(2);
    lab.rounds(1);
    lab.heal(2);
    // One round of silence, and the hold time begins anew.
    let found = lab.rounds(30);
    assert_eq!(found.len(), 1);
    assert!(
        matches!(found[0], (11..=13, Finding::Hears(2))),
        "{found:?}"
    );
}

#[test]
fn two_that_are_equally_silent_are_told_once_and_left_alone() {
    let mut lab = Lab::new(2);
    lab.rounds(10);
    lab.cut(2);
    assert_eq!(lab.rounds(50), [(4, Finding::Tie)]);
    lab.heal(2);
    assert_eq!(lab.rounds(10), []);
    lab.cut(1);
    assert_eq!(lab.rounds(50), [(4, Finding::Tie)]);
}

#[test]
fn of_two_the_one_that_hears_strangers_is_alive() {
    let mut lab = Lab::new(2);
    lab.rounds(10);
    lab.cut(2);
    lab.strange.insert(1);
    assert_eq!(lab.rounds(50), [(4, Finding::Deaf(2))]);
    lab.heal(2);
    let found = lab.rounds(30);
    assert!(matches!(found[..], [(_, Finding::Hears(2))]), "{found:?}");
}

#[test]
fn of_two_a_mute_one_is_found_though_it_hears() {
    let mut lab = Lab::new(2);
    lab.rounds(10);
    lab.mute.insert(2);
    lab.strange.insert(1);
    lab.strange.insert(2);
    assert_eq!(lab.rounds(50), [(4, Finding::Deaf(2))]);
}

#[test]
fn a_switch_that_lets_no_probe_pass_condemns_nobody() {
    let mut lab = Lab::new(2);
    lab.cut(1);
    lab.cut(2);
    lab.prober = Prober::new(1, Mac([2, 0, 0, 0, 0, 0]), spec(), lab.now);
    lab.strange.insert(1);
    let found = lab.rounds(50);
    assert!(found.iter().all(|(_, f)| *f == Finding::Tie), "{found:?}");
}

#[test]
fn an_answered_question_is_a_working_path() {
    let mut lab = Lab::new(2);
    let address = "10.0.0.9".parse().unwrap();
    let ask = |member| plan::Ask {
        member,
        address,
        frame: vec![0; 60],
    };
    let asks = vec![ask(1), ask(2)];
    lab.prober.set_spec(lab.now, plan::Probe { asks, ..spec() });
    lab.rounds(10);
    lab.cut(2);
    let mut found = Vec::new();
    for _ in 0..20 {
        lab.prober.hear_answer(1, address);
        // Of somebody who was not asked.
        lab.prober.hear_answer(2, "10.0.0.8".parse().unwrap());
        found.extend(lab.round());
    }
    assert_eq!(found, [Finding::Deaf(2)]);
}

#[test]
fn a_late_worker_and_an_unread_port_prove_nothing() {
    let mut lab = Lab::new(3);
    lab.rounds(10);
    lab.cut(2);
    for _ in 0..20 {
        let late = lab.prober.due() + Time(EVERY + 1);
        assert_eq!(lab.round_at(late), []);
    }
    let mut lab = Lab::new(3);
    lab.rounds(10);
    lab.cut(2);
    lab.behind.extend([1, 2, 3]);
    assert_eq!(lab.rounds(20), []);
    lab.behind.clear();
    assert_eq!(lab.rounds(20), [(3, Finding::Deaf(2))]);
}

#[test]
fn a_link_that_is_down_takes_no_part() {
    let mut lab = Lab::new(3);
    lab.rounds(10);
    lab.up.remove(&2);
    lab.cut(2);
    assert_eq!(lab.rounds(20), []);
    lab.up.insert(2);
    lab.heal(2);
    assert_eq!(lab.rounds(20), []);
}

#[test]
fn a_probe_counts_once_for_its_member_and_not_for_long() {
    let mut lab = Lab::new(2);
    lab.rounds(3);
    lab.cut(1);
    lab.cut(2);
    lab.seen.clear();
    lab.rounds(1);
    let (first, second) = (lab.seen[0].clone(), lab.seen[1].clone());
    // For another member than it was sent to.
    assert_eq!(lab.prober.hear(1, &first, &key()), Err(NotOurs));
    let mut forged = first.clone();
    forged[LEN - 1] ^= 1;
    assert_eq!(lab.prober.hear(2, &forged, &key()), Err(NotOurs));
    assert_eq!(lab.prober.hear(2, &first, &key()), Ok(()));
    assert_eq!(lab.prober.hear(2, &first, &key()), Err(NotOurs), "replayed");
    lab.rounds(MEMORY as usize);
    assert_eq!(lab.prober.hear(1, &second, &key()), Err(NotOurs), "old");
}

#[test]
fn whether_a_wire_takes_a_foreign_source_is_found_and_found_anew() {
    let mut lab = Lab::new(2);
    assert_eq!(lab.prober.tally(1).foreign, None);
    lab.prober.set_foreign(true);
    lab.rounds(5);
    assert_eq!(lab.prober.tally(1).foreign, Some(true));
    let sources: BTreeSet<Vec<u8>> = lab.seen.iter().map(|f| f[6..12].to_vec()).collect();
    assert_eq!(sources.len(), 4, "two own addresses and two of nobody");
    // Now the wire lets nothing but own addresses through.
    lab.now = lab.now + FOREIGN_EVERY;
    for _ in 0..1100 {
        let roster: Vec<Standing> = (1..=2)
            .map(|id| Standing {
                id,
                mac: Lab::mac(id),
                up: true,
                drained: true,
                strange: false,
            })
            .collect();
        let now = lab.prober.due();
        lab.prober.turn(now, &roster);
        let mut out = Vec::new();
        lab.prober.probes(now, &key(), &mut out);
        for probe in out {
            if probe.frame[6..12] == Lab::mac(probe.member).0 {
                lab.prober
                    .hear(3 - probe.member, &probe.frame, &key())
                    .unwrap();
            }
        }
    }
    assert_eq!(lab.prober.tally(1).foreign, Some(false));
    assert!(!lab.prober.is_deaf(1));
}

#[test]
fn every_member_is_probed_by_every_other_in_time() {
    for members in [9, 10, 17, 64] {
        let mut met = BTreeSet::new();
        for round in 0..members as u64 {
            for (from, to) in pairs(members, round) {
                assert_ne!(from, to);
                met.insert((from, to));
            }
        }
        assert!(met.len() >= members * (members - 1) / 2, "{members}");
    }
}
