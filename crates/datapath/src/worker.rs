//! The worker: a step function over everything that a data-plane thread owns.
//!
//! | verbs | what they do |
//! | --- | --- |
//! | [`Worker::step`] | takes what came in, moves it on, sends what is ready |
//! | `team_add`, `member_add`, `sa_add`, `publish`, … | commands; applied between two steps |
//! | [`Worker::snapshot`] | everything there is to see |
//! | [`Worker::levels`], [`Worker::held`], [`Worker::dropped`] | accounts, for simulations (`level.rs`) |
//!
//! The caller owes monotonic time, and a step when a port is readable, an engine woke it, or
//! [`Progress::next`] has come. Nothing below reads a clock, sleeps, or calls the system but
//! through [`Io`]; given the same inputs it does the same things.

use std::collections::{BTreeMap, BTreeSet};

use esprit_crypto::{Done, PoolEvent, Transfer};
use esprit_packet::{Pool as Buffers, RxFrame, Time};
use esprit_port::{LinkEvent, Port, PortError};

use crate::application::Applications;
use crate::counters::newly;
use crate::draft::Draft;
use crate::drops::{Trail, Way};
use crate::events::{Event, Events};
use crate::flight::Flights;
use crate::inbound::OpenDraft;
use crate::member::Member;
use crate::opened::Inner;
use crate::sa::Sas;
use crate::spares::Spares;
use crate::team::Team;
use crate::verdict::DropReason;

/// Frames taken from one port before the next port has its turn.
pub(crate) const BATCH: usize = 32;

/// Bytes taken from one port before they are worked off, so about two super-frames: they and
/// what they are sealed or opened into stay within a second-level cache of 512 KiB, and the
/// next hop has something to do while the rest is worked on.
const TURN_BYTES: usize = 128 * 1024;

/// While all of a team's members that send have this many frames waiting, its virtual NIC is not
/// read: the host's own queue is the better place for them.
const BACKPRESSURE: usize = 256;

/// A member with this many frames waiting, while another has fewer than [`BACKPRESSURE`], gets no more
/// of what the host sends: what comes beyond the turn that was taken when it was at that limit,
/// two super-frames of 46 packets each.
pub(crate) const MEMBER_FULL: usize = BACKPRESSURE + 2 * 64;

/// Batches that are read of a receiver that is one no more: 2,048 small frames, what 100,000 packets/s
/// bring in 20 ms, or all the super-frames that its socket keeps (64). A worker that is further
/// behind loses what waits beyond that.
const FORMER_TURNS: usize = 64;

/// The ports, given to the worker at each step.
pub trait Io {
    /// The virtual NIC of a team.
    fn tap(&mut self, team: u32) -> Option<&mut dyn Port>;
    /// A member's port.
    fn member(&mut self, member: u32) -> Option<&mut dyn Port>;
    /// A member's port is beyond repair and can be closed.
    fn close_member(&mut self, member: u32);
    /// Link changes since the last step.
    fn links(&mut self, out: &mut Vec<LinkEvent>);
}

/// What a step came to.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Something moved: step again at once.
    pub busy: bool,
    /// Otherwise step again at this time at the latest.
    pub next: Option<Time>,
}

/// All that one data-plane thread owns.
pub struct Worker {
    pub(crate) buffers: Buffers,
    pub(crate) pool: esprit_crypto::Pool,
    pub(crate) teams: BTreeMap<u32, Team>,
    pub(crate) members: BTreeMap<u32, Member>,
    pub(crate) sas: Sas,
    pub(crate) flights: Flights,
    pub(crate) applications: Applications,
    pub(crate) events: Events,
    pub(crate) link_epoch: u64,
    /// The time of this step, or of the last one.
    pub(crate) now: Time,
    /// When the first of the links that are down counts as fallen.
    pub(crate) falls: Option<Time>,
    /// What engines declare: the way there and back, and whether it works on this thread.
    pub(crate) engines: BTreeMap<u32, (Transfer, bool)>,
    /// What has been found out about the packet at hand.
    pub(crate) trail: Trail,
    /// Outbound SAs with sealed jobs for which their member had no room.
    pub(crate) stalled: BTreeSet<u32>,
    rx: Vec<RxFrame>,
    links: Vec<LinkEvent>,
    done: Vec<Done>,
    pool_events: Vec<PoolEvent>,
    turn: Vec<u32>,
    pub(crate) draft: Draft,
    pub(crate) opening: OpenDraft,
    pub(crate) opened: Vec<Inner>,
    pub(crate) spares: Spares,
}

