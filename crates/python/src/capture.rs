//! The eavesdropper, for demonstrations and tests.

use esprit_port::{CaptureOptions, capture};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::error::NativeError;

/// A capture of all that passes an interface of the calling thread's network namespace.
#[pyclass(module = "esprit._native")]
pub struct Capture {
    inner: Option<capture::Capture>,
    interface: String,
}

#[pymethods]
impl Capture {
    #[staticmethod]
    #[pyo3(signature = (ifname, needles, *, sample_every = 64, keep = 32))]
    fn start(
        ifname: String,
        needles: Vec<Vec<u8>>,
        sample_every: u64,
        keep: usize,
    ) -> Result<Self, NativeError> {
        let options = CaptureOptions {
            needles,
            sample_every,
            keep,
            pcap: None,
        };
        let inner = capture::Capture::start(&ifname, options)
            .map_err(|error| NativeError::System(format!("capture on {ifname}"), error))?;
        Ok(Self {
            inner: Some(inner),
            interface: ifname,
        })
    }

    /// Ends the capture and gives what it saw; a second call is refused.
    fn stop<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let inner = self.inner.take().ok_or_else(|| {
            NativeError::Refused(format!("capture on {} has ended", self.interface))
        })?;
        let seen = py.detach(|| inner.stop());
        let result = PyDict::new(py);
        for (name, count) in [
            ("frames", seen.frames),
            ("bytes", seen.bytes),
            ("esp", seen.esp),
            ("plain", seen.plain),
            ("drops", seen.drops),
        ] {
            result.set_item(name, count)?;
        }
        result.set_item("found", seen.hits)?;
        result.set_item("ended", seen.ended)?;
        let hits = seen.first_hits.iter();
        result.set_item(
            "hits",
            PyList::new(py, hits.map(|hit| PyBytes::new(py, &hit.frame)))?,
        )?;
        let samples = seen.samples.iter();
        result.set_item(
            "samples",
            PyList::new(
                py,
                samples.map(|sample| (sample.gso_size, PyBytes::new(py, &sample.frame))),
            )?,
        )?;
        Ok(result)
    }
}
