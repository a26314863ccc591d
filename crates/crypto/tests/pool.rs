//! What the pool promises, one promise a test, in virtual time.

mod support;

use std::sync::Arc;

use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::engines::cpu::CpuInline;
use esprit_crypto::{
    APPLICATIONS, Done, EngineId, Fault, Grant, Grants, Health, LostReason, PoolEvent, Reject,
    Request,
};
use esprit_packet::Time;
use support::{
    Lab, Script, Task, WAITING, admitted, assert_done, device, key, opening, sealing, secondary,
    slow,
};

fn one(lab: &Lab, number: u64) -> Task {
    sealing(&key(1), &lab.buffers, number * 100, &[1000])
}

#[test]
fn the_workers_own_engine_has_its_result_at_the_next_poll() {
    let mut lab = Lab::new();
    lab.pool
        .admit(EngineId(7), admitted(Box::new(CpuInline::new())));
    lab.grant(vec![secondary(7)]);
    let seal = sealing(&key(1), &lab.buffers, 0, &[1400, 0, 9, 1400]);
    let open = opening(&key(1), &lab.buffers, 50, &[1400, 64, 1400], 0b010);
    let (first, engine) = lab.submit(&seal).unwrap();
    let (second, _) = lab.submit(&open).unwrap();
    assert_eq!(engine, EngineId(7));
    assert_eq!(lab.pool.timeout(), Some(Time::ZERO));
    lab.poll();
    assert_done(lab.end_of(first), &seal);
    assert_done(lab.end_of(second), &open);
    assert_eq!(lab.snapshot(7).backlog_ns, 0);
    assert_eq!(lab.pool.timeout(), None);
}

#[test]
fn without_grants_nobody_works() {
    let mut lab = Lab::new();
    lab.pool.admit(EngineId(1), device(&slow()));
    let task = one(&lab, 0);
    assert_eq!(lab.submit(&task), Err(Reject::NoEngine));
    let sealing_only = Grant {
        seal: false,
        ..secondary(1)
    };
    lab.grant(vec![sealing_only, secondary(2)]);
    assert_eq!(lab.submit(&task), Err(Reject::NoEngine));
    lab.grant(vec![secondary(1)]);
    assert!(lab.submit(&task).is_ok());
}

#[test]
fn a_hung_engine_is_left_and_its_jobs_are_done_elsewhere_alike() {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    assert!(lab.pool.inject(EngineId(1), Fault::Hang));
    let tasks: Vec<Task> = (0..6).map(|number| one(&lab, number)).collect();
    let tickets: Vec<(u64, EngineId)> =
        tasks.iter().map(|task| lab.submit(task).unwrap()).collect();
    assert!(tickets.iter().any(|&(_, engine)| engine == EngineId(1)));
    let start = lab.now;
    lab.run_for_ms(10);
    for (task, (ticket, _)) in tasks.iter().zip(&tickets) {
        assert_done(lab.end_of(*ticket), task);
    }
    assert_eq!(lab.snapshot(1).health, Health::Hung);
    let hung = lab.events.iter().find_map(|event| {
        if let PoolEvent::Hung {
            engine, waited_ns, ..
        } = event
        {
            Some((*engine, *waited_ns))
        } else {
            None
        }
    });
    let (engine, waited) = hung.unwrap();
    assert_eq!(engine, EngineId(1));
    // Four times some 20 to 70 µs is less than the least patience.
    assert_eq!(waited, 2_000_000);
    assert!(lab.events.contains(&PoolEvent::Redone {
        from: EngineId(1),
        to: EngineId(2),
        jobs: 3
    }));

    // Nothing more is given to it, also when it is the only one.
    lab.now = start + Time::from_millis(20);
    lab.grant(vec![secondary(1)]);
    assert_eq!(lab.submit(&tasks[0]), Err(Reject::NoEngine));
}

