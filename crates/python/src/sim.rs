//! The simulation, as Python steps it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use esprit_crypto::placement::{Ask, Candidate, Placer};
use esprit_crypto::{Class, Direction, EngineId, Grants};
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

/// What a Python placement raised; the run ends with it.
type Raised = Arc<Mutex<Option<PyErr>>>;

/// A placement in Python.
struct Placement {
    pick: Py<PyAny>,
    raised: Raised,
}

impl Placement {
    fn ask(&self, ask: &Ask, candidates: &[Candidate]) -> PyResult<Option<u32>> {
        Python::attach(|py| {
            let direction = match ask.direction {
                Direction::Seal => "seal",
                Direction::Open => "open",
            };
            let rows: Vec<_> = candidates
                .iter()
                .map(|at| {
                    let class = match at.class {
                        Class::Primary => "primary",
                        Class::Secondary => "secondary",
                        Class::Application => "application",
                    };
                    (
                        at.engine.0,
                        at.tier,
                        class,
                        at.backlog_ns,
                        at.service_ns + at.key_ns,
                        at.latency_ns,
                        at.transfer_ns,
                        at.bias_ns,
                        at.cost_ns,
                    )
                })
                .collect();
            let job = (
                ask.now.0,
                ask.member,
                ask.algorithm.name(),
                direction,
                ask.shape.packets,
                ask.shape.bytes,
            );
            self.pick.call1(py, (job, rows))?.extract(py)
        })
    }
}

impl Placer for Placement {
    fn place(&mut self, ask: &Ask, candidates: &[Candidate]) -> Option<EngineId> {
        match self.ask(ask, candidates) {
            Ok(engine) => engine.map(EngineId),
            Err(error) => {
                let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
                raised.get_or_insert(error);
                None
            }
        }
    }
}

/// A host in virtual time.
#[pyclass(module = "esprit._native", frozen)]
pub struct Simulation {
    /// Boxed: the interpreter aligns to 16 bytes, the search for the canary wants 32.
    inner: Box<Mutex<sim::Simulation>>,
    raised: Raised,
}

fn done(answer: Answer) -> Result<(), NativeError> {
    match answer {
        Answer::Refused(text) => Err(NativeError::Refused(text)),
        Answer::Done
        | Answer::Epoch(_)
        | Answer::Snapshot(_)
        | Answer::Loads(_)
        | Answer::Sa(_)
        | Answer::Tops(_)
        | Answer::Engine(_)
        | Answer::Explanation(_)
        | Answer::LastDrop(_) => Ok(()),
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
    #[pyo3(signature = (config, placement = None))]
    fn new(config: &Bound<'_, PyAny>, placement: Option<Py<PyAny>>) -> Result<Self, NativeError> {
        let config: sim::Config = read("simulation", config)?;
        let raised = Raised::default();
        let placer = placement.map(|pick| -> Box<dyn Placer> {
            let raised = Arc::clone(&raised);
            Box::new(Placement { pick, raised })
        });
        let inner = sim::Simulation::new(config, |pool| pool.set_placer(placer));
        Ok(Self {
            inner: Box::new(Mutex::new(inner)),
            raised,
        })
    }

    fn now(&self) -> u64 {
        self.inner().now().0
    }

    /// Runs without the interpreter's lock; answers the events that a decision is due about, or
    /// none at `until`.
    fn advance<'py>(&self, py: Python<'py>, until: u64) -> PyResult<Bound<'py, PyAny>> {
        let events = py.detach(|| self.inner().advance(Time(until)));
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        match raised.take() {
            Some(error) => Err(error),
            None => write(py, &events),
        }
    }

    fn violation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        write(py, &self.inner().violation())
    }

    fn mark(&self) {
        self.inner().mark();
    }

    fn is_idle(&self) -> bool {
        self.inner().is_idle()
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

    fn loads<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        write(py, &self.inner().loads())
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

    /// What engines may do for applications' tasks.
    fn applications(&self, grants: &Bound<'_, PyAny>) -> Result<(), NativeError> {
        let grants: Grants = read("grants", grants)?;
        done(self.inner().applications(grants))
    }

    fn application_add(&self, spec: &Bound<'_, PyAny>, key: &[u8]) -> Result<(), NativeError> {
        let spec: sim::ApplicationSpec = read("application", spec)?;
        let added = self.inner().application_add(spec, key);
        added.map_err(NativeError::Value)
    }

    /// Breaks a rule on purpose at the `after`-th occasion, to show that its check sees it.
    fn sabotage(&self, what: &Bound<'_, PyAny>) -> Result<(), NativeError> {
        let what: sim::Sabotage = read("sabotage", what)?;
        self.inner().sabotage(what);
        Ok(())
    }
}
