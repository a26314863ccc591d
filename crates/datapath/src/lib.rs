//! The journey of a packet.
//!
//! Start with `outbound.rs` and `inbound.rs`: they are that journey, from top to bottom. What
//! they stand on: `plan.rs` is what Python decided, `route.rs` what is left of it while members
//! are down, `release.rs` keeps the order, `verdict.rs` names every reason to drop. `worker.rs`
//! is the step function that runs it all, without a clock, a thread or a system call of its
//! own; `thread.rs` is the loop around it that has them.
#![forbid(unsafe_code)]

pub mod application;
pub mod balance;
pub mod command;
mod complete;
mod control;
pub mod counters;
mod decide;
pub mod doors;
mod draft;
pub mod drops;
pub mod events;
pub mod explain;
mod failover;
mod flight;
mod gate;
mod group;
pub mod hold;
mod inbound;
mod l2;
pub mod level;
pub mod member;
mod moderation;
mod opened;
mod outbound;
pub mod plan;
pub mod probe;
mod probing;
pub mod release;
pub mod route;
pub mod sa;
pub mod snapshot;
mod spares;
pub mod team;
pub mod thread;
mod transmit;
pub mod verdict;
pub mod wake;
pub mod worker;

pub use command::{Answer, BundleEntry, Command, MemberSpec, PolicyWithSas, Taken, TeamSpec};
pub use drops::LastDrop;
pub use events::{Event, Events, Stamped};
pub use explain::{Explanation, Flow};
pub use plan::{Mac, Plan};
pub use probe::frame::ProbeKey;
pub use thread::{Stopped, WorkerThread, monotonic};
pub use verdict::{DropReason, Drops};
pub use wake::EventFd;
pub use worker::{Io, Progress, Worker};
