//! How fast an engine is: a plane through measured jobs.

use std::sync::Arc;

use crate::key::{AeadKey, Algorithm, Direction};
use crate::rates::Rate;
use crate::verify::runner::{Runner, opening, sealing, worked};

/// Bytes of a packet, packets of a job, jobs at once for each of the engine's lanes. One job at
/// a time shows the latency; several, what remains when it is hidden behind the others.
const JOBS: [(usize, usize, usize); 6] = [
    (64, 1, 1),
    (64, 32, 1),
    (64, 32, 4),
    (1400, 1, 1),
    (1400, 32, 1),
    (1400, 32, 4),
];

/// Lanes of an engine that a burst is made for, at most: more would tell nothing new.
const LANES: usize = 64;

/// Each is measured so often, and the fastest counts: a busy host only ever adds to a time, and
/// an engine that seems slower than it is stands idle.
const TIMES: usize = 5;

/// An engine so slow that a direction takes longer is measured less often, but once at least:
/// 20 ms for each of four directions and algorithms.
const BUDGET_NS: u64 = 20_000_000;

fn fresh(algorithm: Algorithm) -> Result<Arc<AeadKey>, String> {
    let bytes = [0x5a; 32];
    AeadKey::new(algorithm, &bytes[..algorithm.key_len()]).map_err(|e| e.to_string())
}

/// Measures one direction of one algorithm.
pub(crate) fn calibrate(
    runner: &mut Runner<'_>,
    algorithm: Algorithm,
    direction: Direction,
) -> Result<Rate, String> {
    measure(runner, &fresh(algorithm)?, direction)
}

/// Nanoseconds that a job takes longer with a key that the engine has not had: the least of some
/// first jobs, less the least of some second ones.
pub(crate) fn key_install(
    runner: &mut Runner<'_>,
    algorithm: Algorithm,
    direction: Direction,
) -> Result<u64, String> {
    let (mut first, mut second) = (u64::MAX, u64::MAX);
    for _ in 0..TIMES {
        // Keys are told apart by their ids, not by their bytes.
        let key = fresh(algorithm)?;
        let seal = sealing(runner.share(&[0x3c; 64])?, 1, &[0; 8], 1);
        let input = Arc::new(match direction {
            Direction::Seal => seal,
            Direction::Open => {
                let sealed = worked(&key, Direction::Seal, &seal);
                opening(runner.share(&sealed)?, &seal, 64)
            }
        });
        first = first.min(runner.run(&key, direction, &input)?.1);
        second = second.min(runner.run(&key, direction, &input)?.1);
    }
    Ok(first.saturating_sub(second))
}

fn measure(
    runner: &mut Runner<'_>,
    key: &Arc<AeadKey>,
    direction: Direction,
) -> Result<Rate, String> {
    let capabilities = runner.engine().capabilities();
    let (lanes, synchronous) = (
        (capabilities.parallel.max(1) as usize).min(LANES),
        capabilities.synchronous,
    );
    let mut points = Vec::with_capacity(JOBS.len());
    let mut spent = 0;
    for (len, packets, depth) in JOBS {
        // A synchronous engine does one after the other: nothing hides behind anything.
        let at_once = if depth == 1 || synchronous {
            1
        } else {
            depth * lanes
        };
        let plain = runner.share(&vec![0x3c; len])?;
        let seal = Arc::new(sealing(plain, packets, &[0; 8], 1));
        let input = match direction {
            Direction::Seal => seal,
            Direction::Open => {
                let sealed = worked(key, Direction::Seal, &seal);
                Arc::new(opening(runner.share(&sealed)?, &seal, len))
            }
        };
        // The first one may have to install the key, and warms the caches; it counts only
        // where there is no time for another.
        let mut times = Vec::with_capacity(TIMES + 1);
        let mut in_turn = 1.0;
        for turn in 0..=TIMES {
            if turn > 0 && spent >= BUDGET_NS {
                break;
            }
            let (jobs, ns) = runner.run_many(key, direction, &input, at_once)?;
            if jobs.iter().any(|job| job.failed != 0 || job.bad_icv != 0) {
                return Err(format!("it failed at {packets} packets of {len} bytes"));
            }
            // As many as it took, should its queue be shorter.
            in_turn = jobs.len().div_ceil(lanes) as f64;
            times.push(ns as f64 / in_turn);
            spent += ns;
        }
        let warm = usize::from(times.len() > 1);
        let times = &mut times[warm..];
        times.sort_unstable_by(f64::total_cmp);
        points.push(Point {
            latencies: 1.0 / in_turn,
            packets: packets as f64,
            bytes: (packets * len) as f64,
            ns: times[0],
        });
    }
    Ok(fit(&points))
}