#[test]
fn an_engine_whose_thread_has_no_processor_is_not_hung_for_a_while() {
    let (mut lab, script) = Lab::scripted();
    lab.pool.admit(EngineId(2), device(&slow()));
    let last = Grant {
        secondary: Some(1),
        ..secondary(2)
    };
    lab.grant(vec![secondary(1), last]);
    *script.lock().unwrap() = Script {
        hold: true,
        starved: true,
        ..Script::default()
    };
    let task = one(&lab, 0);
    let (first, engine) = lab.submit(&task).unwrap();
    assert_eq!(engine, EngineId(1));
    lab.run_for_ms(50);
    assert!(lab.done.is_empty());
    script.lock().unwrap().hold = false;
    lab.run_for_ms(1);
    assert_done(lab.end_of(first), &task);

    script.lock().unwrap().hold = true;
    let (second, engine) = lab.submit(&task).unwrap();
    assert_eq!(engine, EngineId(1));
    lab.run_for_ms(101);
    assert_eq!(lab.snapshot(1).health, Health::Ok);
    lab.run_for_ms(3);
    assert_eq!(lab.snapshot(1).health, Health::Hung);
    assert_done(lab.end_of(second), &task);
}

#[test]
fn a_worker_that_was_held_up_does_not_take_its_own_pause_for_the_engines() {
    let (mut lab, script) = Lab::scripted();
    lab.grant(vec![secondary(1)]);
    script.lock().unwrap().hold = true;
    let task = one(&lab, 0);
    // It read the clock, and gave the job away 30 ms later: the engine has only just got it.
    let (ticket, _) = lab.submit(&task).unwrap();
    lab.now = lab.now + Time::from_millis(30);
    lab.poll();
    lab.now = lab.now + Time(500_000);
    lab.poll();
    script.lock().unwrap().hold = false;
    lab.run_for_ms(1);
    assert_done(lab.end_of(ticket), &task);
    assert_eq!(lab.events, []);

    // It is as patient with one that keeps what it has as before, from then on.
    script.lock().unwrap().hold = true;
    lab.submit(&task).unwrap();
    lab.now = lab.now + Time::from_millis(30);
    lab.poll();
    lab.run_for_ms(2);
    assert_eq!(lab.snapshot(1).health, Health::Hung);
}

#[test]
fn a_late_completion_only_returns_its_buffer() {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    lab.pool.inject(EngineId(1), Fault::Hang);
    let task = one(&lab, 0);
    let (ticket, engine) = lab.submit(&task).unwrap();
    assert_eq!(engine, EngineId(1));
    lab.run_for_ms(5);
    assert_done(lab.end_of(ticket), &task);
    lab.done.clear();
    // The frame, and the buffer that the hung engine holds.
    assert_eq!(lab.buffers.in_use(), (2, 0));

    lab.pool.inject(EngineId(1), Fault::Heal);
    lab.run_for_ms(5);
    assert!(lab.done.is_empty(), "it ended twice");
    assert_eq!(lab.buffers.in_use(), (1, 0));
    assert_eq!(lab.snapshot(1).counters.late, 1);
    let recovered = PoolEvent::Recovered {
        engine: EngineId(1),
        health: Health::Hung,
    };
    assert!(lab.events.contains(&recovered));
    // It answers again, and is still not used before it has been verified.
    assert_eq!(lab.submit(&task).unwrap().1, EngineId(2));
}

#[test]
fn the_first_completion_wins_also_when_it_is_the_hung_engines() {
    let mut lab = Lab::with_devices(&[slow()]);
    lab.pool.inject(EngineId(1), Fault::Hang);
    let task = one(&lab, 0);
    let (ticket, _) = lab.submit(&task).unwrap();
    // Nobody else is there: the job waits.
    lab.run_for_ms(5);
    assert!(lab.done.is_empty());
    lab.pool.inject(EngineId(1), Fault::Heal);
    lab.run_for_ms(5);
    assert_done(lab.end_of(ticket), &task);
    assert_eq!(lab.pool.in_flight(), 0);
    assert_eq!(
        lab.snapshot(1).counters.late,
        1,
        "the job was waiting for another"
    );
}

