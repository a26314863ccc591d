//! The very code that ships, in virtual time.
//!
//! ```text
//! traffic -> host queue -> Worker::step -> pool -> engines (stepped) -> port -> wire -> peer
//!    agenda: arrivals, devices that have room again, the worker's own deadlines
//!    checks: nonces where engines are given jobs; order, copies, plaintext where frames are
//!            handed over; every byte where the peer opens them; after each step, where all
//!            packets and buffers are, and how full the queues (simulation/ledger.rs)
//! ```
//!
//! [`Simulation::advance`] runs until a decision is due or a time is reached; whoever calls it
//! decides (the shipped modes, in Python) and publishes. Nothing reads a clock, and no order
//! depends on a hash: the same calls give the same bytes.
#![forbid(unsafe_code)]

mod application;
mod checks;
mod engine;
mod peer;
mod probe;
mod random;
mod report;
mod simulation;
mod traffic;
mod wire;

pub use application::ApplicationSpec;
pub use checks::{Rule, Sabotage, Violation};
pub use engine::{CpuSpec, EngineModel, JobRow, Predicted};
pub use report::{ApplicationReport, Ended, EventRow, FlowReport, Latency, Report, Totals};
pub use simulation::{Config, EngineReport, MemberSpec, Simulation};
pub use traffic::{FlowSpec, Pattern, Sizes, TrafficSpec};
