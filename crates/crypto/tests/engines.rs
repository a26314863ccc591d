//! Every engine against the processor's, in real time where it has threads of its own.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use esprit_crypto::engines::asic::{Asic, AsicStepped};
use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::engines::cpu::{CpuInline, CpuThreads};
use esprit_crypto::{Algorithm, Direction, Engine, Fault, Job, Wake, verify};
use esprit_packet::{Pool as Buffers, Time};
use proptest::prelude::*;
use support::{Silent, Task, admitted, key, opening, sealing};

/// Counts, and lets a test sleep until it is woken.
struct Bell {
    count: AtomicU64,
    ring: mpsc::SyncSender<()>,
}

impl Wake for Bell {
    fn wake(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let _ = self.ring.try_send(());
    }
}

fn bell() -> (Arc<Bell>, mpsc::Receiver<()>) {
    let (ring, heard) = mpsc::sync_channel(1);
    let count = AtomicU64::new(0);
    (Arc::new(Bell { count, ring }), heard)
}

fn clock() -> impl Fn() -> Time {
    let origin = Instant::now();
    move || Time(origin.elapsed().as_nanos() as u64)
}

fn job(task: &Task, buffers: &Buffers, ticket: u64) -> Job {
    let mut dst = buffers.get(task.want.len()).expect("no buffer");
    dst.set_len(task.want.len());
    dst.data_mut().fill(0xa5);
    Job {
        ticket,
        key: task.key.clone(),
        direction: task.direction,
        input: task.input.clone(),
        dst,
        attempt: 0,
        bad_icv: 0,
        failed: 0,
    }
}

/// Has an engine do all tasks at once, woken by its bell alone.
fn do_all(engine: &mut dyn Engine, heard: &mpsc::Receiver<()>, tasks: &[Task]) {
    let buffers = Buffers::new(256, 64);
    for (ticket, task) in (0..).zip(tasks) {
        let refused = engine.submit(Time::ZERO, job(task, &buffers, ticket));
        assert!(refused.is_ok(), "full at {ticket}");
    }
    let mut back = Vec::new();
    while back.len() < tasks.len() {
        // A missed wake-up would end here: nothing else makes this thread look.
        heard
            .recv_timeout(Duration::from_secs(20))
            .expect("it was not woken");
        engine.poll(Time::ZERO, &mut back);
    }
    for job in back {
        let task = &tasks[job.ticket as usize];
        assert_eq!(job.dst.data(), &task.want[..]);
        assert_eq!((job.bad_icv, job.failed), (task.bad_icv, 0));
    }
}

fn tasks(buffers: &Buffers) -> Vec<Task> {
    (0..40)
        .map(|number| {
            let lens = [number as usize * 37, 1400, 1];
            if number % 3 == 0 {
                opening(&key(1), buffers, number * 64, &lens, number)
            } else {
                sealing(&key((number % 5) as u8), buffers, number * 64, &lens)
            }
        })
        .collect()
}

#[test]
fn threads_do_what_the_worker_would_do() {
    let (bell, heard) = bell();
    let mut engine = CpuThreads::new(2, bell).unwrap();
    let buffers = Buffers::new(256, 64);
    let tasks = tasks(&buffers);
    do_all(&mut engine, &heard, &tasks);
    do_all(&mut engine, &heard, &tasks);
}

#[test]
fn the_simulated_device_does_too_and_wakes_once_for_many() {
    let (bell, heard) = bell();
    let spec = AsicSpec {
        sa_slots: 2,
        ..AsicSpec::default()
    };
    let mut engine = Asic::new(&spec, bell.clone()).unwrap();
    let buffers = Buffers::new(256, 64);
    let tasks = tasks(&buffers);
    do_all(&mut engine, &heard, &tasks);
    assert!(bell.count.load(Ordering::Relaxed) <= tasks.len() as u64);
}

