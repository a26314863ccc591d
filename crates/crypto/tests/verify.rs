//! What an engine has to show before it is in the pool, and what it loses where it does not.

mod support;

use std::cell::Cell;

use esprit_crypto::engines::asic::AsicStepped;
use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::engines::cpu::CpuInline;
use esprit_crypto::{
    Algorithm, Capabilities, Direction, Engine, EngineId, Fault, Job, Reject, Verified, verify,
};
use esprit_packet::Time;
use support::{Lab, admitted, assert_done, key, opening, sealing, secondary};

/// How a device is wrong.
#[derive(Clone, Copy)]
enum Flaw {
    /// Every opened packet is said to be forged.
    Opening,
    /// The last byte of outputs longer than this.
    Long(usize),
    /// The last operation of a job of as many as there may be.
    Last,
    /// AES-128 alone.
    Algorithm,
    /// It writes over what lies between outputs and into what comes behind.
    Gaps,
}

struct Flawed(Box<AsicStepped>, Flaw);

impl Engine for Flawed {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    fn submit(&mut self, now: Time, job: Job) -> Result<(), Job> {
        self.0.submit(now, job)
    }

    fn poll(&mut self, now: Time, out: &mut Vec<Job>) {
        let from = out.len();
        self.0.poll(now, out);
        for job in &mut out[from..] {
            let all = job.all();
            let last = job.input.ops.len() - 1;
            let op = job.input.ops[last];
            let end = op.dst as usize + op.out_len(job.direction);
            match self.1 {
                Flaw::Opening if job.direction == Direction::Open => job.bad_icv = all,
                Flaw::Long(len) if job.dst.len() > len => job.dst.data_mut()[end - 1] ^= 1,
                Flaw::Last if last == 63 && end > 0 => job.dst.data_mut()[end - 1] ^= 1,
                Flaw::Algorithm if job.key.algorithm() == Algorithm::Aes128Gcm16 => {
                    job.failed = all;
                }
                Flaw::Gaps if op.dst > 3 && last > 0 => job.dst.data_mut()[op.dst as usize] ^= 1,
                Flaw::Opening | Flaw::Long(_) | Flaw::Last | Flaw::Algorithm | Flaw::Gaps => {}
            }
        }
    }

    fn reset(&mut self, now: Time) {
        self.0.reset(now);
    }

    fn next(&self) -> Option<Time> {
        self.0.next()
    }
}

fn flawed(flaw: Flaw) -> Result<Verified, esprit_crypto::Refused> {
    let device = Box::new(AsicStepped::new(&AsicSpec::default()).unwrap());
    let now = Cell::new(0);
    let idle = |_| now.set(now.get() + 1000);
    verify(Box::new(Flawed(device, flaw)), &|| Time(now.get()), &idle)
}

#[test]
fn each_algorithm_and_direction_is_tested_and_says_with_what() {
    let verified = admitted(Box::new(CpuInline::new()));
    assert_eq!(verified.tests().len(), 2 * Algorithm::ALL.len());
    for test in verified.tests() {
        assert!(test.passed);
        assert!(
            test.evidence.contains("another implementation"),
            "{}",
            test.evidence
        );
        assert!(
            verified
                .rates()
                .get(test.algorithm, test.direction)
                .is_some()
        );
    }
    let json = serde_json::to_value(verified.tests()).unwrap();
    assert_eq!(json[1]["direction"], "open");
    assert_eq!(json[1]["passed"], true);
}

#[test]
fn what_it_cannot_open_it_may_still_seal() {
    let verified = flawed(Flaw::Opening).expect("it seals well");
    for test in verified.tests() {
        assert_eq!(
            test.passed,
            test.direction == Direction::Seal,
            "{}",
            test.evidence
        );
        let rate = verified.rates().get(test.algorithm, test.direction);
        assert_eq!(rate.is_some(), test.passed);
    }
    let mut lab = Lab::new();
    lab.pool.admit(EngineId(1), verified);
    lab.grant(vec![secondary(1)]);
    let seal = sealing(&key(1), &lab.buffers, 0, &[100]);
    let open = opening(&key(1), &lab.buffers, 0, &[100], 0);
    assert_eq!(lab.submit(&open), Err(Reject::NoEngine));
    let (ticket, _) = lab.submit(&seal).unwrap();
    lab.run_for_ms(1);
    assert_done(lab.end_of(ticket), &seal);
}

#[test]
fn one_algorithm_less_is_no_refusal() {
    let verified = flawed(Flaw::Algorithm).expect("it knows others");
    let passed = verified.tests().iter().filter(|test| test.passed).count();
    assert_eq!(passed, 2 * (Algorithm::ALL.len() - 1));
}

#[test]
fn edges_are_found() {
    for (flaw, word) in [
        (Flaw::Long(20_000), "bytes: operation"),
        (Flaw::Last, "64 operations"),
        (Flaw::Gaps, "wrong"),
    ] {
        let refused = flawed(flaw).expect_err("it was admitted");
        assert!(refused.evidence.contains(word), "{}", refused.evidence);
        assert!(refused.tests.iter().all(|test| !test.passed));
    }
}

#[test]
fn one_that_does_not_answer_is_asked_no_more() {
    let mut device = AsicStepped::new(&AsicSpec::default()).unwrap();
    device.inject(Fault::Late { by: 2_000_000_000 });
    let now = Cell::new(0);
    let idle = |_| now.set(now.get() + 1000);
    let refused = verify(Box::new(device), &|| Time(now.get()), &idle).expect_err("admitted");
    assert_eq!(refused.tests.len(), 1);
    assert!(refused.evidence.starts_with("aes-128-gcm-16 seal: "));
}

/// Verifies in a time of which as much passes as the test may wait; answers how often it looked.
fn looked(device: AsicStepped) -> (Result<Verified, esprit_crypto::Refused>, u32) {
    let (now, looks) = (Cell::new(0), Cell::new(0));
    let idle = |span: Time| {
        looks.set(looks.get() + 1);
        now.set(now.get() + span.0.max(1000));
    };
    let result = verify(Box::new(device), &|| Time(now.get()), &idle);
    (result, looks.get())
}

#[test]
fn one_that_is_slow_or_silent_is_not_watched_all_the_time() {
    let mut silent = AsicStepped::new(&AsicSpec::default()).unwrap();
    silent.inject(Fault::Late { by: 2_000_000_000 });
    let (refused, looks) = looked(silent);
    assert!(refused.is_err());
    assert!(looks < 2_000, "a million microseconds, {looks} looks");

    let spec = AsicSpec {
        rate_bps: 20_000_000,
        ns_per_packet: 0,
        ..AsicSpec::default()
    };
    let (verified, _) = looked(AsicStepped::new(&spec).unwrap());
    for line in verified.expect("refused").rates().lines() {
        let ns = line.rate.ns_per_byte;
        assert!((400.0..404.0).contains(&ns), "{ns} ns for each byte");
    }
}

#[test]
fn the_time_to_install_a_key_is_measured() {
    let spec = AsicSpec {
        key_install_ns: 50_000,
        ..AsicSpec::default()
    };
    let verified = support::device(&spec);
    let evidence = &verified.tests()[0].evidence;
    assert!(evidence.ends_with("a new key takes 50000 ns"), "{evidence}");
}
