//! Applications' tasks through the worker that ships, on its own thread.

use std::sync::Arc;

use esprit_crypto::engines::asic::Asic;
use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::engines::cpu::{CpuInline, CpuThreads};
use esprit_crypto::{
    AeadKey, Algorithm, Direction, Engine, EngineId, Fault, Grant, Grants, Wake, verify,
};
use esprit_datapath::application::{Failure, LoadSpec, MAX_MESSAGE, Message, Requester, load};
use esprit_datapath::{Command, EventFd, Events, Worker, WorkerThread, monotonic};
use esprit_packet::Pool as Buffers;
use proptest::prelude::*;

struct Plane {
    thread: Arc<WorkerThread>,
    wake: Arc<EventFd>,
}

impl Plane {
    fn new(engines: &[u32]) -> Self {
        let wake = Arc::new(EventFd::new().unwrap());
        let events = Events::new(Arc::new(EventFd::new().unwrap()));
        let pool = esprit_crypto::Pool::new(wake.clone());
        let worker = Worker::new(Buffers::new(1024, 768), pool, events.clone());
        let thread = Arc::new(WorkerThread::start(worker, events, wake.clone()).unwrap());
        let grants = Grants {
            engines: engines.iter().map(|&engine| grant(engine)).collect(),
            spill_ns: [2_000_000, 20_000_000, 20_000_000],
            verify_every: 0,
        };
        thread
            .call(Command::Applications(Box::new(grants)))
            .unwrap();
        Self { thread, wake }
    }

    fn admit(&self, id: u32, make: impl FnOnce(Arc<dyn Wake>) -> Box<dyn Engine>) {
        let engine = make(self.wake.clone());
        let verified = verify(engine, &monotonic, &|_| std::thread::yield_now()).unwrap();
        self.thread
            .call(Command::EngineAdmit(EngineId(id), verified))
            .unwrap();
    }

    fn asic(&self, id: u32, spec: AsicSpec) {
        self.admit(id, |wake| Box::new(Asic::new(&spec, wake).unwrap()));
    }

    fn fault(&self, id: u32, fault: Fault) {
        self.thread
            .call(Command::EngineFault(EngineId(id), fault))
            .unwrap();
    }
}

fn grant(engine: u32) -> Grant {
    Grant {
        seal: true,
        open: true,
        application: Some(0),
        ..Grant::none(engine)
    }
}

fn key(algorithm: Algorithm) -> Arc<AeadKey> {
    AeadKey::new(algorithm, &[7; 32][..algorithm.key_len()]).unwrap()
}

fn nonce(number: usize) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&(number as u64).to_be_bytes());
    nonce
}

fn messages<'a>(all: &'a [(Vec<u8>, Vec<u8>)]) -> Vec<Message<'a>> {
    all.iter()
        .enumerate()
        .map(|(number, (aad, data))| Message {
            nonce: nonce(number),
            aad,
            data,
        })
        .collect()
}

#[test]
fn what_was_sealed_opens_to_what_it_was_and_forgeries_are_found_one_by_one() {
    let plane = Plane::new(&[1, 2]);
    plane.admit(1, |_| Box::new(CpuInline::new()));
    plane.asic(2, AsicSpec::default());
    let requester = Requester::new(&plane.thread);
    let lens = [0, 1, 64, 1400, 9000, MAX_MESSAGE, MAX_MESSAGE + 1, 200_000];
    let plain: Vec<(Vec<u8>, Vec<u8>)> = (0..200)
        .map(|n| (vec![n as u8; n * 31 % 5000], vec![n as u8; lens[n % 8]]))
        .collect();
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        let sealed = requester
            .run(&key, Direction::Seal, &messages(&plain))
            .unwrap();
        let mut sealed: Vec<(Vec<u8>, Vec<u8>)> = sealed
            .into_iter()
            .zip(&plain)
            .map(|(sealed, (aad, _))| (aad.clone(), sealed.unwrap()))
            .collect();
        for (number, (_, data)) in sealed.iter_mut().enumerate() {
            if number % 3 == 0 {
                data[0] ^= 1;
            }
        }
        sealed[1].1.truncate(7);
        let opened = requester
            .run(&key, Direction::Open, &messages(&sealed))
            .unwrap();
        for (number, opened) in opened.into_iter().enumerate() {
            let forged = number % 3 == 0 || number == 1;
            let want = (!forged).then(|| plain[number].1.clone());
            assert!(opened == want, "{algorithm:?} {number}");
        }
    }
    let seen = requester.statistics();
    assert_eq!(seen.in_flight, 0);
    assert!(seen.own_messages > 0 && seen.messages > seen.own_messages);
}

#[test]
fn without_an_engine_the_answer_is_no() {
    let plane = Plane::new(&[]);
    let requester = Requester::new(&plane.thread);
    let one = [(Vec::new(), vec![1; 10])];
    let failed = requester.run(
        &key(Algorithm::Aes128Gcm16),
        Direction::Seal,
        &messages(&one),
    );
    assert_eq!(failed.unwrap_err(), Failure::NoEngine);
    assert_eq!(requester.statistics().in_flight, 0);
}

#[test]
fn what_comes_while_the_only_engine_is_out_waits_for_it() {
    let plane = Plane::new(&[1]);
    plane.admit(1, |_| Box::new(CpuInline::new()));
    let requester = Requester::new(&plane.thread);
    let one = [(Vec::new(), vec![1; 10])];
    let key = key(Algorithm::Aes128Gcm16);
    let seal = || requester.run(&key, Direction::Seal, &messages(&one));
    let before = seal().unwrap();
    plane
        .thread
        .call(Command::EngineRemove(EngineId(1)))
        .unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(seal);
        while requester.statistics().in_flight == 0 {
            std::thread::yield_now();
        }
        plane.admit(1, |_| Box::new(CpuInline::new()));
        assert_eq!(waits.join().unwrap().unwrap(), before);
    });
    assert_eq!(requester.statistics().in_flight, 0);
}

