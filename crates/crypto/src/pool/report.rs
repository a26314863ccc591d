//! What the pool answers, tells and shows.

use std::sync::Arc;

use esprit_packet::Buf;
use serde::Serialize;
use thiserror::Error;

use crate::engine::Capabilities;
use crate::grants::{Class, EngineId};
use crate::health::Health;
use crate::job::JobInput;
use crate::pool::Request;
use crate::pool::seat::Counters;
use crate::rates::RateLine;

/// Why the pool does not take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Reject {
    /// No engine may and can do it.
    #[error("no engine for it")]
    NoEngine,
    /// Those that may have no room, and as much waits for them already as may.
    #[error("all engines are full")]
    Full,
    /// There is no buffer for its output.
    #[error("no buffer for its output")]
    NoMemory,
}

/// Why an accepted job came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostReason {
    /// Its engine was lost, and no other could take it in ten seconds.
    NoEngine,
    /// Engines failed at it again and again.
    Failed,
}

/// The end of an accepted job; each has one.
#[derive(Debug)]
pub enum Done {
    /// It was done.
    Complete {
        /// As `submit` answered.
        ticket: u64,
        /// Who did it.
        engine: EngineId,
        /// The output.
        dst: Buf,
        /// A bit for each operation whose ICV was wrong. Its output is not plaintext.
        bad_icv: u64,
        /// What it was done from.
        input: Arc<JobInput>,
        /// How often it was given to an engine.
        attempts: u8,
        /// The use that it was to its engine.
        class: Class,
    },
    /// It was not.
    Lost {
        /// As `submit` answered.
        ticket: u64,
        /// Why.
        reason: LostReason,
        /// What was asked for.
        request: Request,
        /// The engine that had it last.
        engine: Option<EngineId>,
    },
}

/// How a wrong result was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// The worker did some of its operations again.
    Audit,
    /// What was sealed was opened again before it left, or what was opened to check that.
    Check,
    /// It was asked what is known.
    Canary,
}

/// What waits for an engine, of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueueLevel {
    /// Jobs.
    pub jobs: usize,
    /// What they hold of the process's buffers, in bytes.
    pub bytes: u64,
}

/// What waits for an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Queues {
    /// For members' own engines.
    pub primary: QueueLevel,
    /// For anyone's.
    pub secondary: QueueLevel,
    /// Applications' tasks.
    pub application: QueueLevel,
}

/// Something happened to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum PoolEvent {
    /// It did not answer in time and is given nothing more.
    Hung {
        /// The engine.
        engine: EngineId,
        /// The job.
        ticket: u64,
        /// Nanoseconds it was expected to take.
        expected_ns: u64,
        /// Nanoseconds it has taken.
        waited_ns: u64,
    },
    /// It could not do some operations of a job. It is suspect.
    Failed {
        /// The engine.
        engine: EngineId,
        /// The job.
        ticket: u64,
        /// How many.
        operations: u32,
    },
    /// A result of it was wrong.
    Wrong {
        /// The engine.
        engine: EngineId,
        /// The job.
        ticket: u64,
        /// The operation's index in it.
        operation: u32,
        /// The first byte of the operation's output that was wrong; none where it was its verdict on
        /// the ICV.
        byte: Option<u32>,
        /// How it was found.
        found: Found,
        /// The engine whose result did not agree; none where the worker looked itself.
        by: Option<EngineId>,
    },
    /// It failed too often or computed wrongly, and is given nothing more.
    Quarantined {
        /// The engine.
        engine: EngineId,
    },
    /// Jobs were taken away from one engine and given to another.
    Redone {
        /// From this one.
        from: EngineId,
        /// To this one.
        to: EngineId,
        /// How many, since the last poll.
        jobs: u32,
    },
    /// Jobs came back from an engine that they had been taken away from.
    Late {
        /// The engine.
        engine: EngineId,
        /// How many, since the last poll.
        jobs: u32,
    },
    /// A suspect has worked well for a while; or an engine that was left as hung has given
    /// back all that it had, and can be verified again.
    Recovered {
        /// The engine.
        engine: EngineId,
        /// What it is now.
        health: Health,
    },
}

/// An engine, as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct EngineSnapshot {
    /// Its number.
    pub engine: u32,
    /// What is known about it.
    pub health: Health,
    /// Jobs that it has.
    pub outstanding: usize,
    /// Nanoseconds until it is expected to have done them.
    pub backlog_ns: u64,
    /// Bytes of memory that they keep busy.
    pub memory: u64,
    /// What it has done.
    #[serde(flatten)]
    pub counters: Counters,
    /// What it declares.
    pub capabilities: Capabilities,
    /// What was measured.
    pub rates: Vec<RateLine>,
}
