//! Engines that lie, sealing or opening, and how they are found.

mod support;

use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::engines::cpu::CpuInline;
use esprit_crypto::{Done, EngineId, Fault, Found, Grant, Grants, Health, PoolEvent};
use esprit_packet::Time;
use proptest::prelude::*;
use support::{
    Lab, TEAM, Task, admitted, assert_done, device, key, opening, sealing, secondary, slow,
    ticket_of,
};

fn check(lab: &mut Lab, engines: Vec<Grant>, verify_every: u32) {
    lab.pool.set_grants(
        TEAM,
        Grants {
            engines,
            spill_ns: [20_000_000; 3],
            verify_every,
        },
    );
}

fn wrongs(lab: &Lab) -> Vec<(u32, Found, Option<u32>)> {
    lab.events
        .iter()
        .filter_map(|event| match event {
            PoolEvent::Wrong {
                engine, found, by, ..
            } => Some((engine.0, *found, by.map(|by| by.0))),
            PoolEvent::Hung { .. }
            | PoolEvent::Failed { .. }
            | PoolEvent::Quarantined { .. }
            | PoolEvent::Redone { .. }
            | PoolEvent::Late { .. }
            | PoolEvent::Recovered { .. } => None,
        })
        .collect()
}

#[test]
fn every_sealed_job_is_opened_by_another_engine_before_it_leaves() {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    check(&mut lab, vec![secondary(1), secondary(2)], 1);
    let seal = sealing(&key(1), &lab.buffers, 0, &[1400, 0, 64]);
    let open = opening(&key(1), &lab.buffers, 9, &[1400, 64], 0b10);
    for _ in 0..20 {
        for task in [&seal, &open] {
            let (ticket, _) = lab.submit(task).unwrap();
            lab.run_for_ms(1);
            assert_done(lab.end_of(ticket), task);
        }
    }
    let checked: u64 = [1, 2]
        .map(|e| lab.snapshot(e).counters.checked)
        .iter()
        .sum();
    let jobs: u64 = [1, 2].map(|e| lab.snapshot(e).counters.jobs).iter().sum();
    assert_eq!((checked, jobs), (20, 60));
    assert_eq!(lab.pool.in_flight(), 0);
    assert!(wrongs(&lab).is_empty());
    lab.done.clear();
    drop((seal, open));
    assert_eq!(lab.buffers.in_use(), (0, 0), "a buffer stayed somewhere");
}

#[test]
fn an_engine_is_not_idle_for_want_of_checking_its_own_work() {
    // The fast one seals, and only the slow one may open what it sealed: while that works, the fast
    // one has nothing to do, and no job waits that it could have.
    let crawling = AsicSpec {
        rate_bps: 10_000_000,
        queue_jobs: 1,
        ..slow()
    };
    let mut lab = Lab::with_devices(&[slow(), crawling]);
    let opens = Grant {
        seal: false,
        ..secondary(2)
    };
    check(&mut lab, vec![secondary(1), opens], 1);
    let task = sealing(&key(1), &lab.buffers, 0, &[1400]);
    for _ in 0..3 {
        lab.submit(&task).unwrap();
    }
    // 1400 bytes at 10 Mbit/s: 1.1 ms, by when the fast one has long sealed all three.
    lab.run_for_ms(1);
    let (sealer, checker) = (lab.snapshot(1), lab.snapshot(2));
    assert_eq!((sealer.outstanding, checker.outstanding), (0, 1));
    assert_eq!(lab.pool.in_flight(), 3, "two checks wait");
    assert_eq!(lab.pool.idles(lab.now), None);
    lab.run_for_ms(5);
    assert_eq!(lab.pool.in_flight(), 0);
    assert!(
        lab.done
            .iter()
            .all(|done| matches!(done, Done::Complete { .. }))
    );
}

#[test]
fn of_two_that_do_not_agree_the_liar_is_left() {
    for (liar, found) in [(1, "sealing"), (2, "opening")] {
        let mut lab = Lab::with_devices(&[slow(), slow()]);
        // One seals, the other opens.
        let grants = vec![
            Grant {
                open: false,
                ..secondary(1)
            },
            Grant {
                seal: false,
                ..secondary(2)
            },
        ];
        check(&mut lab, grants, 1);
        let task = sealing(&key(1), &lab.buffers, 0, &[1400, 700]);
        lab.submit(&task).unwrap();
        lab.run_for_ms(1);
        assert_done(&lab.done[0], &task);
        lab.pool.inject(EngineId(liar), Fault::Wrong { every: 2 });
        let (ticket, _) = lab.submit(&task).unwrap();
        lab.run_for_ms(1);
        assert_eq!(
            lab.snapshot(liar).health,
            Health::Quarantined,
            "it lied in {found}"
        );
        assert_eq!(lab.snapshot(3 - liar).health, Health::Ok);
        let other = Some(3 - liar);
        assert_eq!(wrongs(&lab), [(liar, Found::Check, other)], "{found}");
        if liar == 2 {
            // What was sealed was right.
            assert_done(lab.end_of(ticket), &task);
        } else {
            // It is done again where somebody may, from the same bytes.
            lab.pool.admit(EngineId(3), device(&slow()));
            check(&mut lab, vec![secondary(3)], 1);
            lab.run_for_ms(5);
            assert_done(lab.end_of(ticket), &task);
        }
    }
}

