//! A saturated pool gives all that its engines have, whatever their rates and the packets' lengths.

mod support;

use esprit_crypto::EngineId;
use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_packet::Time;
use support::{Lab, Task, device, key, sealing, secondary};

/// How long it is kept saturated, and from when on it is measured, when its queues are full.
const SPAN: Time = Time(25_000_000);
const FROM: Time = Time(7_000_000);

/// Engines of rates up to 1:100, in an order of no meaning.
fn spec(number: usize, engines: usize) -> AsicSpec {
    let share = if engines == 1 {
        0.0
    } else {
        (number * 7 % engines) as f64 / (engines - 1) as f64
    };
    AsicSpec {
        rate_bps: (10_000_000_000.0 / 100_f64.powf(share)) as u64,
        ..AsicSpec::default()
    }
}

/// The throughput as a share of the sum of the rates, and measured by predicted time to completion.
fn share(engines: usize, lens: &[Vec<usize>]) -> (f64, f64) {
    let specs: Vec<AsicSpec> = (0..engines).map(|number| spec(number, engines)).collect();
    let mut lab = Lab::new();
    for (number, spec) in (1..).zip(&specs) {
        lab.pool.admit(EngineId(number), device(spec));
    }
    lab.grant((1..=engines as u32).map(secondary).collect());
    let start = lab.now;
    let tasks: Vec<Task> = (0..)
        .zip(lens)
        .map(|(number, lens)| sealing(&key(1), &lab.buffers, number * 64, lens))
        .collect();
    let mut turn = 0;
    let mut since = std::collections::BTreeMap::new();
    let mut late: Vec<f64> = Vec::new();
    let (mut before, mut at) = ((0, 0), start);
    while lab.now.since(start) < SPAN {
        // As much as is taken, so that something always waits.
        loop {
            let task = &tasks[turn % tasks.len()];
            let expected = engines == 1;
            match lab.submit(task) {
                Ok((ticket, engine)) => {
                    if expected && engine == EngineId(1) {
                        let backlog = lab.snapshot(1).backlog_ns + specs[0].latency_ns;
                        since.insert(ticket, (lab.now, backlog));
                    }
                    turn += 1;
                }
                Err(_) => break,
            }
        }
        lab.poll();
        for done in lab.done.drain(..) {
            if let Some((since, backlog)) = since.remove(&support::ticket_of(&done)) {
                late.push(lab.now.since(since).0 as f64 / backlog.max(1) as f64);
            }
        }
        if before.0 == 0 && lab.now.since(start) >= FROM {
            before = given(&lab, engines);
            at = lab.now;
        }
        let next = lab.pool.timeout().expect("it has stopped");
        lab.now = lab.now.max(next);
    }
    let span = lab.now.since(at).0 as f64;

    let after = given(&lab, engines);
    let (packets, bytes) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
    let mean = late.iter().sum::<f64>() / late.len().max(1) as f64;
    (bytes / span / rates(&specs, bytes / packets), mean)
}

/// Packets and bytes that the engines have been given; their queues are as full at one time as at
/// another.
fn given(lab: &Lab, engines: usize) -> (u64, u64) {
    (1..=engines as u32)
        .map(|engine| lab.snapshot(engine).counters)
        .fold((0, 0), |sum, at| (sum.0 + at.packets, sum.1 + at.bytes))
}

/// Bytes a nanosecond that the engines do together, of packets of `len` bytes in the mean.
fn rates(specs: &[AsicSpec], len: f64) -> f64 {
    let rate =
        |spec: &AsicSpec| len / (len * 8e9 / spec.rate_bps as f64 + spec.ns_per_packet as f64);
    specs.iter().map(rate).sum()
}

#[test]
fn all_that_the_engines_have_is_used() {
    let traffics = [
        ("64 B", vec![vec![64; 32]]),
        ("1400 B", vec![vec![1400; 32]]),
        (
            "mixed",
            vec![vec![64; 16], vec![1400; 40], vec![576; 3], vec![1400]],
        ),
    ];
    for engines in [1, 2, 8, 64] {
        for (name, lens) in &traffics {
            let (share, late) = share(engines, lens);
            println!("{engines:2} engines, {name:6}: {share:.4} of their rates");
            if engines == 1 {
                println!("    measured against predicted completion: {late:.3}");
            }
            assert!(share >= 0.98, "{engines} engines, {name}: {share}");
        }
    }
}