#[test]
fn after_the_end_of_the_data_plane_the_answer_is_no() {
    let plane = Plane::new(&[1]);
    let requester = Requester::new(&plane.thread);
    drop(plane);
    let one = [(Vec::new(), vec![1; 10])];
    let failed = requester.run(
        &key(Algorithm::Aes128Gcm16),
        Direction::Seal,
        &messages(&one),
    );
    assert_eq!(failed.unwrap_err(), Failure::Stopped);
}

#[test]
fn more_than_engines_and_room_hold_waits_and_is_not_lost() {
    let plane = Plane::new(&[1]);
    // 100 Mbit/s and half a millisecond of queue: one job of 64 KiB is more than it holds.
    plane.asic(
        1,
        AsicSpec {
            rate_bps: 100_000_000,
            queue_ns: 500_000,
            ..AsicSpec::default()
        },
    );
    let requester = Arc::new(Requester::with_room(&plane.thread, 3));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let requester = requester.clone();
            std::thread::spawn(move || {
                let plain: Vec<_> = (0..40)
                    .map(|n| (vec![thread], vec![n; 100 + 1000 * usize::from(n % 3)]))
                    .collect();
                let key = key(Algorithm::Aes256Gcm16);
                let messages = messages(&plain);
                let many = requester.run(&key, Direction::Seal, &messages).unwrap();
                for (message, many) in messages.iter().zip(many) {
                    let one = core::slice::from_ref(message);
                    let alone = requester.run(&key, Direction::Seal, one).unwrap();
                    assert!(alone[0] == many && many.is_some());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let seen = requester.statistics();
    assert_eq!((seen.in_flight, seen.messages), (0, 4 * 80));
    assert!(seen.waits > 0);
}

#[test]
fn an_engine_that_dies_or_hangs_loses_no_task() {
    for fault in [Fault::Die, Fault::Hang] {
        let plane = Plane::new(&[1, 2]);
        plane.asic(1, AsicSpec::default());
        plane.admit(2, |wake| Box::new(CpuThreads::new(1, wake).unwrap()));
        let requester = Arc::new(Requester::new(&plane.thread));
        let other = requester.clone();
        let working = std::thread::spawn(move || {
            let plain: Vec<_> = (0..4000).map(|n| (vec![], vec![n as u8; 1000])).collect();
            let key = key(Algorithm::Aes128Gcm16);
            other.run(&key, Direction::Seal, &messages(&plain)).unwrap()
        });
        while requester.statistics().messages < 400 {
            std::thread::yield_now();
        }
        plane.fault(1, fault);
        let sealed = working.join().unwrap();
        assert!(
            sealed
                .iter()
                .all(|one| one.as_ref().is_some_and(|s| s.len() == 1016))
        );
    }
}

#[test]
fn a_load_says_who_did_how_much() {
    let plane = Plane::new(&[1, 2]);
    for (id, rate_bps) in [(1, 200_000_000), (2, 100_000_000)] {
        plane.asic(
            id,
            AsicSpec {
                rate_bps,
                ns_per_packet: 0,
                ..AsicSpec::default()
            },
        );
    }
    let requester = Requester::new(&plane.thread);
    for direction in Direction::ALL {
        let spec = LoadSpec {
            direction,
            size: 1400,
            seconds: 0.3,
            rate_bps: None,
            packets: Some(8),
            window: None,
        };
        let report = load(&requester, &key(Algorithm::Aes128Gcm16), &spec, &monotonic).unwrap();
        assert_eq!((report.lost, report.bad), (0, 0));
        assert_eq!(report.engines.len(), 2, "{report:?}");
        let done: u64 = report.engines.values().map(|engine| engine.bytes).sum();
        assert_eq!(done, report.bytes);
        assert!(report.latency_p50_ns <= report.latency_p99_ns);
        assert!(report.engines[&1].bytes > report.engines[&2].bytes);
    }
    // A rate below what the engines manage is kept, not exceeded.
    let spec = LoadSpec {
        direction: Direction::Seal,
        size: 1000,
        seconds: 0.2,
        rate_bps: Some(8_000_000),
        packets: Some(1),
        window: None,
    };
    let report = load(
        &requester,
        &key(Algorithm::ChaCha20Poly1305),
        &spec,
        &monotonic,
    )
    .unwrap();
    assert!((1..=202).contains(&report.messages), "{report:?}");
    assert_eq!(requester.statistics().in_flight, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_order_of_a_request_is_the_order_of_its_answers(
        lens in proptest::collection::vec(0_usize..30_000, 0..100)
    ) {
        let plane = Plane::new(&[1]);
        plane.admit(1, |_| Box::new(CpuInline::new()));
        let requester = Requester::new(&plane.thread);
        let plain: Vec<_> = lens.iter().map(|&len| (vec![], vec![len as u8; len])).collect();
        let key = key(Algorithm::Aes256Gcm16);
        let sealed = requester.run(&key, Direction::Seal, &messages(&plain)).unwrap();
        let sealed: Vec<_> = sealed.into_iter().map(|s| (vec![], s.unwrap())).collect();
        let opened = requester.run(&key, Direction::Open, &messages(&sealed)).unwrap();
        for (opened, (_, plain)) in opened.into_iter().zip(&plain) {
            prop_assert!(opened.as_ref() == Some(plain));
        }
    }
}
