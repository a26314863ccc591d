//! The way into the pool: published answers, then a stopwatch.
//!
//! [`Verified`] can be made nowhere else and is the only thing that
//! [`Pool::admit`](crate::Pool::admit) takes.

mod calibrate;
mod known;
pub(crate) mod runner;

use core::fmt;

use esprit_packet::Time;
use thiserror::Error;

use crate::engine::Engine;
use crate::rates::Rates;
use crate::verify::runner::Runner;

/// An engine that gave the right answers, and how fast it gave them.
pub struct Verified {
    engine: Box<dyn Engine>,
    rates: Rates,
}

impl Verified {
    /// What was measured.
    #[must_use]
    pub const fn rates(&self) -> &Rates {
        &self.rates
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
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("evidence", &self.evidence)
            .finish_non_exhaustive()
    }
}

/// Has an engine do what is known and compares, for every algorithm that it declares and both
/// directions; then measures its rates. Takes some tens of milliseconds, on the caller's
/// thread. The engine is reset before, whatever state it was left in, and after, so that no
/// test key stays in it.
///
/// `clock` tells the time; `idle` is called while the engine has not finished: it lets time
/// pass, for instance by sleeping for some microseconds.
///
/// # Errors
/// [`Refused`] at the first wrong answer, or none within a second.
pub fn verify(
    engine: Box<dyn Engine>,
    clock: &dyn Fn() -> Time,
    idle: &dyn Fn(),
) -> Result<Verified, Refused> {
    let mut engine = engine;
    engine.reset(clock());
    let mut runner = Runner::new(engine, clock, idle);
    let mut rates = Rates::default();
    let algorithms = runner.engine().capabilities().algorithms.clone();
    for algorithm in algorithms {
        let result = known::check(&mut runner, algorithm)
            .and_then(|()| calibrate::calibrate(&mut runner, algorithm, &mut rates));
        if let Err(evidence) = result {
            return Err(Refused {
                engine: runner.into_engine(),
                evidence: format!("{}: {evidence}", algorithm.name()),
            });
        }
    }
    let mut engine = runner.into_engine();
    engine.reset(clock());
    Ok(Verified { engine, rates })
}
