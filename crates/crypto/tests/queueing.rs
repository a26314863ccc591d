//! What waits for an engine, and who gets it next.

mod support;

use std::collections::BTreeMap;

use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::engines::cpu::CpuInline;
use esprit_crypto::{
    APPLICATIONS, Class, Done, EngineId, Fault, Grant, Grants, Health, Reject, Request,
};
use esprit_packet::Time;
use support::{
    Lab, Script, TEAM, Task, WAITING, admitted, assert_done, device, key, sealing, secondary, slow,
    ticket_of,
};

fn own(engine: u32, member: u32) -> Grant {
    Grant {
        member: Some(member),
        primary: Some(0),
        application: Some(0),
        ..secondary(engine)
    }
}

/// Jobs by whom they are for: `(team, member, flow, weight)`.
type Whose = (u32, Option<u32>, u32, u16);

fn submit(lab: &mut Lab, task: &Task, whose: Whose) -> Result<u64, Reject> {
    let (team, member, flow, weight) = whose;
    let request = Request {
        team,
        key: task.key.clone(),
        direction: task.direction,
        input: task.input.clone(),
        member,
        flow,
        weight,
    };
    lab.pool
        .submit(lab.now, &lab.buffers, request)
        .map(|(ticket, _)| ticket)
        .map_err(|(_, reject)| reject)
}

/// Gives the engine all that it takes.
fn fill(lab: &mut Lab, task: &Task, whose: Whose) {
    for _ in 0..10_000 {
        let before = lab.pool.queues();
        submit(lab, task, whose).unwrap();
        if lab.pool.queues() != before {
            return;
        }
    }
    panic!("it is never full");
}

/// One engine of member 11, that anyone may use.
fn one() -> Lab {
    let mut lab = Lab::new();
    lab.pool.admit(EngineId(1), device(&slow()));
    lab.grant(vec![own(1, 11)]);
    lab.pool.set_grants(
        APPLICATIONS,
        Grants {
            engines: vec![own(1, 11)],
            spill_ns: [20_000_000; 3],
            verify_every: 0,
        },
    );
    lab
}

#[test]
fn classes_come_one_after_the_other() {
    let mut lab = one();
    let task = sealing(&key(1), &lab.buffers, 0, &[1400; 8]);
    fill(&mut lab, &task, (TEAM, Some(99), 1, 1));
    let whose = [
        (APPLICATIONS, None, 4, 1),
        (TEAM, Some(99), 2, 1),
        (TEAM, Some(11), 3, 1),
    ];
    let mut classes = BTreeMap::new();
    for _ in 0..10 {
        for (whose, class) in whose.into_iter().zip([2, 1, 0]) {
            classes.insert(submit(&mut lab, &task, whose).unwrap(), class);
        }
    }
    let queues = lab.pool.queues();
    assert_eq!(
        (
            queues.primary.jobs,
            queues.secondary.jobs,
            queues.application.jobs
        ),
        (10, 11, 10)
    );
    lab.run_for_ms(50);
    let order: Vec<usize> = lab
        .done
        .iter()
        .filter_map(|done| classes.get(&ticket_of(done)).copied())
        .collect();
    assert_eq!(order.len(), 30);
    assert!(order.is_sorted(), "{order:?}");
    for done in &lab.done {
        assert_done(done, &task);
    }
}