/// A job and how long it took: of several at once, each its share.
#[derive(Clone, Copy, Debug)]
struct Point {
    latencies: f64,
    packets: f64,
    bytes: f64,
    ns: f64,
}

/// Least squares for `ns = latencies x latency + packets x a + bytes x b`, each point weighted by the
/// inverse of its square, so that short jobs count as much as long ones. No coefficient is
/// below zero; where noise would have one so, the plane is fitted without it.
fn fit(points: &[Point]) -> Rate {
    let mut use_column = [true; 3];
    loop {
        let solution = solve(points, use_column);
        let worst = (0..3)
            .filter(|&column| use_column[column] && solution[column] < 0.0)
            .min_by(|&a, &b| solution[a].total_cmp(&solution[b]));
        match worst {
            Some(column) => use_column[column] = false,
            None => {
                return Rate {
                    latency_ns: solution[0],
                    ns_per_packet: solution[1],
                    ns_per_byte: solution[2],
                    key_ns: 0.0,
                };
            }
        }
    }
}

/// The normal equations, by elimination with pivots; a column not in use, or that says
/// nothing, is zero.
fn solve(points: &[Point], use_column: [bool; 3]) -> [f64; 3] {
    let mut m = [[0.0_f64; 4]; 3];
    for point in points {
        let weight = 1.0 / point.ns.max(1.0).powi(2);
        let row = [point.latencies, point.packets, point.bytes, point.ns];
        for (i, line) in m.iter_mut().enumerate() {
            for (j, cell) in line.iter_mut().enumerate() {
                *cell += weight * row[i] * row[j];
            }
        }
    }
    for column in 0..3 {
        if !use_column[column] {
            m[column] = [0.0; 4];
            for line in &mut m {
                line[column] = 0.0;
            }
        }
    }
    let mut solution = [0.0; 3];
    let mut pivot_of = [None; 3];
    let mut taken = [false; 3];
    for column in 0..3 {
        let pivot = (0..3)
            .filter(|&row| !taken[row])
            .max_by(|&a, &b| m[a][column].abs().total_cmp(&m[b][column].abs()));
        let Some(pivot) = pivot.filter(|&row| m[row][column].abs() > 1e-15) else {
            continue;
        };
        taken[pivot] = true;
        pivot_of[column] = Some(pivot);
        let base = m[pivot];
        for (row, line) in m.iter_mut().enumerate() {
            if row != pivot {
                let factor = line[column] / base[column];
                for (cell, from) in line.iter_mut().zip(base) {
                    *cell -= factor * from;
                }
            }
        }
    }
    for column in 0..3 {
        if let Some(row) = pivot_of[column] {
            solution[column] = m[row][3] / m[row][column];
        }
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(latency: f64, packet: f64, byte: f64) -> Vec<Point> {
        JOBS.iter()
            .map(|&(len, packets, depth)| {
                let (latencies, packets, len) = (1.0 / depth as f64, packets as f64, len as f64);
                Point {
                    latencies,
                    packets,
                    bytes: len * packets,
                    ns: latencies * latency + packets * packet + len * packets * byte,
                }
            })
            .collect()
    }

    fn near(got: f64, want: f64) -> bool {
        (got - want).abs() <= want.abs() * 1e-6 + 1e-6
    }

    #[test]
    fn exact_measurements_give_exact_rates() {
        for (latency, packet, byte) in
            [(0.0, 24.5, 0.055), (20_000.0, 50.0, 0.8), (120.0, 0.0, 8.0)]
        {
            let rate = fit(&points(latency, packet, byte));
            assert!(near(rate.latency_ns, latency), "{rate:?}");
            assert!(near(rate.ns_per_packet, packet), "{rate:?}");
            assert!(near(rate.ns_per_byte, byte), "{rate:?}");
        }
    }

    #[test]
    fn noise_makes_no_rate_negative() {
        let mut noisy = points(10.0, 1.0, 0.1);
        for (index, point) in noisy.iter_mut().enumerate() {
            point.ns += if index % 2 == 0 { 40.0 } else { -10.0 };
        }
        let rate = fit(&noisy);
        assert!(rate.latency_ns >= 0.0 && rate.ns_per_packet >= 0.0 && rate.ns_per_byte >= 0.0);
    }

    #[test]
    fn a_clock_that_stands_still_gives_zero_not_nonsense() {
        let still: Vec<Point> = points(0.0, 0.0, 0.0);
        assert_eq!(fit(&still), Rate::default());
    }
}
