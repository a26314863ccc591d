//! Engines: one file each, and what they have in common.

pub mod asic;
pub mod asic_device;
pub mod asic_model;
pub mod aws_lc;
pub mod cpu;
mod returns;
