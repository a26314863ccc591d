//! The data plane of a process, as Python holds it.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use esprit_crypto::{AeadKey, Algorithm, Engine, EngineId, Grants, Wake};
use esprit_datapath::sa::needs;
use esprit_datapath::{
    Answer, Command, EventFd, Events, Flow, Mac, MemberSpec, Plan, PolicyWithSas, ProbeKey, Taken,
    TeamSpec, Worker, WorkerThread,
};
use esprit_ipsec::sad::SaSpec;
use esprit_packet::Pool as Buffers;
use esprit_port::{
    LinkMonitor, LinkProber, PacketOptions, PacketPort, Tap, TapError, TapOptions, device,
};
use pyo3::prelude::*;
use serde::{Deserialize, Serialize};

use crate::engine::{EngineSpec, evidence, fault, test};
use crate::error::{NativeError, read, write};

/// RFC 4106 section 8.1: the salt is the last four bytes of the keying material.
const SALT: usize = 4;

#[derive(Deserialize)]
struct NewTeam {
    #[serde(flatten)]
    spec: TeamSpec,
    #[serde(default)]
    adopt: bool,
}

#[derive(Serialize)]
struct TeamInfo {
    ifindex: u32,
    offloads: Vec<String>,
}

#[derive(Deserialize)]
struct NewMember {
    id: u32,
    team: u32,
    interface: String,
}

#[derive(Serialize)]
struct MemberInfo {
    ifindex: u32,
    mac: Mac,
    mtu: u32,
    rcvbuf: usize,
    up: bool,
}

/// What this side remembers of what it made.
#[derive(Default)]
struct Made {
    taps: BTreeMap<u32, (String, Mac)>,
    engines: BTreeMap<u32, EngineSpec>,
    /// Engines that failed a later test: kept, so that they can be tested again.
    refused: BTreeMap<u32, Box<dyn Engine>>,
    links: bool,
}

/// One data plane per process: its thread, its ports, its engines.
#[pyclass(module = "esprit._native", frozen)]
pub struct DataPlane {
    thread: Mutex<Option<Arc<WorkerThread>>>,
    events: Events,
    event_fd: Arc<EventFd>,
    wake: Arc<EventFd>,
    made: Mutex<Made>,
}

impl DataPlane {
    pub(crate) fn thread(&self) -> Result<Arc<WorkerThread>, NativeError> {
        self.thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or(NativeError::Stopped)
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a command to the worker and waits, without the interpreter's lock.
    fn call(&self, py: Python<'_>, command: Command) -> Result<Answer, NativeError> {
        let thread = self.thread()?;
        match py.detach(|| thread.call(command))? {
            Answer::Refused(text) => Err(NativeError::Refused(text)),
            answer => Ok(answer),
        }
    }

    fn admit(
        &self,
        py: Python<'_>,
        spec: &EngineSpec,
    ) -> Result<crate::engine::EngineReport, NativeError> {
        let wake: Arc<dyn Wake> = self.wake.clone();
        let (verified, report) = py.detach(|| spec.verify(wake))?;
        self.call(py, Command::EngineAdmit(EngineId(spec.id), verified))?;
        Ok(report)
    }
}

#[pymethods]
impl DataPlane {
    #[new]
    #[pyo3(signature = (*, small_buffers = 8192, large_buffers = 768))]
    fn new(small_buffers: usize, large_buffers: usize) -> Result<Self, NativeError> {
        let fd = || {
            EventFd::new()
                .map(Arc::new)
                .map_err(|error| NativeError::System("eventfd".to_owned(), error))
        };
        let (event_fd, wake) = (fd()?, fd()?);
        let events = Events::new(event_fd.clone());
        let pool = esprit_crypto::Pool::new(wake.clone());
        let worker = Worker::new(
            Buffers::new(small_buffers, large_buffers),
            pool,
            events.clone(),
        );
        let thread = WorkerThread::start(worker, events.clone(), wake.clone())
            .map_err(|error| NativeError::System("data-plane thread".to_owned(), error))?;
        Ok(Self {
            thread: Mutex::new(Some(Arc::new(thread))),
            events,
            event_fd,
            wake,
            made: Mutex::default(),
        })
    }