#[test]
fn a_job_waits_for_an_engine_and_is_given_up_after_ten_seconds() {
    let mut lab = Lab::with_devices(&[slow()]);
    let task = one(&lab, 0);
    lab.pool.inject(EngineId(1), Fault::Die);
    let (kept, _) = lab.submit(&task).unwrap();
    lab.run_for_ms(100);
    lab.pool.admit(EngineId(2), device(&slow()));
    lab.grant(vec![secondary(1), secondary(2)]);
    lab.run_for_ms(1);
    assert_done(lab.end_of(kept), &task);

    lab.pool.inject(EngineId(2), Fault::Die);
    let (lost, _) = lab.submit(&task).unwrap();
    lab.run_for_ms(9_990);
    assert_eq!(lab.done.len(), 1);
    lab.run_for_ms(20);
    assert!(matches!(
        lab.end_of(lost),
        Done::Lost {
            reason: LostReason::NoEngine,
            engine: Some(EngineId(2)),
            ..
        }
    ));
    assert_eq!(lab.pool.in_flight(), 0);
}

#[test]
fn a_removed_engine_comes_back_by_reset_and_verification() {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    let tasks: Vec<Task> = (0..8).map(|number| one(&lab, number)).collect();
    let tickets: Vec<u64> = tasks.iter().map(|t| lab.submit(t).unwrap().0).collect();
    let mut engine = lab
        .pool
        .remove(lab.now, EngineId(1), &lab.buffers)
        .expect("it was there");
    assert!(
        lab.pool
            .remove(lab.now, EngineId(1), &lab.buffers)
            .is_none()
    );
    lab.run_for_ms(5);
    for (task, ticket) in tasks.iter().zip(tickets) {
        assert_done(lab.end_of(ticket), task);
    }
    engine.reset(lab.now);
    lab.pool.admit(EngineId(1), admitted(engine));
    lab.grant(vec![secondary(1)]);
    assert_eq!(lab.submit(&tasks[0]).unwrap().1, EngineId(1));
    lab.run_for_ms(1);
    lab.done.clear();
    drop(tasks);
    assert_eq!(lab.buffers.in_use(), (0, 0), "a buffer stayed somewhere");
}

#[test]
fn an_engine_that_computes_wrongly_is_found_and_left() {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    let task = one(&lab, 0);
    lab.pool.inject(EngineId(1), Fault::Wrong { every: 1 });
    for _ in 0..400 {
        if lab.snapshot(1).health == Health::Quarantined {
            break;
        }
        lab.submit(&task).unwrap();
        lab.run_for_ms(1);
    }
    assert_eq!(lab.snapshot(1).health, Health::Quarantined);
    // The result that gave it away was not passed on: it is the first that is looked at.
    for done in &lab.done {
        assert_done(done, &task);
    }
    assert_eq!(lab.submit(&task).unwrap().1, EngineId(2));
}

#[test]
fn a_false_verdict_is_found_too() {
    let (mut lab, script) = Lab::scripted();
    lab.pool.admit(EngineId(2), device(&slow()));
    lab.grant(vec![
        secondary(1),
        Grant {
            secondary: Some(1),
            ..secondary(2)
        },
    ]);
    script.lock().unwrap().accuse = u64::MAX;
    let task = opening(&key(2), &lab.buffers, 0, &[100, 100], 0);
    let (ticket, engine) = lab.submit(&task).unwrap();
    assert_eq!(engine, EngineId(1));
    lab.run_for_ms(1);
    assert_done(lab.end_of(ticket), &task);
    assert_eq!(lab.snapshot(1).health, Health::Quarantined);
}

#[test]
fn forged_packets_are_no_evidence_against_an_engine() {
    let mut lab = Lab::with_devices(&[slow()]);
    let task = opening(&key(2), &lab.buffers, 0, &[100; 64], u64::MAX);
    for _ in 0..100 {
        let (ticket, _) = lab.submit(&task).unwrap();
        lab.run_for_ms(1);
        assert_done(lab.end_of(ticket), &task);
        lab.done.clear();
    }
    let snapshot = lab.snapshot(1);
    assert_eq!(snapshot.health, Health::Ok);
    assert_eq!(snapshot.counters.bad_icv, 6400);
    assert_eq!(
        snapshot.counters.redone, 0,
        "a stranger's packet cost two openings"
    );
}

