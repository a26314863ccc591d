//! One host in virtual time.
//!
//! The shipped worker is stepped as its thread would step it: when something came in, when a
//! device has room again, when the worker said, but never sooner than a step takes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use esprit_crypto::{AeadKey, Algorithm, EngineId, Fault, Pool, Wake};
use esprit_datapath::plan::Delivery;
use esprit_datapath::probe::frame::ProbeKey;
use esprit_datapath::{
    Answer, Event, Events, Mac, MemberSpec as NativeMember, Plan, PolicyWithSas, Stamped, TeamSpec,
    Worker,
};
use esprit_ipsec::sad::{Direction, SaSpec};
use esprit_packet::{Pool as Buffers, Time, TxFrame, VnetHdr};
use esprit_port::LinkEvent;
use serde::Deserialize;

use crate::checks::{Eavesdropper, Rule, Sabotage, Trap, Verdict, Violation};
use crate::engine::{self, EngineModel, JobRow, Journal, Shared, lock};
use crate::peer::{Opened, Peer};
use crate::probe::{ETHERNET, IPV4, Mark, Probe, Template, UDP};
use crate::random::mix;
use crate::report::{EventRow, FlowReport, Latency, Report, Totals};
use crate::traffic::{Source, TrafficSpec};
use crate::wire::{HostPort, MemberPort, Wires};

/// The next hop's address, which every frame of the host goes to.
const NEXT_HOP: [u8; 6] = [2, 0, 0, 0, 0xfe, 1];

/// An engine may stand idle beside a waiting job for so long: a device that refused one for want of
/// what its bounds do not show is asked again after 1 ms, and that twice.
const IDLE: Time = Time::from_millis(2);

/// Steps at one moment beyond which the worker is not getting anywhere.
const STUCK: u32 = 100_000;

/// The number that stands for a probe that has arrived, in the place of its time.
const ARRIVED: u64 = u64::MAX;
/// ... and for one that a dead wire took.
const WIRE_LOST: u64 = u64::MAX - 1;

/// How a run is set up.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Everything random follows from it.
    pub seed: u64,
    /// Nanoseconds from an event of the data plane to the decision about it.
    pub control_ns: u64,
    /// Nanoseconds that a step of the worker takes at least, in which more comes in.
    pub turn_ns: u64,
    /// Frames that the host keeps for the virtual NIC (`txqueuelen`).
    pub host_queue: usize,
    /// Small and large buffers.
    pub buffers: (usize, usize),
    /// All that is sealed is checked before it leaves, so that not even a liar's bytes do.
    pub checked: bool,
    /// Rows of jobs kept at most.
    pub job_rows: usize,
    /// Rows of events kept at most.
    pub event_rows: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            control_ns: 1_000_000,
            turn_ns: 2_000,
            host_queue: 1000,
            buffers: (8192, 768),
            checked: false,
            job_rows: 1 << 20,
            event_rows: 1 << 16,
        }
    }
}

/// A member to be added.
#[derive(Clone, Debug, Deserialize)]
pub struct MemberSpec {
    /// Its number.
    pub id: u32,
    /// Its team.
    pub team: u32,
    /// Its own address.
    pub mac: Mac,
    /// Bits per second of its wire.
    pub rate_bps: u64,
    /// Bytes of an IP packet at most.
    pub mtu: usize,
    /// Frames in its device's ring.
    pub ring: usize,
    /// Whether its link is up.
    pub up: bool,
}

/// A probe that is on a wire.
#[derive(Clone, Copy, Debug)]
struct Flying {
    departs: Time,
    probe: Probe,
    bytes: u32,
}

/// Where packets of a flow keep their order: rule 4 is for each SA, and two links have no common
/// order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Host,
    Sa(u32, u32),
    Plain(u32),
}

/// What is known of a flow's probes.
#[derive(Debug, Default)]
struct Flow {
    source: usize,
    /// By number: when it was sent, or what became of it.
    fate: Vec<u64>,
    /// By lane: the next number that is in order there.
    next: BTreeMap<Lane, u32>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    sent_bytes: u64,
    delivered: u64,
    delivered_bytes: u64,
    refused: u64,
    wire_lost: u64,
    latencies: Vec<u64>,
    /// Before the window began.
    before: Totals,
}

impl Counts {
    /// Of the whole run.
    fn total(&self) -> Totals {
        Totals {
            sent: self.before.sent + self.sent,
            delivered: self.before.delivered + self.delivered,
            refused: self.before.refused + self.refused,
            wire_lost: self.before.wire_lost + self.wire_lost,
        }
    }
}

struct Silent;
impl Wake for Silent {
    fn wake(&self) {}
}

/// What an admitted engine can do and how fast, as measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EngineReport {
    /// What it declares.
    pub capabilities: esprit_crypto::Capabilities,
    /// What was measured.
    pub rates: Vec<esprit_crypto::rates::RateLine>,
    /// What it was asked, by algorithm and direction.
    pub tests: Vec<esprit_crypto::verify::Tested>,
    /// The longest of the measured latencies.
    pub latency_ns: u64,
}

