//! The way into the pool: published answers, then a stopwatch.
//!
//! [`Verified`] can be made nowhere else and is the only thing that
//! [`Pool::admit`](crate::Pool::admit) takes.

mod calibrate;
mod edges;
mod known;
pub(crate) mod runner;
mod second;

use core::fmt;

use esprit_packet::Time;
use serde::Serialize;
use thiserror::Error;

use crate::engine::Engine;
use crate::job::MAX_OPS;
use crate::key::{Algorithm, Direction};
use crate::rates::{Rate, Rates};
use crate::verify::runner::Runner;

/// What came of one algorithm in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tested {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Seal or open.
    pub direction: Direction,
    /// Whether the engine is given such jobs.
    pub passed: bool,
    /// What it did rightly, or the first that it did not.
    pub evidence: String,
}

/// An engine that gave the right answers, and how fast it gave them.
pub struct Verified {
    engine: Box<dyn Engine>,
    rates: Rates,
    tests: Vec<Tested>,
}

impl Verified {
    /// What was measured.
    #[must_use]
    pub const fn rates(&self) -> &Rates {
        &self.rates
    }

    /// What it was asked, and what came of it.
    #[must_use]
    pub fn tests(&self) -> &[Tested] {
        &self.tests
    }

    /// The engine, for its capabilities.
    #[must_use]
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    pub(crate) fn into_parts(self) -> (Box<dyn Engine>, Rates) {
        (self.engine, self.rates)
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("kind", &self.engine.capabilities().kind)
            .field("rates", &self.rates)
            .finish_non_exhaustive()
    }
}

/// An engine that is not fit for the pool, and why.
#[derive(Error)]
#[error("the engine was refused: {evidence}")]
pub struct Refused {
    /// The engine, for another try.
    pub engine: Box<dyn Engine>,
    /// What it did wrong.
    pub evidence: String,
    /// All that it was asked.
    pub tests: Vec<Tested>,
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("evidence", &self.evidence)
            .finish_non_exhaustive()
    }
}

/// Has an engine do what is known and compares, for every algorithm that it declares and each
/// direction apart: published cases, a round trip with another implementation, jobs at the
/// edges of what a job can be; then measures its rates. What it did wrong it is not given: it
/// has no rate for that. Takes some tens of milliseconds for each, on the caller's thread. The
/// engine is reset before, whatever state it was left in, and after, so that no test key stays
/// in it.
///
/// `clock` tells the time; `idle` is called while the engine has not finished: it lets time pass, so
/// much as it is given at most, which grows with what the job has taken already and does not show
/// in a measurement.
///
/// # Errors
/// [`Refused`] where nothing passed, or something was not answered within a second.
pub fn verify(
    engine: Box<dyn Engine>,
    clock: &dyn Fn() -> Time,
    idle: &dyn Fn(Time),
) -> Result<Verified, Refused> {
    let mut engine = engine;
    engine.reset(clock());
    let mut runner = Runner::new(engine, clock, idle);
    let mut rates = Rates::default();
    let mut tests = Vec::new();
    let algorithms = runner.engine().capabilities().algorithms.clone();
    for (algorithm, direction) in algorithms
        .into_iter()
        .flat_map(|algorithm| Direction::ALL.map(|direction| (algorithm, direction)))
    {
        if runner.is_silent() {
            // It would be a second for each, and nothing to trust it with.
            break;
        }
        let result = test(&mut runner, algorithm, direction);
        if let Ok((rate, _)) = &result {
            rates.set(algorithm, direction, *rate);
        }
        tests.push(Tested {
            algorithm,
            direction,
            passed: result.is_ok(),
            evidence: result.map_or_else(|why| why, |(_, evidence)| evidence),
        });
    }
    let silent = runner.is_silent();
    let mut engine = runner.into_engine();
    if silent || !tests.iter().any(|test| test.passed) {
        let mut failed = tests.iter().filter(|test| !test.passed);
        let telling = if silent {
            failed.next_back()
        } else {
            failed.next()
        };
        let evidence = telling.map_or_else(
            || "it knows no algorithm".to_owned(),
            |test| {
                let direction = test.direction.name();
                format!("{} {direction}: {}", test.algorithm.name(), test.evidence)
            },
        );
        return Err(Refused {
            engine,
            evidence,
            tests,
        });
    }
    engine.reset(clock());
    Ok(Verified {
        engine,
        rates,
        tests,
    })
}

fn test(
    runner: &mut Runner<'_>,
    algorithm: Algorithm,
    direction: Direction,
) -> Result<(Rate, String), String> {
    known::check(runner, algorithm, direction)?;
    let others = second::check(runner, algorithm, direction)?;
    let longest = edges::check(runner, algorithm, direction)?;
    let mut rate = calibrate::calibrate(runner, algorithm, direction)?;
    let install_ns = calibrate::key_install(runner, algorithm, direction)?;
    rate.key_ns = install_ns as f64;
    let capabilities = runner.engine().capabilities();
    let uses = match (capabilities.primary, capabilities.secondary) {
        (true, true) => "primary and secondary use",
        (true, false) => "primary use",
        (false, true) => "secondary use",
        (false, false) => "no use",
    };
    Ok((
        rate,
        format!(
            "published answers, {others} round trips with another implementation, jobs of 0 to \
             {longest} bytes and of 1 to {MAX_OPS} operations; {uses}; a new key takes \
             {install_ns} ns"
        ),
    ))
}