#[test]
fn failed_operations_are_done_elsewhere_and_end_in_quarantine() {
    let (mut lab, script) = Lab::scripted();
    lab.pool.admit(EngineId(2), device(&slow()));
    lab.grant(vec![
        secondary(1),
        Grant {
            secondary: Some(1),
            ..secondary(2)
        },
    ]);
    script.lock().unwrap().fail = 0b10;
    let task = sealing(&key(2), &lab.buffers, 0, &[100, 100, 100]);
    for turn in 0..8 {
        let expected = if turn == 0 {
            Health::Ok
        } else {
            Health::Suspect
        };
        assert_eq!(lab.snapshot(1).health, expected);
        let (ticket, engine) = lab.submit(&task).unwrap();
        assert_eq!(engine, EngineId(1));
        lab.run_for_ms(1);
        assert_done(lab.end_of(ticket), &task);
    }
    assert_eq!(lab.snapshot(1).health, Health::Quarantined);
    assert_eq!(lab.snapshot(1).counters.failed, 8);
    assert_eq!(lab.submit(&task).unwrap().1, EngineId(2));
}

#[test]
fn a_job_that_fails_everywhere_is_given_up() {
    let (mut lab, script) = Lab::scripted();
    lab.grant(vec![secondary(1)]);
    script.lock().unwrap().fail = 1;
    let task = one(&lab, 0);
    let (ticket, _) = lab.submit(&task).unwrap();
    lab.run_for_ms(20);
    assert!(matches!(
        lab.end_of(ticket),
        Done::Lost {
            reason: LostReason::Failed,
            engine: Some(EngineId(1)),
            ..
        }
    ));
}

#[test]
fn a_suspects_verdict_is_looked_at_twice_within_a_rate() {
    let (mut lab, script) = Lab::scripted();
    lab.pool
        .admit(EngineId(2), admitted(Box::new(CpuInline::new())));
    lab.grant(vec![
        secondary(1),
        Grant {
            secondary: Some(1),
            ..secondary(2)
        },
    ]);
    let task = opening(&key(2), &lab.buffers, 0, &[100, 100], 0b01);
    script.lock().unwrap().fail = 1;
    lab.submit(&task).unwrap();
    lab.run_for_ms(50);
    script.lock().unwrap().fail = 0;
    assert_eq!(lab.snapshot(1).health, Health::Suspect);
    let before = lab.snapshot(2).counters.jobs;
    for _ in 0..100 {
        lab.submit(&task).unwrap();
        lab.poll();
    }
    // All are of one flow, which has an eighth of what there is.
    assert_eq!(lab.snapshot(2).counters.jobs - before, 4);
    assert_eq!(lab.snapshot(1).counters.second_looks, 4);
    for done in &lab.done {
        assert_done(done, &task);
    }
}

#[test]
fn an_engine_that_refuses_is_passed_over() {
    let (mut lab, script) = Lab::scripted();
    lab.grant(vec![secondary(1)]);
    script.lock().unwrap().refuse = true;
    let task = one(&lab, 0);
    let (waits, engine) = lab.submit(&task).unwrap();
    assert_eq!(engine, WAITING);
    lab.pool.admit(EngineId(2), device(&slow()));
    lab.grant(vec![secondary(1), secondary(2)]);
    lab.poll();
    let (ticket, engine) = lab.submit(&task).unwrap();
    assert_eq!(engine, EngineId(2));
    lab.run_for_ms(1);
    for ticket in [waits, ticket] {
        assert_done(lab.end_of(ticket), &task);
    }
    assert_eq!(lab.snapshot(1).counters.jobs, 0);
}