/// Where a switch saw each address last.
type Seen = BTreeMap<[u8; 6], u32>;

/// A host, its traffic, its peer and its checks.
pub struct Simulation {
    config: Config,
    now: Time,
    worker: Worker,
    wires: Wires,
    events: Events,
    buffers: Buffers,
    journal: Shared,
    peer: Peer,
    ear: Eavesdropper,
    verdict: Verdict,
    trap: Trap,
    kept: Option<esprit_packet::SharedBuf>,
    canary: Mark,
    plain: Mark,
    sources: Vec<Source>,
    counts: Vec<Counts>,
    flows: Vec<Flow>,
    flying: BTreeMap<u32, VecDeque<Flying>>,
    team_macs: BTreeMap<u32, Mac>,
    member_macs: BTreeMap<[u8; 6], (u32, u32)>,
    models: BTreeMap<u32, EngineModel>,
    faults: BTreeMap<u32, Vec<Fault>>,
    /// When the worker is to be stepped, and not before when.
    wake: Option<Time>,
    free_at: Time,
    due: Option<Time>,
    pending: Vec<Stamped>,
    rows: Vec<EventRow>,
    switch: Seen,
    moves: u64,
    steps: u64,
    /// Engines that were made to fail: one that is stuck inside refuses jobs with nothing to do.
    failing: BTreeSet<u32>,
    /// Outbound SAs, with their teams, and teams whose packets engines' own members send.
    outbound: BTreeMap<u32, u32>,
    direct: BTreeSet<u32>,
    /// Since when an engine stands idle though a job waits.
    idle_since: Option<Time>,
    /// Probe frames that were put to members besides the first copy (a switch that floods).
    copies: u64,
    arrivals: u64,
    window_from: Time,
    member_bytes: BTreeMap<u32, u64>,
    member_frames: BTreeMap<u32, u64>,
    control_frames: u64,
    queued_most: usize,
    /// Frames that a device had received when it went, which nobody can have read.
    unread: u64,
    /// An engine was made to compute wrongly.
    lied: bool,
    /// Packets that it spoiled, unseen by a check that does not look at all of them.
    spoiled: u64,
}

impl Simulation {
    /// A host without teams. `prepare` may change the pool before the worker has it.
    #[must_use]
    pub fn new(config: Config, prepare: impl FnOnce(&mut Pool)) -> Self {
        let wake: Arc<dyn Wake> = Arc::new(Silent);
        let events = Events::new(Arc::clone(&wake));
        let buffers = Buffers::new(config.buffers.0, config.buffers.1);
        let mut pool = Pool::new(wake);
        prepare(&mut pool);
        let journal: Shared = Shared::default();
        {
            let mut journal: std::sync::MutexGuard<'_, Journal> = lock(&journal);
            journal.keep = config.job_rows;
        }
        let canary = mix(config.seed ^ 0xca).to_be_bytes();
        Self {
            worker: Worker::new(buffers.clone(), pool, events.clone()),
            now: Time::ZERO,
            wires: Wires::default(),
            events,
            buffers,
            journal,
            peer: Peer::default(),
            ear: Eavesdropper::new(&canary),
            verdict: Verdict::default(),
            trap: Trap::default(),
            kept: None,
            canary,
            plain: mix(config.seed ^ 0xf1).to_be_bytes(),
            sources: Vec::new(),
            counts: Vec::new(),
            flows: Vec::new(),
            flying: BTreeMap::new(),
            team_macs: BTreeMap::new(),
            member_macs: BTreeMap::new(),
            models: BTreeMap::new(),
            faults: BTreeMap::new(),
            wake: None,
            free_at: Time::ZERO,
            due: None,
            pending: Vec::new(),
            rows: Vec::new(),
            switch: BTreeMap::new(),
            moves: 0,
            steps: 0,
            failing: BTreeSet::new(),
            outbound: BTreeMap::new(),
            direct: BTreeSet::new(),
            idle_since: None,
            copies: 0,
            arrivals: 0,
            window_from: Time::ZERO,
            member_bytes: BTreeMap::new(),
            member_frames: BTreeMap::new(),
            control_frames: 0,
            queued_most: 0,
            unread: 0,
            lied: false,
            spoiled: 0,
            config,
        }
    }

