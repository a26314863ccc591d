//! How placement decides, shows it, and lets itself be replaced.

mod support;

use std::sync::{Arc, Mutex};

use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::engines::cpu::CpuInline;
use esprit_crypto::{
    AeadKey, Algorithm, Ask, Candidate, Class, Direction, Done, EngineId, Fault, Grant,
    MAX_ENGINES, MAX_OPS, Needs, Placer, Reject, Verdict,
};
use support::{Lab, TEAM, WAITING, admitted, assert_done, device, key, sealing, secondary, slow};

const ALGORITHM: Algorithm = Algorithm::Aes128Gcm16;

fn ask(lab: &Lab, member: Option<u32>) -> Ask {
    Ask::new(lab.now, ALGORITHM, Direction::Seal, member, 1, 1000)
}

fn verdicts(lab: &Lab, ask: &Ask) -> Vec<(u32, Class, Verdict)> {
    lab.pool
        .explain(lab.now, TEAM, ask)
        .into_iter()
        .map(|at| (at.engine.0, at.class, at.verdict))
        .collect()
}

fn own(engine: u32, member: u32) -> Grant {
    Grant {
        member: Some(member),
        primary: Some(0),
        ..secondary(engine)
    }
}

#[test]
fn every_engine_s_cost_is_explained() {
    let mut lab = Lab::new();
    for engine in 1..=3 {
        lab.pool.admit(EngineId(engine), device(&slow()));
    }
    let inline = AsicSpec {
        lookaside: false,
        inline: true,
        ..slow()
    };
    lab.pool.admit(EngineId(4), device(&inline));
    let later = Grant {
        secondary: Some(1),
        bias_ns: 77,
        ..secondary(3)
    };
    let not = Grant {
        seal: false,
        ..secondary(5)
    };
    lab.pool.admit(EngineId(5), device(&slow()));
    let biased = Grant {
        bias_ns: 5,
        ..own(1, 11)
    };
    lab.grant(vec![biased, secondary(2), later, own(4, 14), not]);
    let seen = verdicts(&lab, &ask(&lab, Some(11)));
    assert_eq!(
        seen,
        [
            (1, Class::Primary, Verdict::Chosen),
            (1, Class::Secondary, Verdict::LaterTier),
            (2, Class::Secondary, Verdict::LaterTier),
            (4, Class::Secondary, Verdict::InlineOnly),
            (5, Class::Secondary, Verdict::NotGranted),
            (3, Class::Secondary, Verdict::LaterTier),
        ]
    );
    let all = lab.pool.explain(lab.now, TEAM, &ask(&lab, None));
    let third = all.iter().find(|at| at.engine == EngineId(3)).unwrap();
    assert_eq!(third.bias_ns, 77);
    assert_eq!(
        third.cost_ns,
        third.backlog_ns
            + third.service_ns
            + third.key_ns
            + third.latency_ns
            + third.transfer_ns
            + 77
    );
    // What keeps others' work off an engine is not held against its own member's.
    let own_use = lab.pool.explain(lab.now, TEAM, &ask(&lab, Some(11)));
    assert_eq!((own_use[0].engine, own_use[0].bias_ns), (EngineId(1), 0));
    let json = serde_json::to_value(third).unwrap();
    assert_eq!(json["engine"], 3);
    assert_eq!(json["class"], "secondary");
    assert_eq!(json["verdict"], "later tier");
    assert_eq!(
        lab.pool.would_place(TEAM, &ask(&lab, None)),
        Some(EngineId(2))
    );
    // While the member's own engine has something to do, the first tier stands beside it.
    let task = sealing(&key(1), &lab.buffers, 0, &[1000]);
    lab.submit_for(&task, Some(11)).unwrap();
    let seen = verdicts(&lab, &ask(&lab, Some(11)));
    assert_eq!(
        seen[..3],
        [
            (1, Class::Primary, Verdict::Dearer),
            (1, Class::Secondary, Verdict::Dearer),
            (2, Class::Secondary, Verdict::Chosen),
        ]
    );
    assert_eq!(seen[5], (3, Class::Secondary, Verdict::LaterTier));
}

