//! Time: what comes when, the worker's steps, and what the peer's switch does with a packet.

use esprit_datapath::{Event, Stamped};
use esprit_packet::Time;

use super::{IDLE, STUCK, Simulation, WIRE_LOST};
use crate::checks::{Rule, Sabotage};
use crate::probe::Probe;
use crate::report::EventRow;
use crate::traffic::{FlowSpec, Source};
use crate::wire::MemberPort;

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
            .chain(
                self.applications
                    .iter()
                    .filter_map(|one| one.next(self.now)),
            )
            .chain(self.wake)
            .min()
    }

    pub(super) fn wake_at(&mut self, at: Time) {
        let at = at.max(self.free_at);
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Packets whose time has come, to the host's queue or to members, and applications' tasks.
    fn arrivals(&mut self) {
        self.ask();
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

    /// Tasks whose time has come, to the worker.
    fn ask(&mut self) {
        let mut tasks = Vec::new();
        for application in &mut self.applications {
            tasks.extend(application.due(self.now, &self.buffers));
        }
        if !tasks.is_empty() {
            self.worker.application(tasks);
            self.wake_at(self.now);
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
        self.open += 1;
        if source.spec.inbound {
            let flow = flow.clone();
            if source.spec.asks && probe.number == 0 {
                let team = source.spec.team;
                self.answer(team, &flow);
            }
            self.peer_sends(index, probe, &flow, frame);
        } else {
            let host = self.wires.hosts.get_mut(&source.spec.team);
            match host.filter(|host| host.down.len() < self.config.host_queue) {
                Some(host) => host.down.push_back(frame),
                None => {
                    state.fate[probe.number as usize] = WIRE_LOST;
                    counts.refused += 1;
                    self.open -= 1;
                }
            }
        }
        self.wake_at(self.now);
    }

    /// The peer sends a packet: by the switch, to the port where it saw the address last, or to
    /// all.
    fn peer_sends(&mut self, source: usize, probe: Probe, flow: &FlowSpec, mut frame: Vec<u8>) {
        let team = self.sources[source].spec.team;
        let own = self.destination(flow);
        let mac = own.unwrap_or_else(|| self.team_macs.get(&team).copied().unwrap_or_default().0);
        if let Some(spi) = flow.spi {
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
        let learned = self.member_macs.get(&mac).map(|&(id, _)| id).or_else(|| {
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
                port.receive(frame.clone());
                copies += 1;
            }
        }
        if copies == 0 {
            self.flows[probe.flow as usize].fate[probe.number as usize] = WIRE_LOST;
            self.counts[source].wire_lost += 1;
            self.open -= 1;
        } else {
            self.copies += copies - 1;
        }
    }

    pub(super) fn prepare(&mut self) {
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
            || self.wires.members.values().any(MemberPort::is_readable)
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
        self.audit_step();
    }

    /// A member was lost: where delivery is direct, its queue and its heir's become one.
    pub(super) fn merged(&mut self) {
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
    pub(super) fn after(&mut self) {
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
        self.looped_back();
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
