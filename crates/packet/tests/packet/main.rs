//! What a user of this crate relies on. One binary, so that the packets of `build` serve all.

mod build;
mod coalesce;
mod malformed;
mod parse;
mod segment;