#[test]
fn evidence_names_the_operation_and_the_byte() {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    check(&mut lab, vec![secondary(1), secondary(2)], 1);
    let task = sealing(&key(1), &lab.buffers, 0, &[1400; 8]);
    lab.submit(&task).unwrap();
    lab.run_for_ms(1);
    lab.pool.inject(EngineId(1), Fault::Wrong { every: 5 });
    lab.submit(&task).unwrap();
    lab.run_for_ms(1);
    let evidence = lab.events.iter().find_map(|event| {
        if let PoolEvent::Wrong {
            operation, byte, ..
        } = event
        {
            Some((*operation, *byte))
        } else {
            None
        }
    });
    let (operation, byte) = evidence.expect("it was not found");
    assert_eq!(operation, 4);
    assert!(byte.is_some_and(|byte| byte < 1476));
    let json = serde_json::to_value(lab.events[0]).unwrap();
    assert_eq!(
        (&json["event"], &json["found"]),
        (&"wrong".into(), &"check".into())
    );
}

#[test]
fn a_lone_engine_is_checked_by_the_worker() {
    let mut lab = Lab::with_devices(&[slow()]);
    check(&mut lab, vec![secondary(1)], 1);
    let task = sealing(&key(1), &lab.buffers, 0, &[1400; 4]);
    let (first, _) = lab.submit(&task).unwrap();
    lab.run_for_ms(1);
    assert_done(lab.end_of(first), &task);
    lab.pool.inject(EngineId(1), Fault::Wrong { every: 4 });
    let (second, _) = lab.submit(&task).unwrap();
    lab.run_for_ms(1);
    assert_eq!(wrongs(&lab), [(1, Found::Check, None)]);
    assert_eq!(lab.snapshot(1).counters.checked, 2);
    assert_eq!(lab.done.len(), 1, "a wrong byte left");
    lab.pool
        .admit(EngineId(7), admitted(Box::new(CpuInline::new())));
    check(&mut lab, vec![secondary(7)], 0);
    lab.run_for_ms(1);
    assert_done(lab.end_of(second), &task);
}

#[test]
fn a_checker_that_hangs_holds_nothing_up_for_good() {
    let mut lab = Lab::with_devices(&[slow(), slow(), slow()]);
    let opens = |engine| Grant {
        seal: false,
        ..secondary(engine)
    };
    let seals = Grant {
        open: false,
        ..secondary(1)
    };
    let last = Grant {
        secondary: Some(1),
        ..opens(3)
    };
    check(&mut lab, vec![seals, opens(2), last], 1);
    lab.pool.inject(EngineId(2), Fault::Hang);
    let task = sealing(&key(1), &lab.buffers, 0, &[1400; 4]);
    let (ticket, _) = lab.submit(&task).unwrap();
    lab.run_for_ms(10);
    assert_done(lab.end_of(ticket), &task);
    assert_eq!(lab.snapshot(2).health, Health::Hung);
}

/// Jobs until an engine that lies at every n-th operation is left.
fn caught_after(every: u32, ops: usize, verify_every: u32) -> u64 {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    let last = Grant {
        secondary: Some(1),
        ..secondary(2)
    };
    check(&mut lab, vec![secondary(1), last], verify_every);
    let task = sealing(&key(1), &lab.buffers, 0, &vec![200; ops]);
    // It worked well for a while.
    for _ in 0..100 {
        lab.submit(&task).unwrap();
        lab.run_until(lab.now + Time::from_micros(40));
        lab.done.clear();
    }
    let before = lab.snapshot(1).counters.jobs;
    lab.pool.inject(EngineId(1), Fault::Wrong { every });
    for _ in 0..3000 {
        lab.submit(&task).unwrap();
        lab.run_until(lab.now + Time::from_micros(40));
        lab.done.clear();
        if lab.snapshot(1).health == Health::Quarantined {
            break;
        }
    }
    assert_eq!(lab.snapshot(1).health, Health::Quarantined, "every {every}");
    lab.snapshot(1).counters.jobs - before
}

#[test]
fn a_liar_is_caught_within_three_thousand_jobs() {
    let mut all = Vec::new();
    for every in [1, 2, 3, 5, 7, 8, 16, 64] {
        for ops in [1, 8, 46] {
            // One operation in 64 of one-packet jobs is beyond what one job in 64 finds.
            if (every, ops) != (64, 1) && (every, ops) != (16, 1) {
                all.push((every, ops, caught_after(every, ops, 1000)));
            }
        }
    }
    println!("(every n-th operation wrong, operations a job, jobs until it was left): {all:?}");
    assert!(all.iter().all(|&(_, _, jobs)| jobs <= 3000));
}