    fn close(&self, py: Python<'_>) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        py.detach(|| drop(thread));
    }

    fn event_fd(&self) -> i32 {
        self.event_fd.as_raw_fd()
    }

    fn events<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.event_fd.clear();
        write(py, &self.events.drain())
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let answer = self.call(py, Command::Snapshot)?;
        match &answer {
            Answer::Snapshot(snapshot) => write(py, &**snapshot),
            answer => Err(unexpected(answer).into()),
        }
    }

    fn loads<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let answer = self.call(py, Command::Loads)?;
        match &answer {
            Answer::Loads(loads) => write(py, &**loads),
            answer => Err(unexpected(answer).into()),
        }
    }

    fn team_add<'py>(
        &self,
        py: Python<'py>,
        spec: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let new: NewTeam = read("team", spec)?;
        let name = new.spec.name.clone();
        let system = |error| NativeError::System(format!("virtual NIC {name}"), error);
        let options = TapOptions {
            adopt: new.adopt,
            persist: true,
        };
        let tap = Tap::create(&name, options).map_err(|error| refused_tap(&error))?;
        device::set_mac(&name, new.spec.mac.0).map_err(system)?;
        let info = TeamInfo {
            ifindex: tap.ifindex(),
            offloads: tap.offloads().iter().map(ToString::to_string).collect(),
        };
        let (id, mac) = (new.spec.id, new.spec.mac);
        self.call(py, Command::TeamAdd(new.spec, Box::new(tap)))?;
        self.made().taps.insert(id, (name.clone(), mac));
        write(py, &info)
    }

    #[pyo3(signature = (team, *, destroy))]
    fn team_remove(&self, py: Python<'_>, team: u32, destroy: bool) -> Result<(), NativeError> {
        self.call(py, Command::TeamRemove(team))?;
        let tap = self.made().taps.remove(&team);
        if let Some((name, _)) = tap
            && destroy
        {
            // The worker closed its handle; this one only takes the device away.
            let options = TapOptions {
                adopt: true,
                persist: true,
            };
            Tap::create(&name, options)
                .map_err(|error| refused_tap(&error))?
                .destroy()
                .map_err(|error| NativeError::System(format!("virtual NIC {name}"), error))?;
        }
        Ok(())
    }

    fn member_add<'py>(
        &self,
        py: Python<'py>,
        spec: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let new: NewMember = read("member", spec)?;
        let name = new.interface;
        let system = |error| NativeError::System(format!("member {name}"), error);
        let team_mac = self
            .made()
            .taps
            .get(&new.team)
            .map(|(_, mac)| *mac)
            .ok_or_else(|| NativeError::Refused(format!("team {} does not exist", new.team)))?;
        let ifindex = device::ifindex(&name).map_err(|_| NativeError::Gone(name.clone()))?;
        let mac = Mac(device::mac(&name).map_err(system)?);
        // Links are watched before the port is opened and its state is read, so that a fall
        // in between is seen by one of the two.
        if !self.made().links {
            let monitor = LinkMonitor::open().map_err(system)?;
            let prober =
                LinkProber::start(LinkProber::EVERY, esprit_crypto::come_first).map_err(system)?;
            self.call(py, Command::Links(monitor, prober))?;
            self.made().links = true;
        }
        let mut port = PacketPort::open(ifindex, PacketOptions::default()).map_err(system)?;
        port.set_addresses(&[team_mac.0]).map_err(system)?;
        let up = esprit_port::link::query(ifindex).map_err(system)?.up;
        let info = MemberInfo {
            ifindex,
            mac,
            mtu: device::mtu(&name).map_err(system)?,
            rcvbuf: port.receive_buffer(),
            up,
        };
        let spec = MemberSpec {
            id: new.id,
            team: new.team,
            mac,
            ifindex,
            up,
        };
        self.call(py, Command::MemberAdd(spec, Box::new(port)))?;
        write(py, &info)
    }

    fn member_remove(&self, py: Python<'_>, member: u32) -> Result<(), NativeError> {
        self.call(py, Command::MemberRemove(member)).map(drop)
    }

    fn engine_add<'py>(
        &self,
        py: Python<'py>,
        spec: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let spec: EngineSpec = read("engine", spec)?;
        if self.made().engines.contains_key(&spec.id) {
            return Err(NativeError::Refused(format!("engine {} exists already", spec.id)).into());
        }
        let report = self.admit(py, &spec)?;
        self.made().engines.insert(spec.id, spec);
        write(py, &report)
    }

    fn engine_remove(&self, py: Python<'_>, engine: u32) -> Result<(), NativeError> {
        self.call(py, Command::EngineRemove(EngineId(engine)))?;
        let mut made = self.made();
        made.engines.remove(&engine);
        let refused = made.refused.remove(&engine);
        drop(made);
        // It may have threads that end with it.
        py.detach(|| drop(refused));
        Ok(())
    }

    /// A reset takes the engine out, makes it anew (its keys are gone, its faults too), tests
    /// it like a stranger and lets it in again.
    fn engine_reset<'py>(&self, py: Python<'py>, engine: u32) -> PyResult<Bound<'py, PyAny>> {
        let spec = self.made().engines.get(&engine).cloned();
        let spec =
            spec.ok_or_else(|| NativeError::Refused(format!("engine {engine} does not exist")))?;
        self.call(py, Command::EngineRemove(EngineId(engine)))?;
        let refused = self.made().refused.remove(&engine);
        py.detach(|| drop(refused));
        let report = self.admit(py, &spec)?;
        write(py, &report)
    }

    /// Tests an engine as it is, with its faults: it is out of service meanwhile, and stays out
    /// where it fails, but is kept for another try.
    fn engine_verify<'py>(&self, py: Python<'py>, engine: u32) -> PyResult<Bound<'py, PyAny>> {
        let spec = self.made().engines.get(&engine).cloned();
        let spec =
            spec.ok_or_else(|| NativeError::Refused(format!("engine {engine} does not exist")))?;
        let taken = match self.call(py, Command::EngineTake(EngineId(engine)))? {
            Answer::Engine(Some(Taken(taken))) => Some(taken),
            Answer::Engine(None) => self.made().refused.remove(&engine),
            answer => return Err(unexpected(&answer).into()),
        };
        let taken = taken.ok_or_else(|| {
            NativeError::Refused(format!("engine {} is being tested already", spec.name))
        })?;
        match py.detach(|| test(taken)) {
            Ok((verified, report)) => {
                self.call(py, Command::EngineAdmit(EngineId(engine), verified))?;
                write(py, &report)
            }
            Err(refused) => {
                let evidence = evidence(&refused);
                self.made().refused.insert(engine, refused.engine);
                Err(NativeError::Engine(spec.name, evidence).into())
            }
        }
    }

    #[pyo3(signature = (engine, name, value = 0))]
    fn engine_fault(
        &self,
        py: Python<'_>,
        engine: u32,
        name: &str,
        value: u64,
    ) -> Result<(), NativeError> {
        let fault = fault(name, value)?;
        // One that failed its test is kept here, outside the pool.
        if let Some(engine) = self.made().refused.get_mut(&engine) {
            return match engine.inject(fault) {
                true => Ok(()),
                false => Err(NativeError::Refused(
                    "only simulated engines can be made to fail".to_owned(),
                )),
            };
        }
        self.call(py, Command::EngineFault(EngineId(engine), fault))
            .map(drop)
    }

    /// What engines may do for applications' tasks of this process.
    fn applications(&self, py: Python<'_>, grants: &Bound<'_, PyAny>) -> Result<(), NativeError> {
        let grants: Grants = read("grants", grants)?;
        self.call(py, Command::Applications(Box::new(grants)))
            .map(drop)
    }

    fn probe_key(&self, py: Python<'_>, team: u32, key: &[u8]) -> Result<(), NativeError> {
        let key: &[u8; ProbeKey::LEN] = key.try_into().map_err(|_| {
            let wanted = ProbeKey::LEN;
            NativeError::Value(format!(
                "{} bytes are no probe key: give {wanted}",
                key.len()
            ))
        })?;
        self.call(py, Command::ProbeKey(team, ProbeKey::new(key)))
            .map(drop)
    }

    fn explain<'py>(
        &self,
        py: Python<'py>,
        team: u32,
        flow: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let flow: Flow = read("flow", flow)?;
        match self.call(py, Command::Explain(team, Box::new(flow)))? {
            Answer::Explanation(explanation) => write(py, &*explanation),
            answer => Err(unexpected(&answer).into()),
        }
    }

    fn last_drop<'py>(&self, py: Python<'py>, team: u32) -> PyResult<Bound<'py, PyAny>> {
        match self.call(py, Command::LastDrop(team))? {
            Answer::LastDrop(drop) => write(py, &drop),
            answer => Err(unexpected(&answer).into()),
        }
    }

    fn publish(&self, py: Python<'_>, plan: &Bound<'_, PyAny>) -> Result<u64, NativeError> {
        let plan: Plan = read("plan", plan)?;
        let answer = self.call(py, Command::Publish(Box::new(plan)))?;
        match answer {
            Answer::Epoch(epoch) => Ok(epoch),
            answer => Err(unexpected(&answer)),
        }
    }

    fn sa_add(
        &self,
        py: Python<'_>,
        spec: &Bound<'_, PyAny>,
        key: &[u8],
    ) -> Result<(), NativeError> {
        let spec: SaSpec = read("SA", spec)?;
        spec.validate()
            .map_err(|error| NativeError::Value(error.to_string()))?;
        let split = key.len().checked_sub(SALT);
        let (cipher, salt) = split
            .map(|at| key.split_at(at))
            .and_then(|(cipher, salt)| Some((cipher, <[u8; SALT]>::try_from(salt).ok()?)))
            .ok_or_else(|| NativeError::Value(format!("SA {}: the key is too short", spec.id)))?;
        let algorithm = match cipher.len() {
            16 => Algorithm::Aes128Gcm16,
            32 => Algorithm::Aes256Gcm16,
            other => {
                return Err(NativeError::Value(format!(
                    "SA {}: {other} bytes are no AES key of {}: give 16 or 32, and 4 of salt",
                    spec.id, spec.algorithm
                )));
            }
        };
        let key = AeadKey::for_sa(algorithm, cipher, needs(&spec))
            .map_err(|error| NativeError::Value(format!("SA {}: {error}", spec.id)))?;
        self.call(py, Command::SaAdd(Box::new(spec), key, salt))
            .map(drop)
    }

    fn sa_delete(&self, py: Python<'_>, sa: u32) -> Result<(), NativeError> {
        self.call(py, Command::SaDelete(sa)).map(drop)
    }

    fn sa_show<'py>(&self, py: Python<'py>, sa: u32) -> PyResult<Bound<'py, PyAny>> {
        match self.call(py, Command::Sa(sa))? {
            Answer::Sa(found) => write(py, &found),
            answer => Err(unexpected(&answer).into()),
        }
    }

    fn sa_tops<'py>(&self, py: Python<'py>, team: u32, step: u64) -> PyResult<Bound<'py, PyAny>> {
        match self.call(py, Command::Tops(team, step))? {
            Answer::Tops(tops) => write(py, &tops),
            answer => Err(unexpected(&answer).into()),
        }
    }

    fn sa_grant(&self, py: Python<'_>, sa: u32, upto: u64) -> Result<(), NativeError> {
        self.call(py, Command::SaGrant(sa, upto)).map(drop)
    }

    fn sa_next_hop(&self, py: Python<'_>, sa: u32, mac: Option<String>) -> Result<(), NativeError> {
        let mac = mac
            .map(Mac::try_from)
            .transpose()
            .map_err(NativeError::Value)?;
        self.call(py, Command::SaNextHop(sa, mac)).map(drop)
    }

    fn policies_set(
        &self,
        py: Python<'_>,
        team: u32,
        policies: &Bound<'_, PyAny>,
    ) -> Result<(), NativeError> {
        let policies: Vec<PolicyWithSas> = read("policies", policies)?;
        self.call(py, Command::Policies(team, policies)).map(drop)
    }
}

fn refused_tap(error: &TapError) -> NativeError {
    NativeError::Refused(error.to_string())
}

fn unexpected(answer: &Answer) -> NativeError {
    NativeError::Refused(format!("the data plane answered {answer:?}"))
}