#[test]
fn what_explain_calls_chosen_is_what_gets_the_job() {
    let mut lab = Lab::with_devices(&[slow(), AsicSpec::default(), slow()]);
    let mut late = secondary(2);
    late.bias_ns = 30_000;
    lab.grant(vec![own(1, 11), late, secondary(3)]);
    let key = key(1);
    for number in 0..200_u64 {
        let lens = vec![100 + 13 * number as usize % 1300; 1 + number as usize % 9];
        let task = sealing(&key, &lab.buffers, number * 64, &lens);
        let member = [None, Some(11), Some(12)][number as usize % 3];
        let shape = task.input.measure(Direction::Seal).unwrap();
        let memory = task.input.frames[0].len() + task.input.headers.len() + shape.dst_len;
        let asked = Ask {
            shape,
            memory: memory as u64,
            ..ask(&lab, member)
        };
        let chosen = verdicts(&lab, &lab.pool.with_key(&asked, &key))
            .into_iter()
            .find(|&(_, _, verdict)| verdict == Verdict::Chosen);
        let (_, engine) = lab.submit_for(&task, member).unwrap();
        if engine != WAITING {
            assert_eq!(chosen.map(|(engine, _, _)| engine), Some(engine.0));
        }
        if number % 20 == 0 {
            lab.run_for_ms(1);
            lab.done.clear();
        } else {
            lab.run_until(lab.now + esprit_packet::Time::from_micros(7));
        }
    }
}

#[test]
fn a_team_without_grants_has_no_candidates() {
    let lab = Lab::new();
    assert!(verdicts(&lab, &ask(&lab, None)).is_empty());
}

#[test]
fn health_is_a_verdict() {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    lab.pool.inject(EngineId(1), Fault::Hang);
    let task = sealing(&key(1), &lab.buffers, 0, &[1000]);
    lab.submit(&task).unwrap();
    lab.run_for_ms(5);
    let json = serde_json::to_value(lab.pool.explain(lab.now, TEAM, &ask(&lab, None))).unwrap();
    let words: Vec<_> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["verdict"])
        .collect();
    assert_eq!(words, ["hung", "chosen"]);
}

/// Always the last one, as long as there are two.
struct Last(Arc<Mutex<usize>>);

impl Placer for Last {
    fn place(&mut self, ask: &Ask, candidates: &[Candidate]) -> Option<EngineId> {
        assert_eq!(ask.algorithm, ALGORITHM);
        *self.0.lock().unwrap() += 1;
        let last = candidates.last()?;
        (candidates.len() > 1).then_some(last.engine)
    }
}

#[test]
fn a_placer_picks_among_those_that_may_and_have_room() {
    let mut lab = Lab::with_devices(&[slow(), AsicSpec::default(), slow(), slow()]);
    lab.grant(vec![secondary(1), secondary(2), secondary(3)]);
    let calls = Arc::new(Mutex::new(0));
    lab.pool.set_placer(Some(Box::new(Last(calls.clone()))));
    let task = sealing(&key(1), &lab.buffers, 0, &[1000]);
    let (ticket, engine) = lab.submit(&task).unwrap();
    assert_eq!(engine, EngineId(3), "four is not granted");
    lab.run_for_ms(1);
    assert_done(lab.end_of(ticket), &task);
    assert_eq!(*calls.lock().unwrap(), 1);
    lab.pool.set_placer(None);
    let other = sealing(&key(2), &lab.buffers, 0, &[1000]);
    assert_eq!(lab.submit(&other).unwrap().1, EngineId(1), "the cheapest");
}

#[test]
fn jobs_are_small_while_an_engine_is_idle_and_grow_with_its_queue() {
    let mut lab = Lab::with_devices(&[slow()]);
    let preferred = |lab: &Lab| {
        lab.pool
            .preferred_ops(TEAM, None, ALGORITHM, Direction::Seal)
    };
    let idle = preferred(&lab);
    assert!((1..=8).contains(&idle), "{idle}");
    let task = sealing(&key(1), &lab.buffers, 0, &[1400; 20]);
    lab.submit(&task).unwrap();
    let some = preferred(&lab);
    assert!((15..=25).contains(&some), "{some}");
    for _ in 0..4 {
        lab.submit(&task).unwrap();
    }
    assert_eq!(preferred(&lab), MAX_OPS);
    lab.run_for_ms(5);
    assert_eq!(preferred(&lab), idle);
    // For the processor itself a job costs more than a packet of it.
    lab.pool
        .admit(EngineId(9), admitted(Box::new(CpuInline::new())));
    lab.grant(vec![secondary(9)]);
    assert!(preferred(&lab) >= idle);
}