    /// Now, in virtual time.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The rule that was broken first, if one was.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        let engines = lock(&self.journal).verdict.0.clone();
        match (self.verdict.0.clone(), engines) {
            (Some(ours), Some(engines)) if engines.time < ours.time => Some(engines),
            (Some(ours), _) => Some(ours),
            (None, engines) => engines,
        }
    }

    /// Breaks a rule on purpose.
    pub fn sabotage(&mut self, sabotage: Sabotage) {
        self.trap.set(Some(sabotage));
        lock(&self.journal).trap.set(Some(sabotage));
    }

    /// Everything there is to see of the worker.
    #[must_use]
    pub fn snapshot(&self) -> esprit_datapath::snapshot::Snapshot {
        self.worker.snapshot(self.now)
    }

    /// Jobs, in the order in which engines were given them.
    #[must_use]
    pub fn job_rows(&self) -> Vec<JobRow> {
        lock(&self.journal).rows.clone()
    }

    /// Events, in the order of their time.
    #[must_use]
    pub fn event_rows(&self) -> &[EventRow] {
        &self.rows
    }

    /// Writes an event down.
    pub fn note(&mut self, kind: &str, details: &str) {
        if self.rows.len() < self.config.event_rows {
            self.rows.push(EventRow {
                time: self.now.0,
                kind: kind.to_owned(),
                details: details.to_owned(),
            });
        }
    }
}

// commands, by the names that the data plane's handle has

impl Simulation {
    /// Adds a team.
    pub fn team_add(&mut self, spec: &TeamSpec) -> Answer {
        let answer = self.worker.team_add(spec);
        if matches!(answer, Answer::Done) {
            self.team_macs.insert(spec.id, spec.mac);
            let (low, high) = (mix(self.config.seed ^ 0xba), mix(self.config.seed ^ 0xbb));
            let key = [low.to_be_bytes(), high.to_be_bytes()].concat();
            if let Ok(key) = <[u8; 16]>::try_from(key) {
                self.worker.probe_key(spec.id, ProbeKey::new(&key));
            }
            self.wires.hosts.insert(spec.id, HostPort::default());
        }
        answer
    }

    /// Adds a member.
    pub fn member_add(&mut self, spec: &MemberSpec) -> Answer {
        let answer = self.worker.member_add(&NativeMember {
            id: spec.id,
            team: spec.team,
            mac: spec.mac,
            ifindex: spec.id,
            up: spec.up,
        });
        if matches!(answer, Answer::Done) {
            let port = MemberPort::new(spec.rate_bps, spec.mtu, spec.ring.max(1), spec.up);
            self.wires.members.insert(spec.id, port);
            self.member_macs.insert(spec.mac.0, (spec.id, spec.team));
        }
        answer
    }

    /// Removes a member: a Plan without it came before.
    pub fn member_remove(&mut self, member: u32) {
        self.prepare();
        self.worker.member_remove(self.now, member, &mut self.wires);
        self.merged();
        self.after();
        self.settle_member(member, self.now);
        // What its ring holds still leaves: the interface is given back, not pulled.
        if let Some(flying) = self.flying.remove(&member) {
            for one in flying {
                self.arrived(one);
            }
        }
        if let Some(port) = self.wires.members.remove(&member) {
            self.unread += port.rx.len() as u64;
        }
        self.member_macs.retain(|_, (id, _)| *id != member);
        self.wake_at(self.now);
    }

    /// Makes an engine, tests it, admits it.
    ///
    /// # Errors
    /// The evidence against it.
    pub fn engine_add(&mut self, id: u32, model: &EngineModel) -> Result<EngineReport, String> {
        self.models.insert(id, model.clone());
        self.faults.remove(&id);
        self.admit(id)
    }

    fn admit(&mut self, id: u32) -> Result<EngineReport, String> {
        let model = self.models.get(&id).ok_or("there is no such engine")?;
        let faults = self.faults.get(&id).map_or(&[][..], Vec::as_slice);
        let verified = engine::make(id, model, faults, &self.journal)?;
        let rates = verified.rates().lines();
        let report = EngineReport {
            capabilities: verified.engine().capabilities().clone(),
            latency_ns: rates
                .iter()
                .map(|line| line.rate.latency_ns)
                .fold(0.0, f64::max) as u64,
            rates,
            tests: verified.tests().to_vec(),
        };
        self.worker.engine_admit(EngineId(id), verified);
        self.wake_at(self.now);
        Ok(report)
    }

    /// Removes an engine; its jobs are redone elsewhere.
    pub fn engine_remove(&mut self, id: u32) {
        self.worker.engine_remove(self.now, EngineId(id));
        self.wake_at(self.now);
    }

    /// Takes an engine out, makes it anew, tests it and admits it again.
    ///
    /// # Errors
    /// The evidence against it.
    pub fn engine_reset(&mut self, id: u32) -> Result<EngineReport, String> {
        self.faults.remove(&id);
        lock(&self.journal).liars.remove(&id);
        self.engine_verify(id)
    }

    /// Takes an engine out, tests it with whatever is wrong with it, and admits it again.
    ///
    /// # Errors
    /// The evidence against it; it stays out then.
    pub fn engine_verify(&mut self, id: u32) -> Result<EngineReport, String> {
        self.engine_remove(id);
        self.admit(id)
    }

    /// Makes an engine fail.
    pub fn engine_fault(&mut self, id: u32, fault: Fault) -> Answer {
        self.failing.insert(id);
        // What a liar seals reaches the wire, unless all of it is checked; what it opens is looked
        // at now and then only.
        if matches!(fault, Fault::Wrong { .. }) {
            self.lied = true;
            lock(&self.journal).liars.insert(id);
        }
        if fault == Fault::Heal {
            self.faults.remove(&id);
        } else {
            self.faults.entry(id).or_default().push(fault);
        }
        // A device that heals gives back what it had, which only a poll at that time finds.
        self.wake_at(self.now);
        self.worker.engine_fault(EngineId(id), fault)
    }

