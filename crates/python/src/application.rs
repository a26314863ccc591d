//! Applications' tasks: the pool as Python programs use it.

use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, unbounded};
use esprit_crypto::{Algorithm, Direction, Wake};
use esprit_datapath::application::{
    Failure, LoadSpec, Message, Outcome, Requester as Inner, Returned, Started, load,
};
use esprit_datapath::{EventFd, monotonic};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};

use crate::dataplane::DataPlane;
use crate::error::{NativeError, read, write};

impl From<Failure> for NativeError {
    fn from(failure: Failure) -> Self {
        Self::Task(failure.to_string())
    }
}

/// A key, expanded by the library; nothing gives its bytes back.
#[pyclass(module = "esprit._native", frozen)]
pub struct AeadKey(Mutex<Option<Arc<esprit_crypto::AeadKey>>>);

impl AeadKey {
    fn get(&self) -> Result<Arc<esprit_crypto::AeadKey>, NativeError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(|| NativeError::Value("this key was cleared".to_owned()))
    }
}

#[pymethods]
impl AeadKey {
    #[new]
    fn new(algorithm: &Bound<'_, PyAny>, material: &[u8]) -> Result<Self, NativeError> {
        let algorithm: Algorithm = read("algorithm", algorithm)?;
        let key = esprit_crypto::AeadKey::new(algorithm, material)
            .map_err(|error| NativeError::Value(error.to_string()))?;
        Ok(Self(Mutex::new(Some(key))))
    }

    /// Lets go of the key; the library cleanses it once no task uses it any more.
    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

type Triple = (PyBackedBytes, PyBackedBytes, PyBackedBytes);

/// A message over bytes that Python holds and nobody changes.
fn message<'a>(nonce: &[u8], data: &'a [u8], aad: &'a [u8]) -> Result<Message<'a>, NativeError> {
    let nonce = nonce.try_into().map_err(|_| {
        NativeError::Value(format!("a nonce has 12 bytes, this one {}", nonce.len()))
    })?;
    Ok(Message { nonce, aad, data })
}

/// Asks a data plane for work.
#[pyclass(module = "esprit._native", frozen)]
pub struct Requester(Arc<Inner>);

#[pymethods]
impl Requester {
    #[new]
    #[pyo3(signature = (plane, *, room = None))]
    fn new(plane: &DataPlane, room: Option<usize>) -> Result<Self, NativeError> {
        let thread = plane.thread()?;
        Ok(Self(Arc::new(match room {
            Some(room) => Inner::with_room(&thread, room),
            None => Inner::new(&thread),
        })))
    }

    /// Does all messages and waits for them, without the interpreter's lock.
    fn run<'py>(
        &self,
        py: Python<'py>,
        key: &AeadKey,
        direction: &Bound<'py, PyAny>,
        messages: Vec<Triple>,
    ) -> PyResult<Bound<'py, PyList>> {
        let direction: Direction = read("direction", direction)?;
        let key = key.get()?;
        let messages = messages
            .iter()
            .map(|(nonce, data, aad)| message(nonce, data, aad))
            .collect::<Result<Vec<_>, _>>()?;
        let results = py
            .detach(|| self.0.run(&key, direction, &messages))
            .map_err(NativeError::from)?;
        PyList::new(
            py,
            results
                .iter()
                .map(|result| result.as_ref().map(|bytes| PyBytes::new(py, bytes))),
        )
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        write(py, &self.0.statistics())
    }

    /// Generates load and waits for its end, without the interpreter's lock.
    fn load<'py>(
        &self,
        py: Python<'py>,
        key: &AeadKey,
        spec: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let spec: LoadSpec = read("load", spec)?;
        let key = key.get()?;
        let report = py
            .detach(|| load(&self.0, &key, &spec, &monotonic))
            .map_err(NativeError::from)?;
        write(py, &report)
    }
}

/// Messages that nobody waits for: their results lie here, and a descriptor says so.
#[pyclass(module = "esprit._native", frozen)]
pub struct Completions {
    requester: Arc<Inner>,
    to: Sender<Returned>,
    from: Receiver<Returned>,
    fd: Arc<EventFd>,
    wake: Arc<dyn Wake>,
}

#[pymethods]
impl Completions {
    #[new]
    fn new(requester: &Requester) -> Result<Self, NativeError> {
        let fd = EventFd::new()
            .map(Arc::new)
            .map_err(|error| NativeError::System("eventfd".to_owned(), error))?;
        let (to, from) = unbounded();
        Ok(Self {
            requester: Arc::clone(&requester.0),
            to,
            from,
            wake: fd.clone(),
            fd,
        })
    }

    fn fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    fn start(
        &self,
        tag: u64,
        key: &AeadKey,
        direction: &Bound<'_, PyAny>,
        nonce: &[u8],
        data: &[u8],
        aad: &[u8],
    ) -> Result<&'static str, NativeError> {
        let direction: Direction = read("direction", direction)?;
        let message = message(nonce, data, aad)?;
        let key = key.get()?;
        let started = self
            .requester
            .start(&key, direction, &message, tag, &self.to, &self.wake)?;
        Ok(match started {
            Started::Yes => "started",
            Started::NoRoom => "full",
            Started::TooLong => "long",
        })
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.fd.clear();
        let list = PyList::empty(py);
        for returned in self.from.try_iter() {
            let (output, failure) = match &returned.outcome {
                Outcome::Done {
                    dst, bad_icv: 0, ..
                } => (Some(PyBytes::new(py, dst.data())), String::new()),
                Outcome::Done { .. } => (None, String::new()),
                Outcome::NoEngine => (None, Failure::NoEngine.to_string()),
                Outcome::Lost => (None, Failure::Lost.to_string()),
                Outcome::Stopped => (None, Failure::Stopped.to_string()),
            };
            list.append((returned.tag, output, failure))?;
        }
        Ok(list)
    }
}