#[test]
fn the_class_of_the_use_is_told() {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    lab.grant(vec![own(1, 11), own(2, 12)]);
    let task = sealing(&key(1), &lab.buffers, 0, &[1000]);
    let tickets = [Some(11), None].map(|member| lab.submit_for(&task, member).unwrap().0);
    lab.run_for_ms(1);
    let classes = tickets.map(|ticket| match lab.end_of(ticket) {
        Done::Complete { class, .. } => *class,
        Done::Lost { .. } => panic!("lost"),
    });
    assert_eq!(classes, [Class::Primary, Class::Secondary]);
}

#[test]
fn as_many_engines_as_there_may_be_work_side_by_side() {
    let mut lab = Lab::with_devices(&vec![slow(); MAX_ENGINES]);
    let key = key(1);
    let tasks: Vec<_> = (0..MAX_ENGINES as u64)
        .map(|number| sealing(&key, &lab.buffers, number, &[1000]))
        .collect();
    let mut engines: Vec<u32> = tasks.iter().map(|t| lab.submit(t).unwrap().1.0).collect();
    engines.sort_unstable();
    assert_eq!(engines, (1..=MAX_ENGINES as u32).collect::<Vec<_>>());
    lab.run_for_ms(1);
    assert_eq!(lab.done.len(), MAX_ENGINES);
}

/// Two devices that take 8 µs a kilobyte and 50 µs for a key that they do not hold.
fn slots(each: u32) -> AsicSpec {
    AsicSpec {
        sa_slots: each,
        key_install_ns: 50_000,
        ..slow()
    }
}

#[test]
fn a_job_pays_for_its_key_once_and_goes_where_it_is_held() {
    let mut lab = Lab::with_devices(&[slots(8), slots(8)]);
    let (first, second) = (key(1), key(2));
    let task = sealing(&first, &lab.buffers, 0, &[1000]);
    let work = |lab: &Lab, key| -> Vec<u64> {
        let ask = lab.pool.with_key(&ask(lab, None), key);
        let all = lab.pool.explain(lab.now, TEAM, &ask);
        all.iter().map(|at| at.key_ns).collect()
    };
    let alone = work(&lab, &first);
    assert_eq!(alone, [50_000; 2]);
    assert_eq!(lab.submit(&task).unwrap().1, EngineId(1));
    let now = work(&lab, &first);
    assert_eq!(now, [0, 50_000], "it is there, and not there");
    lab.run_for_ms(1);
    // The engine that holds the key gets all jobs with it while it has less to do than the
    // other would need for the key; a job with a key that nobody holds takes the idle engine.
    let engines: Vec<u32> = (0..5).map(|_| lab.submit(&task).unwrap().1.0).collect();
    assert_eq!(engines, [1; 5]);
    let other = sealing(&second, &lab.buffers, 0, &[1000]);
    assert_eq!(lab.submit(&other).unwrap().1, EngineId(2));
    let engines: Vec<u32> = (0..12).map(|_| lab.submit(&task).unwrap().1.0).collect();
    assert!(engines.contains(&2), "{engines:?}");
    lab.run_for_ms(2);
    assert_eq!(work(&lab, &first), [0; 2], "paid for, on both");
}

#[test]
fn a_key_that_gave_way_is_paid_for_again() {
    let mut lab = Lab::with_devices(&[slots(2)]);
    let keys = [key(1), key(2), key(3)];
    for key in &keys {
        let task = sealing(key, &lab.buffers, 0, &[1000]);
        lab.submit(&task).unwrap();
        lab.run_for_ms(1);
    }
    let missing: Vec<bool> = keys
        .iter()
        .map(|key| {
            let asked = ask(&lab, None);
            let ask = lab.pool.with_key(&asked, key);
            lab.pool.explain(lab.now, TEAM, &ask)[0].key_ns > 0
        })
        .collect();
    assert_eq!(missing, [true, false, false]);
}