#[test]
fn a_flood_of_one_flow_leaves_the_others_their_share() {
    let mut lab = one();
    let flood = sealing(&key(1), &lab.buffers, 0, &[1400; 40]);
    let other = sealing(&key(2), &lab.buffers, 0, &[1400]);
    fill(&mut lab, &flood, (TEAM, None, 1, 1));
    while submit(&mut lab, &flood, (TEAM, None, 1, 1)).is_ok() {}
    // Two more send all the while as much as their share is, and are hardly held up.
    let (mut sent, mut flow_of) = (Vec::new(), BTreeMap::new());
    for turn in 0..300_u64 {
        for flow in [2, 3] {
            let ticket = submit(&mut lab, &other, (TEAM, None, flow, 1)).expect("it is starved");
            flow_of.insert(ticket, flow);
            sent.push((ticket, lab.now));
        }
        while submit(&mut lab, &flood, (TEAM, None, 1, 1)).is_ok() {}
        // 1.4 KB in 70 µs, a sixth of what the engine does, for each.
        lab.run_until(Time::from_millis(2) + Time::from_micros(70 * turn));
        if turn % 50 == 0 {
            lab.done
                .retain(|done| flow_of.contains_key(&ticket_of(done)));
        }
    }
    let (since, now) = (sent[0].1, lab.now);
    lab.run_for_ms(1);
    let done: Vec<u64> = lab.done.iter().map(ticket_of).collect();
    let ended = |flow: u32| {
        done.iter()
            .filter(|t| flow_of.get(t) == Some(&flow))
            .count()
    };
    // What is in the engine's own queue is 5 ms, 70 of 300 turns.
    for flow in [2, 3] {
        assert!(
            ended(flow) > 200,
            "{} of 300 since {since:?} at {now:?}",
            ended(flow)
        );
    }
    let order: Vec<u64> = done
        .into_iter()
        .filter(|t| flow_of.get(t) == Some(&2))
        .collect();
    assert!(order.is_sorted(), "a flow's jobs overtook one another");
}

#[test]
fn weights_are_shares() {
    let mut lab = one();
    let task = sealing(&key(1), &lab.buffers, 0, &[1400]);
    fill(&mut lab, &task, (TEAM, None, 9, 1));
    let mut flow_of = BTreeMap::new();
    for _ in 0..300 {
        for (flow, weight) in [(1, 1), (2, 3)] {
            let ticket = submit(&mut lab, &task, (TEAM, None, flow, weight)).unwrap();
            flow_of.insert(ticket, flow);
        }
    }
    lab.run_until(lab.now + Time::from_micros(8_500));
    let of = |lab: &Lab, flow: u32| {
        let whose = |done: &&Done| flow_of.get(&ticket_of(done)) == Some(&flow);
        lab.done.iter().filter(whose).count() as f64
    };
    let (one, three) = (of(&lab, 1), of(&lab, 2));
    assert!(
        one > 30.0 && (2.5..3.5).contains(&(three / one)),
        "{one}, {three}"
    );
}

#[test]
fn who_waits_for_one_engine_does_not_hold_up_who_waits_for_another() {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    lab.pool.set_grants(
        8,
        Grants {
            engines: vec![secondary(2)],
            spill_ns: [20_000_000; 3],
            verify_every: 0,
        },
    );
    lab.grant(vec![secondary(1)]);
    let task = sealing(&key(1), &lab.buffers, 0, &[1400; 8]);
    fill(&mut lab, &task, (TEAM, None, 1, 1));
    assert!(!lab.pool.queues().eq(&esprit_crypto::Queues::default()));
    let (free, _) = (submit(&mut lab, &task, (8, None, 2, 1)).unwrap(), ());
    assert_eq!(
        lab.snapshot(2).outstanding,
        1,
        "an idle engine was left idle"
    );
    lab.run_until(lab.now + Time::from_micros(150));
    assert_done(lab.end_of(free), &task);
}

#[test]
fn a_short_job_does_not_take_the_room_that_a_long_one_waits_for() {
    let mut lab = Lab::with_devices(&[AsicSpec {
        memory_bytes: 200_000,
        ..slow()
    }]);
    let long = sealing(&key(1), &lab.buffers, 0, &[1400; 40]);
    let short = sealing(&key(2), &lab.buffers, 0, &[100]);
    fill(&mut lab, &long, (TEAM, None, 1, 1));
    let waits = submit(&mut lab, &long, (TEAM, None, 1, 1)).unwrap();
    let mut before = 0;
    for turn in 0..200 {
        // Short ones come all the time, for another member: in a group of their own.
        let _ = submit(&mut lab, &short, (TEAM, Some(5), 2, 1));
        lab.run_until(lab.now + Time::from_micros(10));
        before = turn;
        if lab.done.iter().any(|done| ticket_of(done) == waits) {
            break;
        }
    }
    assert!(before < 199, "the long job starves");
}

