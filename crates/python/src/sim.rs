//! The simulation, as Python steps it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use esprit_datapath::{Answer, Plan, PolicyWithSas, TeamSpec};
use esprit_ipsec::sad::SaSpec;
use esprit_packet::Time;
use esprit_sim as sim;
use pyo3::prelude::*;
use serde::Deserialize;

use crate::engine::fault;
use crate::error::{NativeError, read, write};

#[derive(Deserialize)]
struct EngineSpec {
    id: u32,
    name: String,
    /// The member that it belongs to; the Plan says what follows from that.
    #[serde(default, rename = "member")]
    _member: Option<u32>,
    #[serde(flatten)]
    model: sim::EngineModel,
}

/// A host in virtual time.
#[pyclass(module = "esprit._native", frozen)]
pub struct Simulation {
    /// Boxed: the interpreter aligns to 16 bytes, the search for the canary wants 32.
    inner: Box<Mutex<sim::Simulation>>,
}

fn done(answer: Answer) -> Result<(), NativeError> {
    match answer {
        Answer::Refused(text) => Err(NativeError::Refused(text)),
        Answer::Done | Answer::Epoch(_) | Answer::Snapshot(_) => Ok(()),
    }
}

impl Simulation {
    fn inner(&self) -> MutexGuard<'_, sim::Simulation> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Simulation {
    #[new]
    fn new(config: &Bound<'_, PyAny>) -> Result<Self, NativeError> {
        let config: sim::Config = read("simulation", config)?;
        Ok(Self {
            inner: Box::new(Mutex::new(sim::Simulation::new(config, |_| {}))),
        })
    }

    fn now(&self) -> u64 {
        self.inner().now().0
    }

    /// Runs without the interpreter's lock; answers the events that a decision is due about, or
    /// none at `until`.
    fn advance<'py>(&self, py: Python<'py>, until: u64) -> PyResult<Bound<'py, PyAny>> {
        let events = py.detach(|| self.inner().advance(Time(until)));
        write(py, &events)
    }

    fn violation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        write(py, &self.inner().violation())
    }

    fn mark(&self) {
        self.inner().mark();
    }

    fn audit(&self) {
        self.inner().audit();
    }

    fn audit_at_rest(&self, stopped: bool) {
        self.inner().audit_at_rest(stopped);
    }

    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        write(py, &self.inner().report())
    }

    fn job_rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        write(py, &self.inner().job_rows())
    }

    fn event_rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        write(py, &self.inner().event_rows())
    }

    fn note(&self, kind: &str, details: &str) {
        self.inner().note(kind, details);
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        write(py, &self.inner().snapshot())
    }

    fn team_add(&self, spec: &Bound<'_, PyAny>) -> Result<(), NativeError> {
        let spec: TeamSpec = read("team", spec)?;
        done(self.inner().team_add(&spec))
    }

    fn member_add(&self, spec: &Bound<'_, PyAny>) -> Result<(), NativeError> {
        let spec: sim::MemberSpec = read("member", spec)?;
        done(self.inner().member_add(&spec))
    }

    fn member_remove(&self, member: u32) {
        self.inner().member_remove(member);
    }

    fn engine_add<'py>(
        &self,
        py: Python<'py>,
        spec: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let spec: EngineSpec = read("engine", spec)?;
        let found = py.detach(|| self.inner().engine_add(spec.id, &spec.model));
        let report = found.map_err(|evidence| NativeError::Engine(spec.name, evidence))?;
        write(py, &report)
    }

    fn engine_remove(&self, engine: u32) {
        self.inner().engine_remove(engine);
    }

    fn engine_reset<'py>(&self, py: Python<'py>, engine: u32) -> PyResult<Bound<'py, PyAny>> {
        let found = py.detach(|| self.inner().engine_reset(engine));
        let report = found.map_err(|text| NativeError::Engine(engine.to_string(), text))?;
        write(py, &report)
    }

    fn engine_verify<'py>(&self, py: Python<'py>, engine: u32) -> PyResult<Bound<'py, PyAny>> {
        let found = py.detach(|| self.inner().engine_verify(engine));
        let report = found.map_err(|text| NativeError::Engine(engine.to_string(), text))?;
        write(py, &report)
    }

    #[pyo3(signature = (engine, name, value = 0))]
    fn engine_fault(&self, engine: u32, name: &str, value: u64) -> Result<(), NativeError> {
        done(self.inner().engine_fault(engine, fault(name, value)?))
    }

    fn publish(&self, plan: &Bound<'_, PyAny>) -> Result<(), NativeError> {
        let plan: Plan = read("plan", plan)?;
        done(self.inner().publish(plan))
    }

    fn sa_add(&self, spec: &Bound<'_, PyAny>, key: &[u8]) -> Result<(), NativeError> {
        let spec: SaSpec = read("SA", spec)?;
        let answer = self.inner().sa_add(spec, key).map_err(NativeError::Value)?;
        done(answer)
    }

    fn policies_set(&self, team: u32, policies: &Bound<'_, PyAny>) -> Result<(), NativeError> {
        let policies: Vec<PolicyWithSas> = read("policies", policies)?;
        done(self.inner().policies(team, policies))
    }

    #[pyo3(signature = (member, *, up, deleted = false))]
    fn link(&self, member: u32, up: bool, deleted: bool) {
        self.inner().link(member, up, deleted);
    }

    fn deaf(&self, member: u32, deaf: bool) {
        self.inner().deaf(member, deaf);
    }

    fn traffic_add(&self, spec: &Bound<'_, PyAny>) -> Result<(), NativeError> {
        let spec: sim::TrafficSpec = read("traffic", spec)?;
        self.inner().traffic_add(spec);
        Ok(())
    }

    /// Breaks a rule on purpose at the `after`-th occasion, to show that its check sees it.
    fn sabotage(&self, what: &Bound<'_, PyAny>) -> Result<(), NativeError> {
        let what: sim::Sabotage = read("sabotage", what)?;
        self.inner().sabotage(what);
        Ok(())
    }
}