#[test]
fn a_key_counts_against_headroom_where_it_pushes_out_another_and_the_engine_is_at_work() {
    let verdict = |slots_each: u32, busy: bool| {
        let mut lab = Lab::with_devices(&[slots(slots_each)]);
        lab.grant(vec![Grant {
            headroom: Some(0.5),
            ..own(1, 11)
        }]);
        let member_s = key(1);
        let own = sealing(&member_s, &lab.buffers, 0, &[4000]);
        for _ in 0..4 {
            lab.submit_for(&own, Some(11)).unwrap();
            lab.run_for_ms(1);
        }
        if busy {
            let little = sealing(&member_s, &lab.buffers, 0, &[100]);
            lab.submit_for(&little, Some(11)).unwrap();
        }
        let stranger = lab.pool.with_key(&ask(&lab, None), &key(2));
        lab.pool.explain(lab.now, TEAM, &stranger)[0].verdict
    };
    assert_eq!(verdict(8, true), Verdict::Chosen);
    assert_eq!(verdict(1, true), Verdict::NoHeadroom);
    assert_eq!(
        verdict(1, false),
        Verdict::Chosen,
        "nobody would be served meanwhile"
    );
}

#[test]
fn an_engine_that_is_late_gets_little_more_before_it_counts_as_hung() {
    let mut lab = Lab::with_devices(&[slow(), slow()]);
    let task = sealing(&key(1), &lab.buffers, 0, &[1000]);
    lab.pool.inject(EngineId(1), Fault::Hang);
    let mut given = 0;
    // A job every 20 µs for 1.8 ms: each engine could do all of them alone.
    for _ in 0..90 {
        given += u32::from(lab.submit(&task).unwrap().1 == EngineId(1));
        lab.run_until(lab.now + esprit_packet::Time::from_micros(20));
    }
    let health = lab.snapshot(1).health;
    assert_eq!(health, esprit_crypto::Health::Ok, "not yet hung");
    assert!((1..=4).contains(&given), "{given} of 90");
}

#[test]
fn an_engine_gets_no_job_of_an_sa_that_needs_what_it_lacks() {
    let short = AsicSpec {
        esn: false,
        ..AsicSpec::default()
    };
    let narrow = AsicSpec {
        max_replay_window: 1024,
        ..AsicSpec::default()
    };
    // The slow one has everything; it is the dearest of the three.
    let mut lab = Lab::with_devices(&[short.clone(), narrow.clone(), slow()]);
    for (needs, able) in [
        (Needs::default(), [true, true, true]),
        (needs(true, 0), [false, true, true]),
        (needs(false, 1024), [true, true, true]),
        (needs(false, 1025), [true, false, true]),
        (needs(true, 8192), [false, false, true]),
    ] {
        let key = AeadKey::for_sa(ALGORITHM, &[1; 16], needs).unwrap();
        let asked = lab.pool.with_key(&ask(&lab, None), &key);
        let said: Vec<bool> = verdicts(&lab, &asked)
            .into_iter()
            .map(|(_, _, verdict)| verdict != Verdict::NotAble)
            .collect();
        assert_eq!(said, able, "{needs:?}");
        // More than the first of them would do before the others are cheaper.
        for number in 0..30 {
            let task = sealing(&key, &lab.buffers, number * 8, &[1000; 8]);
            let (_, engine) = lab.submit(&task).unwrap();
            assert!(
                engine != WAITING && able[engine.0 as usize - 1],
                "{needs:?}"
            );
        }
        lab.run_for_ms(10);
    }
    // Where the one that has it all fails, its job waits and goes to neither of the others.
    let key = AeadKey::for_sa(ALGORITHM, &[1; 16], needs(true, 8192)).unwrap();
    let jobs = |lab: &Lab| -> Vec<u64> {
        let all = lab.pool.snapshot(lab.now);
        all[..2].iter().map(|at| at.counters.jobs).collect()
    };
    let before = jobs(&lab);
    lab.pool.inject(EngineId(3), Fault::Die);
    let task = sealing(&key, &lab.buffers, 300, &[1000]);
    lab.submit(&task).unwrap();
    lab.done.clear();
    lab.run_for_ms(100);
    assert!(lab.done.is_empty() && jobs(&lab) == before);
    // A member's own engine that lacks it is no primary use.
    lab.grant(vec![own(1, 11), secondary(2)]);
    let refused = lab.submit_for(&task, Some(11)).unwrap_err();
    assert_eq!(refused, Reject::NoEngine);
}

fn needs(esn: bool, replay_window: u32) -> Needs {
    Needs { esn, replay_window }
}
