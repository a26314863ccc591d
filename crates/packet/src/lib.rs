//! Frames: buffers, header views, checksums, segmentation, coalescing.
//!
//! The contract of this room:
//!
//! - **Reading.** [`parse`] is the one place that looks at a stranger's bytes. It panics on no
//!   input, and a [`parse::Parsed`] is proof: its offsets lie in order within the bytes that it
//!   was made from. Who passes it on together with *other* bytes gets an error or a packet
//!   that passes as it is, never a panic.
//! - **Writing.** Buffers are reused and hold what lay there before. A writer never reads what
//!   it has not written, and writes every byte that it claims. Do not validate a buffer in
//!   order to write a header into it: the outcome would depend on the packet before.
//! - **Sharing.** A [`Buf`] has one owner, a [`SharedBuf`] is read by many and written by
//!   nobody; there is no way back while anybody else holds it.
//! - No I/O, clock or threads, and `unsafe` only to call what the processor was asked for;
//!   nothing here allocates per segment.
#![deny(unsafe_code)]

pub mod body;
pub mod buf;
pub mod checksum;
pub mod coalesce;
pub mod flow;
pub mod frame;
pub mod header;
pub mod parse;
pub mod segment;
pub mod time;
pub mod vnet_hdr;

pub use body::{Body, Slice};
pub use buf::{Buf, Pool, SharedBuf};
pub use frame::{RxFrame, TxFrame};
pub use time::Time;
pub use vnet_hdr::VnetHdr;