#[test]
fn a_dead_device_says_nothing_until_it_is_reset() {
    let (bell, heard) = bell();
    let mut engine = Asic::new(&AsicSpec::default(), bell).unwrap();
    let buffers = Buffers::new(256, 64);
    let task = sealing(&key(1), &buffers, 0, &[100]);
    assert!(engine.inject(Fault::Die));
    for ticket in 0..10 {
        engine
            .submit(Time::ZERO, job(&task, &buffers, ticket))
            .unwrap();
    }
    engine.reset(Time::ZERO);
    // Jobs from before the reset are gone; those after it are done.
    do_all(&mut engine, &heard, std::slice::from_ref(&task));
    drop(engine);
    drop(task);
    // The device's thread drops what it still has when it ends.
    let start = Instant::now();
    while buffers.in_use() != (0, 0) {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "a buffer stayed somewhere"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_dead_device_s_thread_still_says_that_it_runs() {
    let (bell, _heard) = bell();
    let mut engine = Asic::new(&AsicSpec::default(), bell).unwrap();
    let buffers = Buffers::new(4, 0);
    engine.inject(Fault::Die);
    let task = sealing(&key(1), &buffers, 0, &[100]);
    engine.submit(Time::ZERO, job(&task, &buffers, 0)).unwrap();
    for _ in 0..2 {
        assert!(engine.starved(), "it answers only when it has been asked");
        let start = Instant::now();
        while engine.starved() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "it does not answer"
            );
            std::thread::yield_now();
        }
    }
    assert!(CpuThreads::new(1, Arc::new(Silent)).unwrap().starved());
}

#[test]
fn all_engines_pass_their_tests_in_real_time() {
    let engines: [Box<dyn Engine>; 3] = [
        Box::new(CpuInline::new()),
        Box::new(CpuThreads::new(1, Arc::new(Silent)).unwrap()),
        Box::new(Asic::new(&AsicSpec::default(), Arc::new(Silent)).unwrap()),
    ];
    for engine in engines {
        let kind = engine.capabilities().kind;
        let verified = verify(engine, &clock(), &|_| std::thread::yield_now());
        let verified = verified.unwrap_or_else(|refused| panic!("{kind:?}: {refused}"));
        assert_eq!(verified.rates().iter().count(), 2 * Algorithm::ALL.len());
    }
}

#[test]
fn measured_rates_are_the_devices_own() {
    let spec = AsicSpec {
        rate_bps: 2_000_000_000,
        ns_per_packet: 300,
        latency_ns: 50_000,
        ..AsicSpec::default()
    };
    let verified = support::device(&spec);
    for (_, _, rate) in verified.rates().iter() {
        // Looked at once a microsecond, so measured within that.
        assert!((rate.ns_per_byte - 4.0).abs() < 0.1, "{rate:?}");
        assert!((rate.ns_per_packet - 300.0).abs() < 40.0, "{rate:?}");
        assert!((rate.latency_ns - 50_000.0).abs() < 2_000.0, "{rate:?}");
    }
}

#[test]
fn an_engine_that_computes_wrongly_is_refused_with_evidence() {
    for every in [1, 2, 7] {
        let mut engine = Box::new(AsicStepped::new(&AsicSpec::default()).unwrap());
        engine.inject(Fault::Wrong { every });
        let refused = refuse(engine);
        assert!(refused.starts_with("aes-128-gcm-16 seal: "), "{refused}");
    }
    let mut engine = Box::new(AsicStepped::new(&AsicSpec::default()).unwrap());
    engine.inject(Fault::Late { by: 2_000_000_000 });
    assert!(refuse(engine).contains("0 were back after 100"));
}

fn refuse(engine: Box<dyn Engine>) -> String {
    let now = std::cell::Cell::new(0);
    let idle = |_| now.set(now.get() + 1000);
    match verify(engine, &|| Time(now.get()), &idle) {
        Ok(_) => panic!("it was admitted"),
        Err(refused) => refused.evidence,
    }
}

#[test]
fn a_device_that_died_is_revived_by_its_next_verification() {
    let mut engine = Box::new(AsicStepped::new(&AsicSpec::default()).unwrap());
    engine.inject(Fault::Die);
    admitted(engine);
}