#[test]
fn queues_are_bounded_in_time_then_jobs_wait_and_then_the_pool_is_full() {
    let mut lab = Lab::with_devices(&[slow()]);
    let task = sealing(&key(1), &lab.buffers, 0, &[1400; 32]);
    let (mut accepted, mut waiting) = (Vec::new(), Vec::new());
    let reject = loop {
        match lab.submit(&task) {
            Ok((ticket, WAITING)) => waiting.push(ticket),
            Ok((ticket, _)) => accepted.push(ticket),
            Err(reject) => break reject,
        }
        assert!(waiting.len() < 100, "there is no bound");
    };
    assert_eq!(reject, Reject::Full);
    // A flow holds as much as the class has left: half of 4 MiB, 27 super-frames.
    assert_eq!(waiting.len(), 27);
    let queues = lab.pool.queues();
    assert_eq!((queues.secondary.jobs, queues.primary.jobs), (27, 0));
    assert_eq!(queues.secondary.bytes, 27 * 77_824);
    // 5 ms, and the job that began below them.
    assert!(lab.snapshot(1).backlog_ns <= 5_400_000);
    // 1 Gbit/s for 5 ms is 625 KB, of which a job is 45.
    assert!((13..=14).contains(&accepted.len()), "{}", accepted.len());
    lab.run_for_ms(40);
    assert_eq!(lab.snapshot(1).health, Health::Ok, "busy is not hung");
    assert_eq!(lab.pool.queues().secondary.jobs, 0);
    for ticket in accepted.into_iter().chain(waiting) {
        assert_done(lab.end_of(ticket), &task);
    }
}

#[test]
fn memory_in_flight_is_bounded() {
    let mut lab = Lab::with_devices(&[AsicSpec {
        memory_bytes: 100_000,
        ..slow()
    }]);
    let task = one(&lab, 0);
    let taken = (0..100)
        .take_while(|_| lab.submit(&task).unwrap().1 != WAITING)
        .count();
    assert_eq!(taken, 47, "1000 + 40 + 1056 bytes each");
    let large = sealing(&key(1), &lab.buffers, 0, &[60_000]);
    lab.run_for_ms(5);
    assert_eq!(
        lab.submit(&large),
        Err(Reject::NoEngine),
        "it would never fit"
    );
}

#[test]
fn without_buffers_a_job_is_refused() {
    let mut lab = Lab::with_devices(&[slow()]);
    let task = one(&lab, 0);
    let held: Vec<_> = std::iter::from_fn(|| lab.buffers.get(1)).collect();
    assert_eq!(lab.submit(&task), Err(Reject::NoMemory));
    drop(held);
    assert!(lab.submit(&task).is_ok());
}

#[test]
fn bytes_between_outputs_are_no_one_s_old_packet() {
    let mut lab = Lab::new();
    lab.buffers = esprit_packet::Pool::new(2, 0);
    lab.pool
        .admit(EngineId(1), admitted(Box::new(CpuInline::new())));
    lab.grant(vec![secondary(1)]);
    let mut dirty = lab.buffers.get(1000).unwrap();
    dirty.set_len(1000);
    dirty.data_mut().fill(0xee);
    drop(dirty);
    let mut task = sealing(&key(1), &lab.buffers, 0, &[10, 10]);
    let mut input = esprit_crypto::JobInput {
        frames: task.input.frames.clone(),
        headers: task.input.headers.clone(),
        ops: task.input.ops.clone(),
    };
    input.ops[0].dst = 5;
    input.ops[1].dst += 12;
    task.input = Arc::new(input);
    // The other buffer's turn: take the clean one away first.
    let (ticket, _) = lab.submit(&task).unwrap();
    lab.poll();
    let Done::Complete { dst, .. } = lab.end_of(ticket) else {
        panic!("lost");
    };
    let first = task.input.ops[0].out_len(esprit_crypto::Direction::Seal);
    assert_eq!(dst.data()[..5], [0; 5]);
    assert_eq!(dst.data()[5 + first..][..7], [0; 7]);
}

fn own(engine: u32, member: u32) -> Grant {
    Grant {
        member: Some(member),
        primary: Some(0),
        ..secondary(engine)
    }
}

/// A member's own engine, of 8 µs a job, and another's that is like it.
fn own_and_another(first: Grant, other: Grant) -> Lab {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    lab.pool.set_grants(
        support::TEAM,
        Grants {
            engines: vec![first, other],
            // The member's own engine may take 200 µs; elsewhere more is acceptable.
            spill_ns: [200_000, 20_000_000, 0],
            verify_every: 0,
        },
    );
    lab
}

