//! Engines by kind: from the plain value that Python gives to one that passed its tests.

use std::sync::Arc;
use std::time::Duration;

use esprit_crypto::engines::asic::Asic;
use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::engines::cpu::{CpuInline, CpuThreads};
use esprit_crypto::rates::RateLine;
use esprit_crypto::verify::{Refused, Tested, Verified, verify};
use esprit_crypto::{Capabilities, Engine, Fault, Wake};
use esprit_datapath::monotonic;
use esprit_packet::Time;
use serde::{Deserialize, Serialize};

use crate::error::NativeError;

/// An engine as configured.
#[derive(Clone, Debug, Deserialize)]
pub struct EngineSpec {
    /// Its number in the process.
    pub id: u32,
    /// Its name, for messages.
    pub name: String,
    /// The member that it belongs to; the Plan says what follows from that.
    #[serde(default, rename = "member")]
    _member: Option<u32>,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Kind {
    /// The host's processor: the worker itself (0 threads), or threads of their own.
    Cpu {
        #[serde(default)]
        threads: u32,
    },
    /// A simulated NIC encryption processor.
    Asic(AsicSpec),
}

/// What an admitted engine can do and how fast, as measured.
#[derive(Debug, Serialize)]
pub struct EngineReport {
    capabilities: Capabilities,
    rates: Vec<RateLine>,
    /// The longest of the measured latencies.
    latency_ns: u64,
    /// What came of each algorithm in each direction.
    tests: Vec<Tested>,
}

impl EngineSpec {
    /// Makes the engine, tests it against known answers and calibrates it.
    pub fn verify(&self, wake: Arc<dyn Wake>) -> Result<(Verified, EngineReport), NativeError> {
        let engine: Box<dyn Engine> = match &self.kind {
            Kind::Cpu { threads: 0 } => Box::new(CpuInline::new()),
            Kind::Cpu { threads } => {
                let engine = CpuThreads::new(*threads, wake).map_err(|error| {
                    NativeError::System(format!("threads of engine {}", self.name), error)
                })?;
                Box::new(engine)
            }
            Kind::Asic(spec) => {
                let engine = Asic::new(spec, wake).map_err(|error| {
                    NativeError::Value(format!("engine {}: {error}", self.name))
                })?;
                Box::new(engine)
            }
        };
        test(engine).map_err(|refused| NativeError::Engine(self.name.clone(), evidence(&refused)))
    }
}

/// What a sleep may take longer than it was meant to: the kernel's timer slack (prctl(2)).
const SLACK: Duration = Duration::from_micros(50);

/// Lets an engine work. A wait that a sleep would make longer by more than itself is none: this
/// thread looks again as soon as others have had the processor.
fn wait(span: Time) {
    let span = Duration::from_nanos(span.0);
    if span < SLACK {
        std::thread::yield_now();
    } else {
        std::thread::sleep(span);
    }
}

/// Tests an engine, be it a new one or one that has worked, and calibrates it.
pub fn test(engine: Box<dyn Engine>) -> Result<(Verified, EngineReport), Refused> {
    let verified = verify(engine, &monotonic, &wait)?;
    let rates = verified.rates().lines();
    let latency = rates.iter().map(|line| line.rate.latency_ns);
    let report = EngineReport {
        capabilities: verified.engine().capabilities().clone(),
        latency_ns: latency.fold(0.0, f64::max) as u64,
        rates,
        tests: verified.tests().to_vec(),
    };
    Ok((verified, report))
}

/// Why an engine was refused: what told most, then the other tests that failed.
pub fn evidence(refused: &Refused) -> String {
    let mut lines = vec![refused.evidence.clone()];
    for test in refused.tests.iter().filter(|test| !test.passed) {
        let (algorithm, direction) = (test.algorithm.name(), test.direction.name());
        let line = format!("{algorithm} {direction}: {}", test.evidence);
        if line != refused.evidence {
            lines.push(line);
        }
    }
    lines.join("; ")
}

/// A fault by its name; `value` is every how many answers (`wrong`) or microseconds (`late`), the
/// per cent of its rate that are left (`sag`), nanoseconds (`coalesce`).
pub fn fault(name: &str, value: u64) -> Result<Fault, NativeError> {
    Ok(match name {
        "die" => Fault::Die,
        "hang" => Fault::Hang,
        "wrong" => Fault::Wrong {
            every: u32::try_from(value).unwrap_or(u32::MAX),
        },
        "late" => Fault::Late { by: value * 1_000 },
        "sag" => Fault::Sag {
            percent: u32::try_from(value).unwrap_or(u32::MAX),
        },
        "stick" => Fault::Stick,
        "coalesce" => Fault::Coalesce { ns: value },
        "heal" => Fault::Heal,
        other => {
            return Err(NativeError::Value(format!(
                "fault {other:?} does not exist: use die, hang, wrong, late, sag, stick, coalesce or heal"
            )));
        }
    })
}