#[test]
fn a_long_job_without_headroom_does_not_keep_an_idle_engine_from_a_short_one() {
    let mut lab = Lab::with_devices(&[slow()]);
    lab.grant(vec![Grant {
        headroom: Some(0.5),
        ..own(1, 11)
    }]);
    let long = sealing(&key(1), &lab.buffers, 0, &[1400; 8]);
    let short = sealing(&key(2), &lab.buffers, 0, &[1400]);
    // Its member sends: of what such a job takes, others may have a third.
    submit(&mut lab, &long, (TEAM, Some(11), 1, 1)).unwrap();
    lab.run_for_ms(1);
    assert_eq!(lab.snapshot(1).outstanding, 0);
    let waits = submit(&mut lab, &long, (TEAM, Some(12), 2, 1)).unwrap();
    let fits = submit(&mut lab, &short, (TEAM, Some(12), 3, 1)).unwrap();
    let behind = submit(&mut lab, &short, (TEAM, Some(12), 2, 1)).unwrap();
    assert_eq!(lab.pool.queues().secondary.jobs, 3);
    lab.run_for_ms(1);
    assert_done(lab.end_of(fits), &short);
    // Nobody would have gained: it leaves behind the long one.
    assert_eq!(lab.pool.queues().secondary.jobs, 2);
    assert_eq!(lab.pool.idles(lab.now), None);
    // The member is silent for long enough.
    lab.run_for_ms(100);
    assert_done(lab.end_of(waits), &long);
    assert_done(lab.end_of(behind), &short);
}

#[test]
fn the_workers_own_engine_works_in_turns() {
    let mut lab = Lab::new();
    lab.pool
        .admit(EngineId(7), admitted(Box::new(CpuInline::new())));
    lab.grant(vec![secondary(7)]);
    let task = sealing(&key(1), &lab.buffers, 0, &[1400; 40]);
    let engines: Vec<EngineId> = (0..20).map(|_| lab.submit(&task).unwrap().1).collect();
    let at_once = engines.iter().take_while(|&&e| e == EngineId(7)).count();
    assert_eq!(at_once, 10, "512 KiB");
    assert!(engines[at_once..].iter().all(|&e| e == WAITING));
    assert_eq!(lab.pool.timeout(), Some(Time::ZERO));
    lab.poll();
    assert_eq!(lab.done.len(), 20);
    for done in &lab.done {
        assert_done(done, &task);
    }
    assert_eq!(lab.pool.timeout(), None);
    // What waits longer than one turn goes on at once.
    for _ in 0..25 {
        lab.submit(&task).unwrap();
    }
    lab.poll();
    assert!(lab.pool.timeout().is_some_and(|at| at <= lab.now));
    lab.poll();
    lab.poll();
    assert_eq!(lab.done.len(), 45);
}

#[test]
fn what_is_redone_comes_before_what_is_new() {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    let task = sealing(&key(1), &lab.buffers, 0, &[1400; 8]);
    lab.grant(vec![secondary(1)]);
    lab.pool.inject(EngineId(1), Fault::Hang);
    let first = lab.submit(&task).unwrap().0;
    lab.grant(vec![secondary(1), secondary(2)]);
    let (mut lost, mut waiting) = (vec![first], Vec::new());
    while let Ok((ticket, engine)) = lab.submit(&task) {
        match engine {
            EngineId(1) => lost.push(ticket),
            WAITING => waiting.push(ticket),
            _ => {}
        }
    }
    // The engine is left after 2 ms; by then some of what waits has gone to the other.
    lab.run_for_ms(3);
    assert_eq!(lab.snapshot(1).health, Health::Hung);
    lab.run_for_ms(50);
    let place = |ticket: &u64| lab.done.iter().position(|done| ticket_of(done) == *ticket);
    let last_lost = lost.iter().map(place).max().unwrap().unwrap();
    let last_waiting = waiting.iter().map(place).max().unwrap().unwrap();
    assert!(lost.len() > 10 && last_lost < last_waiting);
    let behind = waiting
        .iter()
        .filter(|ticket| place(ticket) > Some(last_lost));
    assert!(behind.count() >= 3, "what is new went first");
}

