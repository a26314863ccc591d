//! What a placement costs: the median over many searches among 1, 16, 64 and 256 engines with
//! unlike queues, of which all stand in one tier, so that each is weighed. It is to be 2 us at
//! most (docs/engines.md); `make bench` shows it.
//!
//! ```text
//! cargo run --release -p esprit-crypto --example placement_cost
//! ```

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use esprit_crypto::engines::asic::AsicStepped;
use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::{
    AeadKey, Algorithm, Ask, Direction, EngineId, Grant, Grants, JobInput, Op, Pool, Request, Wake,
    verify,
};
use esprit_packet::{Pool as Buffers, Time};

struct Silent;

impl Wake for Silent {
    fn wake(&self) {}
}

const ALGORITHM: Algorithm = Algorithm::Aes128Gcm16;

/// Searches in a row, so that reading the clock counts for little.
const TIMES: u32 = 200;

/// Rounds, of which the median is shown.
const ROUNDS: usize = 301;

fn grant(engine: u32) -> Grant {
    Grant {
        engine,
        member: Some(engine),
        seal: true,
        open: true,
        primary: None,
        secondary: Some(0),
        application: None,
        bias_ns: 0,
        bias_load: 0.5,
        limit_ns: None,
        headroom: Some(0.1),
        beside_ns: None,
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let buffers = Buffers::new(4096, 512);
    let key = AeadKey::new(ALGORITHM, &[1; 16])?;
    for engines in [1_u32, 16, 64, 256] {
        let mut pool = Pool::new(Arc::new(Silent));
        for number in 1..=engines {
            let spec = AsicSpec {
                rate_bps: 1_000_000_000 * u64::from(1 + number % 10),
                ..AsicSpec::default()
            };
            let now = Cell::new(0);
            let idle = |_| now.set(now.get() + 1000);
            let device = Box::new(AsicStepped::new(&spec)?);
            let verified = verify(device, &|| Time(now.get()), &idle)?;
            pool.admit(EngineId(number), verified);
        }
        pool.set_grants(
            0,
            Grants {
                engines: (1..=engines).map(grant).collect(),
                spill_ns: [20_000_000; 3],
                verify_every: 0,
            },
        );
        // Some of them have something to do.
        let now = Time::from_millis(1);
        for number in 0..engines {
            let mut frame = buffers.get(1000).ok_or("no buffer")?;
            frame.set_len(1000);
            let op = Op {
                body: (0, 1000 - number % 500),
                ..Op::default()
            };
            let input = JobInput {
                frames: smallvec::smallvec![frame.share()],
                headers: Vec::new(),
                ops: vec![op],
            };
            let request = Request {
                team: 0,
                key: key.clone(),
                direction: Direction::Seal,
                input: Arc::new(input),
                member: None,
                flow: number,
                weight: 1,
            };
            pool.submit(now, &buffers, request)
                .map_err(|(_, reject)| reject)?;
        }
        let mut times: Vec<u64> = (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                for packets in 0..TIMES {
                    let packets = 1 + packets % 64;
                    let bytes = u64::from(packets) * 1400;
                    let ask = Ask::new(now, ALGORITHM, Direction::Seal, None, packets, bytes);
                    std::hint::black_box(pool.would_place(0, &ask));
                }
                start.elapsed().as_nanos() as u64 / u64::from(TIMES)
            })
            .collect();
        times.sort_unstable();
        println!(
            "{engines:3} engines: {:5} ns a placement (least {}, 99 of 100 within {} ns)",
            times[ROUNDS / 2],
            times[0],
            times[ROUNDS * 99 / 100]
        );
    }
    Ok(())
}