    /// Puts a Plan in force.
    pub fn publish(&mut self, plan: Plan) -> Answer {
        self.prepare();
        match plan.delivery {
            Delivery::Return => self.direct.remove(&plan.team),
            Delivery::Direct | Delivery::Auto => self.direct.insert(plan.team),
        };
        let answer = self.worker.publish(plan);
        self.wake_at(self.now);
        answer
    }

    /// Adds an SA here and, with the same key, at the peer.
    ///
    /// # Errors
    /// Why the key is none, or the peer cannot have it.
    pub fn sa_add(&mut self, spec: SaSpec, key: &[u8]) -> Result<Answer, String> {
        spec.validate().map_err(|error| error.to_string())?;
        self.peer
            .learn(&spec, key, spec.direction == Direction::Out)?;
        let (cipher, salt) = key.split_at(key.len() - 4);
        let algorithm = if cipher.len() == 32 {
            Algorithm::Aes256Gcm16
        } else {
            Algorithm::Aes128Gcm16
        };
        let ready = AeadKey::new(algorithm, cipher).map_err(|error| error.to_string())?;
        lock(&self.journal).sas.insert(ready.id(), spec.id);
        let outbound = spec.direction == Direction::Out;
        let (id, team) = (spec.id, spec.team);
        let answer = self
            .worker
            .sa_add(spec, ready, salt.try_into().unwrap_or_default());
        if outbound {
            self.outbound.insert(id, team);
            self.worker.sa_next_hop(id, Some(Mac(NEXT_HOP)));
        }
        Ok(answer)
    }

    /// Replaces a team's SPD.
    pub fn policies(&mut self, team: u32, policies: Vec<PolicyWithSas>) -> Answer {
        self.worker.policies(team, policies)
    }

    /// A member's link falls or rises, or its interface is deleted.
    pub fn link(&mut self, member: u32, up: bool, deleted: bool) {
        let now = self.now;
        self.settle_member(member, now);
        let Some(port) = self.wires.members.get_mut(&member) else {
            return;
        };
        port.up = up && !deleted;
        port.gone = deleted;
        if deleted {
            // What it had received goes with it, as with a socket of a deleted interface.
            self.unread += port.rx.len() as u64;
            port.rx.clear();
        }
        let dead = !port.up;
        if dead {
            self.lose_flying(member);
        }
        self.wires.links.push(LinkEvent {
            ifindex: member,
            up,
            deleted,
        });
        self.wake_at(now);
    }

    /// A member's wire swallows everything, with its link up.
    pub fn deaf(&mut self, member: u32, deaf: bool) {
        self.settle_member(member, self.now);
        if let Some(port) = self.wires.members.get_mut(&member) {
            port.deaf = deaf;
        }
        if deaf {
            self.lose_flying(member);
        }
    }

    /// Adds a source of packets.
    pub fn traffic_add(&mut self, spec: TrafficSpec) {
        let first = self.flows.len() as u32;
        let source = self.sources.len();
        let team = self.team_macs.get(&spec.team).copied().unwrap_or_default();
        let templates = spec
            .flows
            .iter()
            .map(|flow| {
                let ports = (flow.sport, flow.dport);
                let (to, from) = if spec.inbound {
                    (team.0, NEXT_HOP)
                } else {
                    (NEXT_HOP, team.0)
                };
                Template::new(to, from, flow.src.octets(), flow.dst.octets(), ports)
            })
            .collect();
        self.flows.extend(spec.flows.iter().map(|_| Flow {
            source,
            ..Flow::default()
        }));
        let seed = mix(self.config.seed.wrapping_add(source as u64 + 1));
        self.counts.push(Counts::default());
        self.sources.push(Source::new(spec, templates, first, seed));
    }
}

// time

impl Simulation {
    /// Runs until a decision about what happened is due, or a rule is broken, or `until`.
    /// Answers what happened; nothing at `until`.
    pub fn advance(&mut self, until: Time) -> Vec<Stamped> {
        let mut at_once = 0;
        loop {
            if self.violation().is_some() {
                return core::mem::take(&mut self.pending);
            }
            let next = self.next();
            if let Some(due) = self.due
                && due <= until
                && next.is_none_or(|next| due <= next)
            {
                self.now = self.now.max(due);
                self.due = None;
                return core::mem::take(&mut self.pending);
            }
            let Some(next) = next.filter(|&next| next <= until) else {
                self.now = self.now.max(until);
                return Vec::new();
            };
            at_once = if next > self.now { 0 } else { at_once + 1 };
            if at_once > STUCK {
                self.verdict
                    .broken(self.now, Rule::Liveness, "time stands still");
            }
            self.now = self.now.max(next);
            self.arrivals();
            if self.wake.is_some_and(|wake| wake <= self.now) {
                self.step();
            }
        }
    }

