//! The extension module `esprit._native`: handles in, snapshots out.
//!
//! Nothing is decided here. Values cross as plain dicts, errors as the classes of
//! `esprit.errors`, and the interpreter's lock is let go wherever a call waits.

mod application;
mod capture;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer that a call does not expect is the same error"
)]
mod dataplane;
mod engine;
mod error;
mod sim;

use esprit_datapath::DropReason;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Jobs, headers and handles are made and dropped for every batch, some by engine threads; the
/// C library's allocator merges and splits chunks of that size each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    let reasons = PyDict::new(module.py());
    for reason in DropReason::ALL {
        reasons.set_item(reason.name(), reason.help())?;
    }
    module.add("DROP_REASONS", reasons)?;
    module.add_class::<dataplane::DataPlane>()?;
    module.add_class::<capture::Capture>()?;
    module.add_class::<application::AeadKey>()?;
    module.add_class::<application::Requester>()?;
    module.add_class::<application::Completions>()?;
    module.add_class::<sim::Simulation>()?;
    Ok(())
}
