//! Errors of the data plane, as the exceptions of `esprit.errors`.

use esprit_datapath::Stopped;
use pyo3::prelude::*;
use pyo3::{PyErr, import_exception};

import_exception!(esprit.errors, DataPlaneError);
import_exception!(esprit.errors, EngineRefused);
import_exception!(esprit.errors, PortGone);
import_exception!(esprit.errors, TaskFailed);

/// Everything that can go wrong on this side of the boundary.
#[derive(Debug)]
pub enum NativeError {
    /// The worker said no, and changed nothing.
    Refused(String),
    /// The system said no: what was asked, and its answer.
    System(String, std::io::Error),
    /// An interface or device that is not (or no longer) there.
    Gone(String),
    /// An engine that failed its test: its name, the evidence.
    Engine(String, String),
    /// A task of an application that came to nothing, and why.
    Task(String),
    /// A value of the wrong shape.
    Value(String),
    /// The data plane has stopped.
    Stopped,
}

impl From<Stopped> for NativeError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<NativeError> for PyErr {
    fn from(error: NativeError) -> Self {
        match error {
            NativeError::Refused(text) | NativeError::Value(text) => DataPlaneError::new_err(text),
            NativeError::System(what, error) => DataPlaneError::new_err(format!("{what}: {error}")),
            NativeError::Gone(interface) => PortGone::new_err(interface),
            NativeError::Engine(name, evidence) => EngineRefused::new_err((name, evidence)),
            NativeError::Task(text) => TaskFailed::new_err(text),
            NativeError::Stopped => DataPlaneError::new_err("the data plane has stopped"),
        }
    }
}

/// Reads a plain value from Python, naming the argument that does not fit.
pub fn read<'py, T: serde::de::DeserializeOwned>(
    what: &str,
    value: &Bound<'py, PyAny>,
) -> Result<T, NativeError> {
    pythonize::depythonize(value).map_err(|error| NativeError::Value(format!("{what}: {error}")))
}

/// Gives a plain value to Python.
pub fn write<'py, T: serde::Serialize>(py: Python<'py>, value: &T) -> PyResult<Bound<'py, PyAny>> {
    pythonize::pythonize(py, value).map_err(PyErr::from)
}