    /// When something happens next.
    fn next(&self) -> Option<Time> {
        self.sources
            .iter()
            .filter_map(Source::next)
            .chain(self.wake)
            .min()
    }

    fn wake_at(&mut self, at: Time) {
        let at = at.max(self.free_at);
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Packets whose time has come, to the host's queue or to members.
    fn arrivals(&mut self) {
        for index in 0..self.sources.len() {
            while self.sources[index].next().is_some_and(|at| at <= self.now) {
                for _ in 0..self.sources[index].spec.burst.max(1) {
                    if self.sources[index].next().is_some() {
                        self.arrive(index);
                    }
                }
            }
        }
    }

    fn arrive(&mut self, index: usize) {
        let source = &mut self.sources[index];
        let (turn, bytes) = source.take();
        let flow = &source.spec.flows[turn as usize];
        let number = source.first_flow + turn;
        let state = &mut self.flows[number as usize];
        let probe = Probe {
            flow: number,
            number: state.fate.len() as u32,
        };
        let mark = if source.spec.plain {
            &self.plain
        } else {
            &self.canary
        };
        let frame = source.templates[turn as usize].frame(mark, probe, bytes);
        let counts = &mut self.counts[index];
        counts.sent += 1;
        counts.sent_bytes += bytes as u64;
        self.arrivals += 1;
        state.fate.push(self.now.0);
        if source.spec.inbound {
            let (spi, via, team) = (flow.spi, flow.via, source.spec.team);
            self.peer_sends(index, probe, spi, via, team, frame);
        } else {
            let host = self.wires.hosts.get_mut(&source.spec.team);
            match host.filter(|host| host.down.len() < self.config.host_queue) {
                Some(host) => host.down.push_back(frame),
                None => {
                    state.fate[probe.number as usize] = WIRE_LOST;
                    counts.refused += 1;
                }
            }
        }
        self.wake_at(self.now);
    }

    /// The peer sends a packet: by the switch, to the port where it saw the address last, or to
    /// all.
    fn peer_sends(
        &mut self,
        source: usize,
        probe: Probe,
        spi: Option<u32>,
        via: Option<u32>,
        team: u32,
        mut frame: Vec<u8>,
    ) {
        let own = via.and_then(|via| {
            let found = self.member_macs.iter().find(|(_, (id, _))| *id == via);
            found.map(|(&mac, &(id, _))| (mac, id))
        });
        let mac = own.map_or_else(
            || self.team_macs.get(&team).copied().unwrap_or_default().0,
            |(mac, _)| mac,
        );
        if let Some(spi) = spi {
            let Some((_, sealed)) = self.peer.seal(spi, mac, &frame) else {
                self.verdict.broken(
                    self.now,
                    Rule::Bytes,
                    format!("the peer has no SA {spi:#x}"),
                );
                return;
            };
            frame = sealed;
        } else {
            frame[..6].copy_from_slice(&mac);
        }
        let learned = own.map(|(_, id)| id).or_else(|| {
            let at = self.switch.get(&mac).copied();
            at.filter(|at| self.wires.members.get(at).is_some_and(|port| port.up))
        });
        let ports: Vec<u32> = match learned {
            Some(member) => vec![member],
            None => self
                .member_macs
                .values()
                .filter(|(_, of)| *of == team)
                .map(|&(id, _)| id)
                .collect(),
        };
        let mut copies = 0;
        for member in ports {
            let port = self.wires.members.get_mut(&member);
            if let Some(port) = port.filter(|port| port.up && !port.deaf && !port.gone) {
                port.rx.push_back(frame.clone());
                copies += 1;
            }
        }
        if copies == 0 {
            self.flows[probe.flow as usize].fate[probe.number as usize] = WIRE_LOST;
            self.counts[source].wire_lost += 1;
        } else {
            self.copies += copies - 1;
        }
    }

    fn prepare(&mut self) {
        for port in self.wires.members.values_mut() {
            port.now = self.now;
        }
    }

    /// One step of the worker, and a look at all that it did.
    fn step(&mut self) {
        self.prepare();
        self.steps += 1;
        let progress = self.worker.step(self.now, &mut self.wires);
        self.free_at = self.now + Time(self.config.turn_ns);
        self.wake = None;
        if progress.busy {
            self.wake_at(self.free_at);
        } else if let Some(next) = progress.next {
            self.wake_at(next.max(self.free_at));
        }
        if self.wires.hosts.values().any(|host| !host.down.is_empty())
            || self.wires.members.values().any(|port| !port.rx.is_empty())
        {
            self.wake_at(self.free_at);
        }
        let idle = self.worker.idles(self.now);
        match idle.filter(|engine| !self.failing.contains(&engine.0)) {
            None => self.idle_since = None,
            Some(engine) => {
                let since = *self.idle_since.get_or_insert(self.now);
                if self.now.since(since) > IDLE {
                    let detail = format!("engine {} stands idle and a job waits", engine.0);
                    self.verdict
                        .broken(self.now, Rule::WorkConservation, detail);
                }
            }
        }
        self.after();
    }

    /// A member was lost: where delivery is direct, its queue and its heir's become one.
    fn merged(&mut self) {
        if self.direct.is_empty() {
            return;
        }
        let sas = self.worker.snapshot(self.now).sas;
        for (sa, team) in &self.outbound {
            if self.direct.contains(team)
                && let Some(seen) = sas.get(sa)
            {
                self.ear.merged(*sa, seen.seq);
            }
        }
    }

    /// What the worker handed over, and what it told.
    fn after(&mut self) {
        let told = self.events.drain();
        let lost = |event: &Stamped| {
            matches!(
                event.event,
                Event::Link { up: false, .. }
                    | Event::Probe { heard: false, .. }
                    | Event::TxErrors { .. }
            )
        };
        if told.iter().any(lost) {
            self.merged();
        }
        let members: Vec<u32> = self.wires.members.keys().copied().collect();
        for member in members {
            let Some(port) = self.wires.members.get_mut(&member) else {
                continue;
            };
            let mut handed = core::mem::take(&mut port.handed);
            let room = port.room_at();
            if let Some(room) = room.filter(|_| self.worker.member_waits(member)) {
                self.wake_at(room);
            }
            if handed.len() > 1 && self.trap.springs(Sabotage::Order) {
                let (first, second) = (handed[0].departs, handed[1].departs);
                handed.swap(0, 1);
                handed[0].departs = first;
                handed[1].departs = second;
            }
            for one in handed {
                self.handed_over(member, &one.frame, one.departs);
            }
        }
        let teams: Vec<u32> = self.wires.hosts.keys().copied().collect();
        for team in teams {
            let host = self.wires.hosts.get_mut(&team);
            let up = host.map(|host| core::mem::take(&mut host.up));
            for frame in up.unwrap_or_default() {
                self.went_up(&frame);
            }
        }
        for event in &told {
            let kind = format!("{:?}", event.event);
            let (kind, details) = kind.split_once(' ').unwrap_or((&kind, ""));
            if self.rows.len() < self.config.event_rows {
                self.rows.push(EventRow {
                    time: event.time,
                    kind: kind.to_lowercase(),
                    details: details.to_owned(),
                });
            }
        }
        if !told.is_empty() {
            let due = self.now + Time(self.config.control_ns);
            self.due = Some(self.due.map_or(due, |first| first.min(due)));
            self.pending.extend(told);
        }
    }
}

// what is seen on the wires

impl Simulation {
    fn handed_over(&mut self, member: u32, frame: &TxFrame, departs: Time) {
        *self.member_frames.entry(member).or_default() += 1;
        let mut bytes = frame.to_vec();
        if self.trap.springs(Sabotage::Conservation) {
            return;
        }
        if self.trap.springs(Sabotage::Bounded) {
            self.kept = frame.body.first().map(|slice| slice.buf.clone());
        }
        if self.trap.springs(Sabotage::Bytes)
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
        }
        if self.trap.springs(Sabotage::Plaintext) {
            bytes.extend_from_slice(&self.canary);
        }
        self.overheard(member, &bytes, &frame.vnet, departs);
        if self.trap.springs(Sabotage::Duplicate) {
            self.overheard(member, &bytes, &frame.vnet, departs);
        }
    }

