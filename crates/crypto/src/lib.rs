//! Encryption engines, jobs, and the pool that places one on the other.
//!
//! ```text
//! Request -> Pool::submit -> placement (grants, queues, one formula) -> Engine::submit
//!                                                                          ...
//! Done    <- Pool::poll   <- health (hung? failed? wrong?) -- redo      <- Engine::poll
//! ```
//!
//! - [`job`]: what is to be done; [`engine`]: who does it; [`engines`]: the ones there are.
//! - [`mod@verify`]: the only way into the pool leads over published answers and a stopwatch.
//! - [`placement`]: which engine, as a pure function; [`health`]: whether it still may.
//! - [`pool`]: an accepted job comes back once, whatever the engines do.
//!
//! Nothing here reads a clock or sleeps but the threads of engines.
#![deny(unsafe_code)]

pub mod cipher;
pub mod engine;
pub mod engines;
#[cfg(target_arch = "x86_64")]
mod gcm;
pub mod grants;
pub mod health;
pub mod job;
pub mod key;
pub mod placement;
pub mod pool;
pub mod priority;
pub mod rates;
pub mod seats;
pub mod verify;
mod wiped;

pub use engine::{Capabilities, Engine, Fault, Kind, Transfer, Wake};
pub use grants::{APPLICATIONS, Class, EngineId, Grant, Grants};
pub use health::Health;
pub use job::{BadOp, Job, JobInput, MAX_OPS, Op, Shape};
pub use key::{AeadKey, Algorithm, Direction, ICV_LEN, KeyError, Needs};
pub use placement::{Ask, Candidate, Placer, Verdict};
pub use pool::{
    Done, EngineSnapshot, Found, GIVE_UP, Level, LostReason, Pool, PoolEvent, QueueLevel, Queues,
    Reject, Request,
};
pub use priority::come_first;
pub use rates::{Rate, Rates};
pub use seats::MAX_ENGINES;
pub use verify::{Refused, Tested, Verified, verify};