#[test]
fn unverified_plaintext_and_unsealed_text_do_not_leave_an_engine() {
    let buffers = Buffers::new(8, 2);
    let task = opening(&key(1), &buffers, 0, &[500, 500], 0b10);
    let mut engine = CpuInline::new();
    engine.submit(Time::ZERO, job(&task, &buffers, 1)).unwrap();
    let mut back = Vec::new();
    engine.poll(Time::ZERO, &mut back);
    assert_eq!(back[0].bad_icv, 0b10);
    let len = task.input.ops[0].out_len(Direction::Open);
    assert!(back[0].dst.data()[len..].iter().all(|&byte| byte == 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sealed_is_opened_again(
        lens in prop::collection::vec(0_usize..3000, 1..12),
        first in any::<u32>(),
        forged in any::<u64>(),
    ) {
        let buffers = Buffers::new(64, 16);
        let sealed = sealing(&key(1), &buffers, first.into(), &lens);
        let opened = opening(&key(1), &buffers, first.into(), &lens, forged);
        let all = u64::MAX >> (64 - lens.len());
        prop_assert_eq!(opened.bad_icv, forged & all);
        // head ‖ body ‖ tail, as they were put in.
        let frame = sealed.input.frames[0].data();
        for (index, (op, source)) in opened.input.ops.iter().zip(&sealed.input.ops).enumerate() {
            if opened.bad_icv & (1 << index) == 0 {
                let got = &opened.want[op.dst as usize..][..op.out_len(Direction::Open)];
                let body = &frame[source.body.0 as usize..source.body.1 as usize];
                prop_assert_eq!(&got[..20], &sealed.input.headers[16..36]);
                prop_assert_eq!(&got[20..20 + body.len()], body);
                prop_assert_eq!(&got[20 + body.len()..], &sealed.input.headers[36..40]);
            }
        }
    }
}

/// How long a device takes for one packet now, in virtual time.
fn span(engine: &mut AsicStepped, buffers: &Buffers, now: &mut Time) -> Option<u64> {
    let task = sealing(&key(7), buffers, 0, &[1000]);
    // The key is there from the second job on.
    let start = *now;
    engine.submit(start, job(&task, buffers, 1)).unwrap();
    let at = engine.next()?;
    *now = at;
    let mut back = Vec::new();
    engine.poll(at, &mut back);
    assert_eq!(back.len(), 1);
    Some(at.since(start).0)
}

#[test]
fn a_device_sags_sticks_and_gathers_until_it_heals() {
    let spec = AsicSpec {
        rate_bps: 1_000_000_000,
        latency_ns: 1_000,
        key_install_ns: 0,
        ..AsicSpec::default()
    };
    let mut engine = AsicStepped::new(&spec).unwrap();
    let (buffers, mut now) = (Buffers::new(16, 0), Time(5));
    let well = span(&mut engine, &buffers, &mut now).unwrap();
    engine.inject(Fault::Sag { percent: 10 });
    let slow = span(&mut engine, &buffers, &mut now).unwrap();
    assert_eq!(slow - 1_000, 10 * (well - 1_000));
    engine.inject(Fault::Heal);
    engine.inject(Fault::Coalesce { ns: 70_000 });
    assert_eq!(span(&mut engine, &buffers, &mut now), Some(well + 70_000));
    engine.inject(Fault::Heal);
    engine.inject(Fault::Stick);
    assert_eq!(span(&mut engine, &buffers, &mut now), None);
    engine.inject(Fault::Heal);
    assert!(engine.next().is_some());
}

#[test]
fn a_stuck_queue_still_gives_back_what_was_in_work() {
    let mut engine = AsicStepped::new(&AsicSpec::default()).unwrap();
    let buffers = Buffers::new(16, 0);
    let task = sealing(&key(7), &buffers, 0, &[1000]);
    engine.submit(Time(1), job(&task, &buffers, 1)).unwrap();
    engine.inject(Fault::Stick);
    engine.submit(Time(2), job(&task, &buffers, 2)).unwrap();
    let mut back = Vec::new();
    engine.poll(Time::NEVER, &mut back);
    assert_eq!(back.len(), 1);
    assert_eq!((back[0].ticket, engine.next()), (1, None));
    engine.reset(Time(3));
    engine.submit(Time(4), job(&task, &buffers, 3)).unwrap();
    assert!(engine.next().is_some(), "a reset clears the queue");
}