    fn overheard(&mut self, member: u32, bytes: &[u8], vnet: &VnetHdr, departs: Time) {
        if self.ear.sees_plaintext(bytes) {
            let detail =
                format!("member {member} was given a packet that policy protects, unsealed");
            self.verdict.broken(self.now, Rule::Plaintext, detail);
            return;
        }
        if let Some(from) = bytes
            .get(6..12)
            .and_then(|mac| <[u8; 6]>::try_from(mac).ok())
        {
            let before = self.switch.insert(from, member);
            self.moves += u64::from(before.is_some_and(|before| before != member));
        }
        let gso = usize::from(vnet.gso_size);
        if let Some(packets) = Peer::esp(bytes, gso) {
            for packet in packets {
                match self.peer.open(packet) {
                    Ok(opened) => self.opened(member, &opened, departs),
                    Err(_) if self.lied && !self.config.checked => self.spoiled += 1,
                    Err(why) => self.verdict.broken(self.now, Rule::Bytes, why),
                }
            }
            return;
        }
        let payload = bytes.get(ETHERNET + IPV4 + UDP..).unwrap_or_default();
        match Probe::read(&self.plain, payload) {
            Some(probe) => {
                let lane = Some(Lane::Plain(member));
                self.in_order(member, lane, probe, payload.len(), departs);
            }
            None => self.control_frame(member, bytes, departs),
        }
    }