impl Worker {
    /// A worker with no team. Buffers come from `buffers`, jobs go to `pool`, and what
    /// happens is told to `events`.
    #[must_use]
    pub fn new(buffers: Buffers, pool: esprit_crypto::Pool, events: Events) -> Self {
        Self {
            buffers,
            pool,
            teams: BTreeMap::new(),
            members: BTreeMap::new(),
            sas: Sas::default(),
            flights: Flights::default(),
            applications: Applications::default(),
            events,
            link_epoch: 0,
            now: Time::ZERO,
            falls: None,
            engines: BTreeMap::new(),
            trail: Trail::default(),
            stalled: BTreeSet::new(),
            rx: Vec::new(),
            links: Vec::new(),
            done: Vec::new(),
            pool_events: Vec::new(),
            turn: Vec::new(),
            draft: Draft::default(),
            opening: OpenDraft::default(),
            opened: Vec::new(),
            spares: Spares::default(),
        }
    }

    /// One turn: links, completions, frames from the hosts, frames from the wire, applications'
    /// tasks, the completions of what was sealed and opened on the spot, and out with it all.
    pub fn step(&mut self, now: Time, io: &mut dyn Io) -> Progress {
        self.now = now;
        let mut links = core::mem::take(&mut self.links);
        io.links(&mut links);
        let mut busy = !links.is_empty();
        for link in links.drain(..) {
            self.handle_link(now, link);
        }
        self.links = links;
        self.handle_falls(now);

        self.look_at_devices(now, io);
        busy |= self.handle_completions(now);
        busy |= self.take_from_hosts(now, io);
        busy |= self.take_from_wires(now, io);
        busy |= self.take_from_applications(now);
        busy |= self.handle_completions(now);
        // Probes are judged when all that was heard has been looked at.
        self.probe(now, io);
        self.handle_retelling(now);
        self.open_doors(io);
        busy |= self.send(now, io);
        busy |= self.read_former(now, io);
        for sa in core::mem::take(&mut self.stalled) {
            self.handle_sealed(sa);
            busy |= !self.stalled.contains(&sa);
        }
        Progress {
            busy,
            next: self.timeout(),
        }
    }

    /// When the next step is due, though nothing comes.
    fn timeout(&self) -> Option<Time> {
        let teams = self.teams.values().flat_map(|team| {
            let probe = team.prober.as_ref().map(crate::probe::Prober::due);
            let hold = team.hold.as_ref().map(crate::hold::Hold::due);
            let retell = team.balance.as_ref().and_then(crate::balance::Balance::due);
            [probe, hold, retell]
        });
        teams
            .chain([self.pool.timeout(), self.applications.timeout(), self.falls])
            .flatten()
            .min()
    }

    /// Tells the ports which addresses to let in, where that has changed.
    fn open_doors(&mut self, io: &mut dyn Io) {
        for team in self.teams.values_mut() {
            if !core::mem::take(&mut team.doors_moved) {
                continue;
            }
            let addresses = team.doors.admitted(team.mac);
            for member in self.members.values().filter(|m| m.team == team.id) {
                if let Some(port) = io.member(member.id) {
                    // A device that cannot filter lets in more, not less.
                    let _ = port.set_addresses(&addresses);
                }
            }
        }
    }

    /// An engine that stands idle though a job waits that it could have; see
    /// [`Pool::idles`](esprit_crypto::Pool::idles).
    #[must_use]
    pub fn idles(&self, now: Time) -> Option<esprit_crypto::EngineId> {
        self.pool.idles(now)
    }

    fn take_from_hosts(&mut self, now: Time, io: &mut dyn Io) -> bool {
        let mut busy = false;
        let mut turn = core::mem::take(&mut self.turn);
        turn.clear();
        turn.extend(self.teams.keys());
        for &team in &turn {
            let waited = self.let_go(now, team, io);
            if !waited.is_empty() {
                busy = true;
                self.handle_frames(now, team, waited);
            }
            if self.backlog(team) > BACKPRESSURE || self.holds_enough(team) {
                continue;
            }
            let mut frames = core::mem::take(&mut self.rx);
            if let Some(port) = io.tap(team) {
                let mut bytes = 0;
                while frames.len() < BATCH && bytes < TURN_BYTES {
                    let before = frames.len();
                    // The virtual NIC has no link of its own: an error means that there is
                    // nothing to read now.
                    if port.recv(&self.buffers, &mut frames, 1).unwrap_or(0) == 0 {
                        break;
                    }
                    bytes += frames[before..].iter().map(|f| f.buf.len()).sum::<usize>();
                }
                // Frames: what had no place cannot be asked how many packets it was.
                if let Some(at) = self.teams.get_mut(&team) {
                    let lost = newly(&mut at.unbuffered, port.counters().rx_no_buffer);
                    at.drops.count(DropReason::NoMemory, lost);
                    self.note_unread(team, Way::Out, DropReason::NoMemory, None, lost);
                }
            }
            busy |= !frames.is_empty();
            self.handle_host_frames(now, team, &mut frames);
            frames.clear();
            self.rx = frames;
        }
        self.turn = turn;
        busy
    }