fn placed(lab: &mut Lab, task: &Task, jobs: usize) -> Vec<u32> {
    (0..jobs)
        .map(|_| lab.submit_for(task, Some(11)).unwrap().1.0)
        .collect()
}

#[test]
fn primary_use_leaves_the_members_own_engine_where_another_is_done_sooner() {
    let mut lab = own_and_another(own(1, 11), own(2, 12));
    let task = one(&lab, 0);
    assert_eq!(
        placed(&mut lab, &task, 6),
        [1, 2, 1, 2, 1, 2],
        "its own first"
    );
    lab.run_for_ms(1);
    assert_eq!(lab.snapshot(1).counters.primary, 3);
    assert_eq!(lab.snapshot(2).counters.secondary, 3);
    // A bias says for how much less the other is not worth it.
    let biased = Grant {
        bias_ns: 20_000,
        ..own(2, 12)
    };
    let mut lab = own_and_another(own(1, 11), biased);
    assert_eq!(placed(&mut lab, &task, 5), [1, 1, 1, 2, 1]);
}

#[test]
fn a_later_tier_is_for_what_the_members_own_engine_cannot_take_in_time() {
    let alone = Grant {
        secondary: None,
        ..own(1, 11)
    };
    let later = Grant {
        secondary: Some(1),
        ..own(2, 12)
    };
    let mut lab = own_and_another(alone, later);
    let task = one(&lab, 0);
    let engines = placed(&mut lab, &task, 26);
    let by_own = engines.iter().take_while(|&&engine| engine == 1).count();
    assert!((18..=25).contains(&by_own), "{engines:?}");
    lab.run_for_ms(1);
    assert_eq!(lab.snapshot(1).counters.primary, by_own as u64);
    assert_eq!(lab.snapshot(2).counters.primary, 0);
    assert!(lab.snapshot(2).counters.secondary > 0);
}

#[test]
fn the_next_tier_is_asked_only_beyond_the_spill_limit() {
    let mut lab = Lab::new();
    lab.pool.admit(EngineId(1), device(&slow()));
    lab.pool.admit(EngineId(2), device(&AsicSpec::default()));
    lab.pool.set_grants(
        support::TEAM,
        Grants {
            engines: vec![
                secondary(1),
                Grant {
                    secondary: Some(1),
                    ..secondary(2)
                },
            ],
            spill_ns: [0, 100_000, 0],
            verify_every: 0,
        },
    );
    let task = one(&lab, 0);
    // The first tier's engine is slower, and still preferred while it keeps within 100 µs.
    let engines: Vec<u32> = (0..12).map(|_| lab.submit(&task).unwrap().1.0).collect();
    let first = engines.iter().take_while(|&&engine| engine == 1).count();
    assert!((8..=11).contains(&first), "{engines:?}");
    assert!(engines[first..].iter().all(|&engine| engine == 2));
}

#[test]
fn headroom_keeps_secondary_work_off_a_busy_engine() {
    let mut lab = Lab::new();
    lab.pool.admit(EngineId(1), device(&slow()));
    lab.grant(vec![Grant {
        member: Some(11),
        primary: Some(0),
        limit_ns: Some(20_000),
        headroom: None,
        ..secondary(1)
    }]);
    let task = one(&lab, 0);
    let taken = (0..10)
        .take_while(|_| lab.submit_for(&task, Some(99)).unwrap().1 != WAITING)
        .count();
    assert_eq!(
        taken, 2,
        "5 µs for the key and 8 each, until 20 are exceeded"
    );
    assert_eq!(
        lab.submit_for(&task, Some(11)).unwrap().1,
        EngineId(1),
        "its own member's traffic"
    );
}