    fn opened(&mut self, member: u32, opened: &Opened, departs: Time) {
        let heard = self
            .ear
            .sealed(opened.sa, member, opened.seq, opened.digest);
        let ordered = match heard {
            Ok(ordered) => ordered,
            Err((rule, detail)) => {
                self.verdict.broken(self.now, rule, detail);
                return;
            }
        };
        match Probe::read(&self.canary, &opened.payload) {
            Some(probe) => {
                let lane = ordered.then_some(Lane::Sa(opened.sa, member));
                self.in_order(member, lane, probe, opened.payload.len(), departs);
            }
            None => {
                let detail = format!(
                    "SA {}: number {} opens to what nobody sent",
                    opened.sa, opened.seq
                );
                self.verdict.broken(self.now, Rule::Bytes, detail);
            }
        }
    }

    /// A probe was handed over to `member` (`u32::MAX`: to the host), in the order of `lane`.
    fn in_order(
        &mut self,
        member: u32,
        lane: Option<Lane>,
        probe: Probe,
        payload: usize,
        departs: Time,
    ) {
        let Some(flow) = self.flows.get_mut(probe.flow as usize) else {
            let detail = "a probe of no flow".to_owned();
            self.verdict.broken(self.now, Rule::Bytes, detail);
            return;
        };
        match flow.fate.get(probe.number as usize) {
            None => self
                .verdict
                .broken(self.now, Rule::Bytes, "a probe that was not sent"),
            Some(&(ARRIVED | WIRE_LOST)) => {
                let detail = format!("packet {} of flow {} came twice", probe.number, probe.flow);
                self.verdict.broken(self.now, Rule::Duplicate, detail);
            }
            Some(_) => {}
        }
        if let Some(lane) = lane {
            let next = flow.next.entry(lane).or_default();
            if probe.number < *next {
                let detail = format!(
                    "packet {} of flow {} came behind packet {}",
                    probe.number,
                    probe.flow,
                    *next - 1
                );
                self.verdict.broken(self.now, Rule::Order, detail);
            }
            *next = probe.number + 1;
        }
        self.flying.entry(member).or_default().push_back(Flying {
            departs,
            probe,
            bytes: (payload + IPV4 + UDP) as u32,
        });
        self.settle_member(member, self.now);
    }

    fn went_up(&mut self, frame: &TxFrame) {
        let bytes = frame.to_vec();
        let payload = bytes.get(ETHERNET + IPV4 + UDP..).unwrap_or_default();
        let probe =
            Probe::read(&self.canary, payload).or_else(|| Probe::read(&self.plain, payload));
        match probe {
            Some(probe) => {
                self.in_order(u32::MAX, Some(Lane::Host), probe, payload.len(), self.now);
            }
            None if self.lied => self.spoiled += 1,
            None if bytes.get(12..14) == Some(&[8, 0]) => {
                let detail = "the host was given a packet that nobody sent";
                self.verdict.broken(self.now, Rule::Bytes, detail);
            }
            None => {}
        }
    }

    /// Frames of the team's own, probes of members among them: the switch gives them to whom they
    /// are for.
    fn control_frame(&mut self, from: u32, bytes: &[u8], _departs: Time) {
        self.control_frames += 1;
        let Some(to) = bytes.get(..6).and_then(|mac| <[u8; 6]>::try_from(mac).ok()) else {
            return;
        };
        let dead = |port: &MemberPort| !port.up || port.deaf || port.gone;
        if self.wires.members.get(&from).is_none_or(dead) {
            return;
        }
        let mut woken = false;
        for (mac, &(id, _)) in &self.member_macs {
            let port = self.wires.members.get_mut(&id);
            if id != from
                && (to[0] & 1 == 1 || to == *mac)
                && let Some(port) = port.filter(|port| !dead(port))
            {
                port.rx.push_back(bytes.to_vec());
                woken = true;
            }
        }
        if woken {
            self.wake_at(self.now);
        }
    }

    /// What has left a member's device by `now` has arrived.
    fn settle_member(&mut self, member: u32, now: Time) {
        let lost = self
            .wires
            .members
            .get(&member)
            .is_some_and(|port| !port.up || port.deaf);
        while let Some(flying) = self.flying.get_mut(&member)
            && flying.front().is_some_and(|one| one.departs <= now)
            && let Some(one) = flying.pop_front()
        {
            if lost {
                self.wire_lost(one);
            } else {
                *self.member_bytes.entry(member).or_default() += u64::from(one.bytes);
                self.arrived(one);
            }
        }
    }

    fn lose_flying(&mut self, member: u32) {
        for one in self.flying.remove(&member).unwrap_or_default() {
            self.wire_lost(one);
        }
    }

    fn arrived(&mut self, one: Flying) {
        let flow = &mut self.flows[one.probe.flow as usize];
        let fate = &mut flow.fate[one.probe.number as usize];
        let sent = core::mem::replace(fate, ARRIVED);
        let counts = &mut self.counts[flow.source];
        counts.delivered += 1;
        counts.delivered_bytes += u64::from(one.bytes);
        counts
            .latencies
            .push(one.departs.0 - sent.min(one.departs.0));
    }