#[test]
fn an_idle_engine_that_dies_is_found_before_traffic_needs_it() {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    lab.run_for_ms(1000);
    let canaries = lab.snapshot(1).counters.canaries;
    assert!((7..=10).contains(&canaries), "{canaries} in a second");
    assert_eq!(lab.snapshot(1).counters.jobs, 0);
    lab.pool.inject(EngineId(1), Fault::Die);
    lab.run_for_ms(110);
    assert_eq!(lab.snapshot(1).health, Health::Hung);
    assert_eq!(lab.snapshot(2).health, Health::Ok);
    assert_eq!(lab.pool.in_flight(), 0);
    assert!(lab.done.is_empty());
}

#[test]
fn an_idle_engine_that_lies_is_found_too() {
    for every in [1, 3] {
        let mut lab = Lab::with_devices(&[slow()]);
        lab.pool.inject(EngineId(1), Fault::Wrong { every });
        lab.run_for_ms(600);
        assert_eq!(lab.snapshot(1).health, Health::Quarantined);
        assert_eq!(wrongs(&lab)[0].1, Found::Canary);
    }
}

#[test]
fn a_slow_engine_is_asked_less_often() {
    let mut lab = Lab::with_devices(&[AsicSpec {
        rate_bps: 10_000_000,
        ..slow()
    }]);
    lab.run_for_ms(5_000);
    let canaries = lab.snapshot(1).counters.canaries;
    // 1.2 ms each, so one in 1.2 s.
    assert!((2..=5).contains(&canaries), "{canaries}");
}

#[derive(Clone, Debug)]
enum Step {
    Seal(Vec<usize>),
    Open(Vec<usize>, u64),
    Wait(u64),
    Fault(u32, Fault),
    Revive(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let lens = || prop::collection::vec(0_usize..1500, 1..8);
    let engine = 1..=3_u32;
    let fault = prop_oneof![
        6 => (1_u32..12).prop_map(|every| Fault::Wrong { every }),
        1 => Just(Fault::Hang),
        1 => Just(Fault::Heal),
    ];
    prop_oneof![
        12 => lens().prop_map(Step::Seal),
        3 => (lens(), any::<u64>()).prop_map(|(lens, forged)| Step::Open(lens, forged)),
        6 => (1_u64..2000).prop_map(Step::Wait),
        3 => (engine.clone(), fault).prop_map(|(engine, fault)| Step::Fault(engine, fault)),
        1 => engine.prop_map(Step::Revive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any of three engines lies at any time, in what it seals and in what it opens to check it, and
    /// all that is sealed leaves as it should be.
    #[test]
    fn when_all_is_checked_no_wrong_byte_leaves(steps in prop::collection::vec(step(), 1..60)) {
        let mut lab = Lab::with_devices(&[slow(), AsicSpec::default(), slow()]);
        lab.pool.admit(EngineId(9), admitted(Box::new(CpuInline::new())));
        let last = Grant { secondary: Some(1), ..secondary(9) };
        check(&mut lab, vec![secondary(1), secondary(2), secondary(3), last], 1);
        let mut tasks: std::collections::BTreeMap<u64, Task> = Default::default();
        let mut first = 0;
        let mut sealed = 0;
        let mut settle = |lab: &mut Lab, tasks: &mut std::collections::BTreeMap<u64, Task>| {
            for done in lab.done.drain(..) {
                let task = tasks.remove(&ticket_of(&done)).expect("an end that nobody waits for");
                // What is opened is not checked: there only the ends are counted.
                if task.direction == esprit_crypto::Direction::Seal {
                    assert_done(&done, &task);
                    sealed += 1;
                } else {
                    assert!(matches!(done, Done::Complete { .. }));
                }
            }
        };
        for step in steps {
            first += 64;
            match step {
                Step::Seal(lens) => {
                    let task = sealing(&key(1), &lab.buffers, first, &lens);
                    let (ticket, _) = lab.submit(&task).unwrap();
                    tasks.insert(ticket, task);
                }
                Step::Open(lens, forged) => {
                    let task = opening(&key(2), &lab.buffers, first, &lens, forged);
                    let (ticket, _) = lab.submit(&task).unwrap();
                    tasks.insert(ticket, task);
                }
                Step::Wait(us) => lab.run_until(lab.now + Time::from_micros(us)),
                Step::Fault(engine, fault) => {
                    lab.pool.inject(EngineId(engine), fault);
                }
                Step::Revive(engine) => {
                    let id = EngineId(engine);
                    let mut inside = lab.pool.remove(lab.now, id, &lab.buffers).expect("no engine");
                    inside.inject(Fault::Heal);
                    inside.reset(lab.now);
                    lab.pool.admit(id, admitted(inside));
                }
            }
            settle(&mut lab, &mut tasks);
        }
        lab.run_for_ms(500);
        settle(&mut lab, &mut tasks);
        prop_assert!(tasks.is_empty(), "{} jobs have not ended", tasks.len());
        prop_assert_eq!(lab.pool.in_flight(), 0);
    }
}