    fn take_from_wires(&mut self, now: Time, io: &mut dyn Io) -> bool {
        let mut busy = false;
        let mut turn = core::mem::take(&mut self.turn);
        turn.clear();
        turn.extend(self.members.keys());
        for &member in &turn {
            busy |= self.read_member(now, member, io);
        }
        self.turn = turn;
        busy
    }

    /// Takes a batch from a member's port and moves it on; answers whether there was any.
    fn read_member(&mut self, now: Time, member: u32, io: &mut dyn Io) -> bool {
        let Some(at) = self.members.get_mut(&member) else {
            return false;
        };
        let mut frames = core::mem::take(&mut self.rx);
        let received = match io.member(member) {
            Some(port) => {
                let received = port.recv(&self.buffers, &mut frames, at.batch);
                let lost = newly(&mut at.unbuffered, port.counters().rx_no_buffer);
                at.drops.count(DropReason::NoMemory, lost);
                let team = at.team;
                self.note_unread(team, Way::In, DropReason::NoMemory, Some(member), lost);
                received
            }
            None => Ok(0),
        };
        let Some(at) = self.members.get_mut(&member) else {
            return false;
        };
        if received.is_ok_and(|count| count < at.batch) {
            at.drained = now;
        }
        // The next batch holds as many of their size as a turn takes.
        let bytes: usize = frames.iter().map(|frame| frame.buf.len()).sum();
        if let Some(each) = bytes.checked_div(frames.len()) {
            at.batch = (TURN_BYTES / each.max(1)).clamp(1, BATCH);
        }
        let any = !frames.is_empty();
        self.handle_member_frames(now, member, &mut frames);
        frames.clear();
        self.rx = frames;
        if received == Err(PortError::Gone) {
            self.port_gone(now, member);
            io.close_member(member);
        }
        any
    }

    /// Reads what a receiver heard before the switch knew of the new one: all of it, as far as a
    /// socket keeps. The announcements have gone, so what comes later is the new one's.
    pub(crate) fn read_former(&mut self, now: Time, io: &mut dyn Io) -> bool {
        let former = |team: &Team| Some((team.id, team.former?));
        let mut busy = false;
        while let Some((team, member)) = self.teams.values().find_map(former) {
            for _ in 0..FORMER_TURNS {
                if !self.read_member(now, member, io) {
                    break;
                }
                busy = true;
            }
            if let Some(team) = self.teams.get_mut(&team) {
                team.former = None;
            }
        }
        busy
    }

    /// Frames that wait for each of a team's members that send. The fullest does not count: a slow
    /// member would hold up the flows of the others, so it drops its own instead.
    fn backlog(&self, team: u32) -> usize {
        let route = self.teams.get(&team).map(|team| &team.route);
        self.members
            .values()
            .filter(|member| member.team == team && member.alive())
            .filter(|member| route.is_some_and(|route| route.uses(member.id)))
            .map(|member| member.tx.len())
            .min()
            .unwrap_or(0)
    }

    /// Whether as many frames wait as may, because their flows move.
    fn holds_enough(&self, team: u32) -> bool {
        let hold = self.teams.get(&team).and_then(|team| team.hold.as_ref());
        hold.is_some_and(crate::hold::Hold::is_full)
    }

    fn handle_completions(&mut self, now: Time) -> bool {
        let mut done = core::mem::take(&mut self.done);
        let mut events = core::mem::take(&mut self.pool_events);
        self.pool.poll(now, &self.buffers, &mut done, &mut events);
        let busy = !done.is_empty();
        for event in events.drain(..) {
            self.events.push(now, Event::Engine { event });
        }
        for done in done.drain(..) {
            self.handle_done(done);
        }
        self.done = done;
        self.pool_events = events;
        busy
    }
}
