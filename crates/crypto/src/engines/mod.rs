//! Engines: one file each, and what they have in common.

pub mod asic;
pub mod asic_device;
pub mod asic_model;
pub mod cpu;
mod returns;
pub mod software;