    fn wire_lost(&mut self, one: Flying) {
        let flow = &mut self.flows[one.probe.flow as usize];
        flow.fate[one.probe.number as usize] = WIRE_LOST;
        self.counts[flow.source].wire_lost += 1;
    }
}

// accounts

impl Simulation {
    /// Begins the window that rates and latencies are measured in.
    pub fn mark(&mut self) {
        self.settle();
        self.window_from = self.now;
        self.member_bytes.clear();
        for counts in &mut self.counts {
            *counts = Counts {
                before: counts.total(),
                ..Counts::default()
            };
        }
    }

    fn settle(&mut self) {
        let members: Vec<u32> = self.flying.keys().copied().collect();
        for member in members {
            self.settle_member(member, self.now);
        }
    }

    /// Looks at what must hold between any two steps.
    pub fn audit(&mut self) {
        let snapshot = self.worker.snapshot(self.now);
        for (id, member) in &snapshot.members {
            self.queued_most = self.queued_most.max(member.queued);
            // What is announced goes before a queue that may be full.
            if member.queued > esprit_datapath::member::TX_QUEUE + 64 {
                let detail = format!("member {id} has {} frames waiting", member.queued);
                self.verdict.broken(self.now, Rule::Bounded, detail);
            }
        }
        let (small, large) = self.config.buffers;
        if snapshot.buffers.small_made > small || snapshot.buffers.large_made > large {
            let detail = format!("more buffers than there may be: {:?}", snapshot.buffers);
            self.verdict.broken(self.now, Rule::Bounded, detail);
        }
    }

    /// All drops of the run, by reason.
    #[must_use]
    pub fn drops(&self) -> BTreeMap<String, u64> {
        let snapshot = self.worker.snapshot(self.now);
        let mut all = BTreeMap::new();
        let parts = snapshot
            .teams
            .values()
            .map(|team| &team.drops)
            .chain(snapshot.members.values().map(|member| &member.drops))
            .chain(snapshot.sas.values().map(|sa| &sa.drops));
        for (&reason, &count) in parts.flatten() {
            *all.entry(reason.to_owned()).or_insert(0) += count;
        }
        let none = self.wires.hosts.values().map(HostPort::without_buffer);
        let none = none.chain(self.wires.members.values().map(MemberPort::without_buffer));
        let none: u64 = none.sum();
        if none > 0 {
            *all.entry("no-memory".to_owned()).or_insert(0) += none;
        }
        all
    }

    /// Whether nothing waits for a step.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.wires.hosts.values().all(|host| host.down.is_empty())
            && self.wires.members.values().all(|port| port.rx.is_empty())
    }

    /// Looks at what must hold once all traffic has ended and everything came to rest: each
    /// packet has one fate, and all buffers are back. `stopped`: engines that hold jobs which
    /// never come back.
    pub fn audit_at_rest(&mut self, stopped: bool) {
        self.audit();
        for queue in self.flying.values_mut() {
            for one in queue.iter_mut() {
                one.departs = one.departs.min(self.now);
            }
        }
        self.settle();
        let open: u64 = self
            .flows
            .iter()
            .flat_map(|flow| &flow.fate)
            .filter(|&&fate| fate < WIRE_LOST)
            .count() as u64;
        let dropped: u64 = self.drops().values().sum::<u64>() + self.unread;
        // Frames of the team's own may be dropped too; copies of a flooded frame are.
        let fates = open + self.copies;
        let known = dropped + self.spoiled;
        let exact = self.control_frames == 0 && !self.lied;
        if known < fates || (exact && known != fates) {
            let detail = format!(
                "{open} packets did not arrive, {} copies were flooded, {dropped} drops were counted: {:?}",
                self.copies,
                self.drops()
            );
            self.verdict.broken(self.now, Rule::Conservation, detail);
        }
        let held = self.buffers.in_use();
        if !stopped && held != (0, 0) {
            let detail = format!("{held:?} small and large buffers did not come back");
            self.verdict.broken(self.now, Rule::Bounded, detail);
        }
    }

    /// What the run came to.
    pub fn report(&mut self) -> Report {
        self.settle();
        let drops = self.drops();
        let predicted = lock(&self.journal).predicted;
        let traffic = self
            .sources
            .iter()
            .zip(&mut self.counts)
            .map(|(source, counts)| FlowReport {
                name: source.spec.name.clone(),
                total: counts.total(),
                sent: counts.sent,
                sent_bytes: counts.sent_bytes,
                delivered: counts.delivered,
                delivered_bytes: counts.delivered_bytes,
                latency: Latency::of(&mut counts.latencies),
            })
            .collect();
        Report {
            time: self.now.0,
            window: self.now.since(self.window_from).0,
            traffic,
            drops,
            member_frames: self.member_frames.clone(),
            member_bytes: self.member_bytes.clone(),
            overtaken: self.ear.overtaken,
            address_moves: self.moves,
            predicted,
            spoiled: self.spoiled,
            steps: self.steps,
            queued_most: self.queued_most,
            violation: self.violation(),
        }
    }
}