#[test]
fn an_inline_engine_works_for_its_own_member_only() {
    let mut lab = Lab::new();
    let inline = AsicSpec {
        lookaside: false,
        inline: true,
        ..slow()
    };
    lab.pool.admit(EngineId(1), device(&inline));
    lab.grant(vec![Grant {
        member: Some(11),
        primary: Some(0),
        ..secondary(1)
    }]);
    let task = one(&lab, 0);
    assert_eq!(lab.submit_for(&task, Some(12)), Err(Reject::NoEngine));
    assert_eq!(lab.submit_for(&task, None), Err(Reject::NoEngine));
    assert!(lab.submit_for(&task, Some(11)).is_ok());
}

#[test]
fn a_bias_grows_with_the_engines_own_traffic() {
    let mut lab = Lab::new();
    lab.pool.admit(EngineId(1), device(&slow()));
    lab.pool.admit(EngineId(2), device(&slow()));
    lab.grant(vec![
        Grant {
            member: Some(11),
            primary: Some(0),
            bias_load: 100.0,
            ..secondary(1)
        },
        secondary(2),
    ]);
    let task = one(&lab, 0);
    assert_eq!(
        lab.submit(&task).unwrap().1,
        EngineId(1),
        "no traffic, no bias"
    );
    lab.run_for_ms(1);
    lab.submit_for(&task, Some(11)).unwrap();
    let engines: Vec<u32> = (0..8).map(|_| lab.submit(&task).unwrap().1.0).collect();
    assert_eq!(engines, [2; 8]);
}

#[test]
fn applications_have_grants_of_their_own() {
    let mut lab = Lab::with_devices(&[slow()]);
    let task = one(&lab, 0);
    let request = |task: &Task| Request {
        team: APPLICATIONS,
        key: task.key.clone(),
        direction: task.direction,
        input: task.input.clone(),
        member: None,
        flow: 0,
        weight: 1,
    };
    let result = lab.pool.submit(lab.now, &lab.buffers, request(&task));
    assert!(matches!(result, Err((_, Reject::NoEngine))));
    lab.pool.set_grants(
        APPLICATIONS,
        Grants {
            engines: vec![Grant {
                application: Some(0),
                ..secondary(1)
            }],
            spill_ns: [20_000_000; 3],
            verify_every: 0,
        },
    );
    let result = lab.pool.submit(lab.now, &lab.buffers, request(&task));
    assert!(result.is_ok());
    assert_eq!(lab.snapshot(1).counters.application, 1);
}

#[test]
fn a_device_that_dies_in_the_middle_loses_nothing_of_ours() {
    let mut lab = Lab::with_devices(&[slow(), slow(), slow()]);
    let tasks: Vec<Task> = (0..60).map(|number| one(&lab, number)).collect();
    let tickets: Vec<u64> = tasks.iter().map(|t| lab.submit(t).unwrap().0).collect();
    lab.now = lab.now + Time::from_micros(50);
    lab.poll();
    assert!(!lab.done.is_empty() && lab.done.len() < 60);
    lab.pool.inject(EngineId(1), Fault::Die);
    lab.pool.inject(EngineId(2), Fault::Die);
    lab.run_for_ms(20);
    for (task, ticket) in tasks.iter().zip(tickets) {
        assert_done(lab.end_of(ticket), task);
    }
    assert_eq!(lab.snapshot(1).health, Health::Hung);
    assert_eq!(lab.snapshot(2).health, Health::Hung);
    assert_eq!(lab.snapshot(3).health, Health::Ok);
}

#[test]
fn events_and_snapshots_are_plain_values() {
    let mut lab = Lab::with_devices(&[slow()]);
    lab.submit(&one(&lab, 0)).unwrap();
    let json = serde_json::to_value(lab.snapshot(1)).unwrap();
    assert_eq!(json["health"], "ok");
    assert_eq!(json["outstanding"], 1);
    assert_eq!(json["capabilities"]["simulated"], true);
    assert_eq!(json["rates"][0]["algorithm"], "aes-128-gcm-16");
    let event = PoolEvent::Redone {
        from: EngineId(1),
        to: EngineId(2),
        jobs: 3,
    };
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        r#"{"event":"redone","from":1,"to":2,"jobs":3}"#
    );
    let fault: Fault = serde_json::from_str(r#"{"fault":"late","by":5}"#).unwrap();
    assert_eq!(fault, Fault::Late { by: 5 });
}
