//! What the pool costs a job beyond the cipher, on the worker's own engine: the same jobs
//! through `software::work_op` alone and through submit and poll, in alternation.

use std::sync::Arc;
use std::time::Instant;

use esprit_crypto::engines::{cpu::CpuInline, software};
use esprit_crypto::{
    AeadKey, Algorithm, Direction, Done, EngineId, Grant, Grants, JobInput, Op, Pool, Request,
    Wake, verify,
};
use esprit_packet::{Pool as Buffers, Time};

struct Silent;

impl Wake for Silent {
    fn wake(&self) {}
}

/// Jobs in a row: less than a time slice, so that the least of many rounds is undisturbed.
const TIMES: u32 = 1_000;

/// Rounds of each kind, in alternation.
const ROUNDS: usize = 300;

fn input(buffers: &Buffers, len: u32, packets: u32) -> Option<JobInput> {
    let mut frame = buffers.get((len * packets) as usize)?;
    frame.set_len((len * packets) as usize);
    let op = |n: u32| Op {
        aad_len: 8,
        prefix: (0, 16),
        head: (16, 56),
        tail: (56, 60),
        body: (n * len, (n + 1) * len),
        dst: n * (len + 76),
        ..Op::default()
    };
    Some(JobInput {
        frames: smallvec::smallvec![frame.share()],
        headers: vec![0; 60],
        ops: (0..packets).map(op).collect(),
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let buffers = Buffers::new(64, 16);
    let origin = Instant::now();
    let clock = || Time(origin.elapsed().as_nanos() as u64);
    let verified = verify(Box::new(CpuInline::new()), &clock, &|_| {})?;
    for (algorithm, direction, rate) in verified.rates().iter() {
        println!("{} {direction:?}: {rate:?}", algorithm.name());
    }
    let mut pool = Pool::new(Arc::new(Silent));
    pool.admit(EngineId(1), verified);
    let engines = vec![Grant {
        seal: true,
        open: true,
        secondary: Some(0),
        ..Grant::none(1)
    }];
    let spill_ns = [20_000_000; 3];
    pool.set_grants(
        0,
        Grants {
            engines,
            spill_ns,
            verify_every: 0,
        },
    );
    let key = AeadKey::new(Algorithm::Aes128Gcm16, &[1; 16])?;
    let sizes = match std::env::args().nth(1) {
        Some(_) => vec![(64, 1)],
        None => vec![(64, 1), (1360, 1), (1360, 46)],
    };
    for (len, packets) in sizes {
        let input = Arc::new(input(&buffers, len, packets).ok_or("no buffer")?);
        let (mut alone, mut pooled) = (u64::MAX, u64::MAX);
        let times = TIMES.div_ceil(packets);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let mut out = vec![0; input.measure(Direction::Seal)?.dst_len];
            for _ in 0..times {
                for op in &input.ops {
                    let out = &mut out[op.dst as usize..][..op.out_len(Direction::Seal)];
                    software::work_op(&key, Direction::Seal, &input, op, out);
                }
            }
            alone = alone.min(start.elapsed().as_nanos() as u64 / u64::from(times));
            let start = Instant::now();
            let (mut done, mut events): (Vec<Done>, _) = (Vec::new(), Vec::new());
            for turn in 0..times {
                let request = Request {
                    team: 0,
                    key: key.clone(),
                    direction: Direction::Seal,
                    input: input.clone(),
                    member: Some(4),
                    flow: 0,
                    weight: 1,
                };
                let now = Time(u64::from(turn));
                if pool.submit(now, &buffers, request).is_err() {
                    return Err("rejected".into());
                }
                pool.poll(now, &buffers, &mut done, &mut events);
                done.clear();
            }
            pooled = pooled.min(start.elapsed().as_nanos() as u64 / u64::from(times));
        }
        println!(
            "{packets:3} x {len:4}: cipher {alone} ns a job, with the pool {pooled} ns: {} more",
            pooled.saturating_sub(alone)
        );
    }
    Ok(())
}
