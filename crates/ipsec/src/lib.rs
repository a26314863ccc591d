//! IPsec without I/O: the pure part of RFC 4301 and RFC 4303.
//!
//! Nothing here reads a clock, waits, allocates per packet or knows an engine. A packet that is
//! wrong in any way becomes an error value with a name, never a panic; writers fill every byte of
//! the range that they claim, since buffers are reused.
//!
//! | file | holds | source |
//! | --- | --- | --- |
//! | [`ids`] | SAs, policies and members by number | |
//! | [`seq`] | the one allocator of an outbound SA's sequence numbers | RFC 4303 2.2, 3.3.3 |
//! | [`replay`] | the replay window of an inbound SA | RFC 4303 3.4.3, appendix A |
//! | [`esp`] | header, IV, trailer, nonce and AAD of ESP with AES-GCM | RFC 4303 2, RFC 4106 |
//! | [`ecn`] | the ECN field through a tunnel | RFC 6040 |
//! | [`encap`] | outer headers of tunnel mode | RFC 4303 3.1.2, RFC 3948 |
//! | [`transport`] | the packet's own headers in transport mode | RFC 4303 3.1.1 |
//! | [`selector`] | which packets a policy means | RFC 4301 4.4.1 |
//! | [`spd`] | the ordered policies | RFC 4301 4.4.1 |
//! | [`sad`] | security associations: configuration and lookup | RFC 4301 4.4.2 |
#![forbid(unsafe_code)]

pub mod ecn;
pub mod encap;
pub mod esp;
pub mod ids;
pub mod replay;
pub mod sad;
pub mod selector;
pub mod seq;
pub mod spd;
pub mod transport;

mod bytes;

pub use ids::{MemberId, PolicyId, SaId};
pub use replay::{ReplayDrop, ReplayWindow};
pub use sad::{InboundSad, SaSpec};
pub use seq::{SeqAllocator, SeqError, SeqRange};
pub use spd::{Action, Policy, PolicySpec, Spd, Verdict};