#[test]
fn the_last_engine_is_not_left_because_its_thread_has_no_processor() {
    let (mut lab, script) = Lab::scripted();
    lab.grant(vec![secondary(1)]);
    *script.lock().unwrap() = Script {
        hold: true,
        starved: true,
        ..Script::default()
    };
    let task = sealing(&key(1), &lab.buffers, 0, &[1000]);
    let ticket = lab.submit(&task).unwrap().0;
    lab.run_for_ms(3_000);
    assert_eq!(lab.snapshot(1).health, Health::Ok);
    script.lock().unwrap().hold = false;
    lab.run_for_ms(1);
    assert_done(lab.end_of(ticket), &task);
    // One that does not answer though it runs is left all the same.
    *script.lock().unwrap() = Script {
        hold: true,
        ..Script::default()
    };
    lab.submit(&task).unwrap();
    lab.run_for_ms(10);
    assert_eq!(lab.snapshot(1).health, Health::Hung);
}

#[test]
fn idle_engines_keep_others_work_off_the_active_members() {
    let mut lab = Lab::with_devices(&[slow(), slow(), slow()]);
    let active = Grant {
        secondary: Some(1),
        headroom: Some(0.1),
        ..own(1, 11)
    };
    lab.grant(vec![active, secondary(2), secondary(3)]);
    let task = sealing(&key(1), &lab.buffers, 0, &[1400; 4]);
    for _ in 0..500 {
        submit(&mut lab, &task, (TEAM, Some(12), 1, 1)).unwrap();
        submit(&mut lab, &task, (TEAM, Some(11), 2, 1)).unwrap();
        // 45 µs of work each: two engines do twice as much as comes.
        lab.run_until(lab.now + Time::from_micros(50));
        lab.done.clear();
    }
    let counters = lab.snapshot(1).counters;
    assert_eq!((counters.primary, counters.secondary), (500, 0));
    assert_eq!(counters.primary_ns, counters.busy_ns);
}

/// The 99th of a hundred times through the active member's engine, and others' jobs that it did,
/// with others' work offered without end or not at all.
fn primary_p99(offered: bool) -> (u64, u64) {
    let mut lab = Lab::new();
    let spec = AsicSpec {
        rate_bps: 10_000_000_000,
        ..AsicSpec::default()
    };
    lab.pool.admit(EngineId(1), device(&spec));
    lab.grant(vec![Grant {
        headroom: Some(0.1),
        ..own(1, 11)
    }]);
    let mine = sealing(&key(1), &lab.buffers, 0, &[1400; 16]);
    let other = sealing(&key(2), &lab.buffers, 0, &[1400]);
    let (mut since, mut took) = (BTreeMap::new(), Vec::new());
    let mut chance = 1_u64;
    for _ in 0..4000 {
        let ticket = submit(&mut lab, &mine, (TEAM, Some(11), 1, 1)).unwrap();
        since.insert(ticket, lab.now);
        while offered && submit(&mut lab, &other, (TEAM, Some(12), 2, 1)).is_ok() {}
        // 19 µs of work come every 15 to 45: the engine is two thirds busy, in bursts.
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let until = lab.now + Time(15_000 + (chance >> 33) % 30_000);
        loop {
            lab.poll();
            let now = lab.now;
            for done in lab.done.drain(..) {
                if let Some(since) = since.remove(&ticket_of(&done)) {
                    took.push(now.since(since).0);
                }
            }
            match lab.pool.timeout() {
                Some(at) if at <= until => lab.now = lab.now.max(at),
                Some(_) | None => break,
            }
        }
        lab.now = until;
    }
    took.sort_unstable();
    let counters = lab.snapshot(1).counters;
    (took[took.len() * 99 / 100], counters.secondary)
}

#[test]
fn headroom_bounds_what_its_own_traffic_feels() {
    let (alone, none) = primary_p99(false);
    let (with, others) = primary_p99(true);
    println!("p99 alone {alone} ns, with others' work {with} ns; {others} of others' jobs");
    assert_eq!(none, 0);
    assert!(with as f64 <= alone as f64 * 1.1, "{alone} to {with}");
    assert!(others > 1000, "it had room for more than {others}");
}

