//! One host in virtual time.
//!
//! The shipped worker is stepped as its thread would step it: when something came in, when a
//! device has room again, when the worker said, but never sooner than a step takes.

mod accounts;
mod commands;
mod ledger;
mod neighbours;
mod seen;
mod time;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

use esprit_crypto::{Fault, Pool, Wake};
use esprit_datapath::{Events, Mac, Stamped, Worker};
use esprit_packet::{Pool as Buffers, Time};
use serde::Deserialize;

use crate::application::Application;
use crate::checks::{Eavesdropper, Sabotage, Trap, Verdict, Violation};
use crate::engine::{EngineModel, JobRow, Journal, Shared, lock};
use crate::peer::Peer;
use crate::probe::{Mark, Probe};
use crate::random::mix;
use crate::report::{EventRow, Totals};
use crate::traffic::Source;
use crate::wire::Wires;

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
    applications: Vec<Application>,
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
    /// What peers were told of our address and theirs: where it is.
    neighbours: BTreeMap<(Ipv4Addr, Ipv4Addr), [u8; 6]>,
    moves: u64,
    steps: u64,
    /// Engines that were made to fail: one that is stuck inside refuses jobs with nothing to do.
    failing: BTreeSet<u32>,
    /// SAs there are.
    sas: usize,
    /// Outbound SAs, with their teams, and teams whose packets engines' own members send,
    /// or once did.
    outbound: BTreeMap<u32, u32>,
    direct: BTreeSet<u32>,
    /// Since when an engine stands idle though a job waits.
    idle_since: Option<Time>,
    /// Packets that were sent, have not arrived and were not lost outside the host.
    open: u64,
    /// Frames of the teams' own that members now gone read with no buffer for them.
    own_lost: u64,
    /// A Plan announces, or the host answers who asks for it: such frames are dropped like others, and
    /// nobody knows how many there were.
    announces: bool,
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
    /// Likewise, of applications' messages.
    spoiled_messages: u64,
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
            applications: Vec::new(),
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
            neighbours: BTreeMap::new(),
            moves: 0,
            steps: 0,
            failing: BTreeSet::new(),
            sas: 0,
            outbound: BTreeMap::new(),
            direct: BTreeSet::new(),
            idle_since: None,
            open: 0,
            own_lost: 0,
            announces: false,
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
            spoiled_messages: 0,
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

    /// What members and shares had to do.
    #[must_use]
    pub fn loads(&self) -> esprit_datapath::snapshot::Loads {
        self.worker.loads(self.now)
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