#[test]
fn a_class_is_told_with_the_end() {
    let mut lab = one();
    let task = sealing(&key(1), &lab.buffers, 0, &[1400; 8]);
    fill(&mut lab, &task, (APPLICATIONS, None, 1, 1));
    lab.run_for_ms(20);
    for done in &lab.done {
        assert!(matches!(
            done,
            Done::Complete {
                class: Class::Application,
                ..
            }
        ));
    }
}

/// Member 11's longest wait in nanoseconds, and the share of the time that its engine was busy, with
/// applications that always have tasks waiting.
fn beside_applications(beside_ns: Option<u64>) -> (u64, f64) {
    let mut lab = one();
    lab.pool.set_grants(
        APPLICATIONS,
        Grants {
            engines: vec![Grant {
                beside_ns,
                ..own(1, 11)
            }],
            spill_ns: [20_000_000; 3],
            verify_every: 0,
        },
    );
    let mine = sealing(&key(1), &lab.buffers, 0, &[1400]);
    let theirs = sealing(&key(2), &lab.buffers, 0, &[1400]);
    // Both keys are installed, and the queue is as full as it may be.
    submit(&mut lab, &mine, (TEAM, Some(11), 1, 1)).unwrap();
    fill(&mut lab, &theirs, (APPLICATIONS, None, 2, 1));
    lab.run_for_ms(10);
    let (begun, busy) = (lab.now, lab.snapshot(1).counters.busy_ns);
    let (mut longest, mut sent) = (0, BTreeMap::new());
    for _ in 0..100 {
        while lab.pool.queues().application.jobs < 64 {
            submit(&mut lab, &theirs, (APPLICATIONS, None, 2, 1)).unwrap();
        }
        let ticket = submit(&mut lab, &mine, (TEAM, Some(11), 1, 1)).unwrap();
        sent.insert(ticket, lab.now);
        let until = lab.now + Time::from_micros(100);
        while lab.now < until {
            lab.poll();
            for done in lab.done.drain(..) {
                if let Some(since) = sent.remove(&ticket_of(&done)) {
                    longest = longest.max(lab.now.since(since).0);
                }
            }
            let next = lab.pool.timeout().unwrap_or(until);
            lab.now = lab.now.max(next).min(until);
        }
    }
    let took = lab.now.since(begun).0 as f64;
    let busy = lab.snapshot(1).counters.busy_ns - busy;
    (longest, busy as f64 / took)
}

#[test]
fn a_member_s_packets_wait_for_little_of_applications_work_and_the_engine_is_busy() {
    // 11 µs of work, and 20 of latency.
    let (before, _) = beside_applications(None);
    assert!(
        before > 1_000_000,
        "a whole queue was before it, not {before} ns"
    );
    let (longest, busy) = beside_applications(Some(20_000));
    assert!(longest < 31_000 + 20_000 + 12_000, "{longest} ns");
    assert!(busy > 0.98, "busy for {busy:.3} of the time");
}

#[test]
fn where_no_team_has_work_applications_fill_the_queue() {
    let mut lab = one();
    let grant = Grant {
        beside_ns: Some(20_000),
        ..own(1, 11)
    };
    lab.pool.set_grants(
        APPLICATIONS,
        Grants {
            engines: vec![grant],
            spill_ns: [20_000_000; 3],
            verify_every: 0,
        },
    );
    let task = sealing(&key(1), &lab.buffers, 0, &[1400]);
    let of_team = submit(&mut lab, &task, (TEAM, Some(11), 1, 1)).unwrap();
    fill(&mut lab, &task, (APPLICATIONS, None, 2, 1));
    let beside = lab.snapshot(1).outstanding;
    assert!(beside < 5, "{beside} jobs beside the team's");
    lab.run_for_ms(200);
    assert_done(lab.end_of(of_team), &task);
    fill(&mut lab, &task, (APPLICATIONS, None, 2, 1));
    let alone = lab.snapshot(1).outstanding;
    assert!(alone > 100, "{alone} jobs, the team being quiet for long");
}
