//! Accounts: what must hold at rest, and what the run came to.

use std::collections::BTreeMap;

use super::{Counts, Simulation};
use crate::application::Application;
use crate::checks::Rule;
use crate::engine::lock;
use crate::report::{FlowReport, Latency, Report};
use crate::wire::MemberPort;

impl Simulation {
    /// Begins the window that rates and latencies are measured in.
    pub fn mark(&mut self) {
        self.settle();
        self.window_from = self.now;
        self.applications.iter_mut().for_each(Application::mark);
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
        all
    }

    /// Whether nothing waits for a step.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.wires.hosts.values().all(|host| host.down.is_empty())
            && !self.wires.members.values().any(MemberPort::is_readable)
            && self.applications.iter().all(|one| one.in_flight() == 0)
    }

    /// Looks at what must hold once all traffic has ended and everything came to rest: each
    /// packet has one fate, and all buffers are back. `stopped`: engines that hold jobs which
    /// never come back.
    pub fn audit_at_rest(&mut self, stopped: bool) {
        for queue in self.flying.values_mut() {
            for one in queue.iter_mut() {
                one.departs = one.departs.min(self.now);
            }
        }
        self.settle();
        self.audit();
        let held = self.worker.held();
        if held > 0 {
            let detail = format!("{held} packets went nowhere: {:?}", self.drops());
            self.verdict.broken(self.now, Rule::Conservation, detail);
        }
        let away = |one: &&Application| one.in_flight() > 0;
        if let Some(one) = self.applications.iter().find(away) {
            let detail = format!("{} tasks of {} never ended", one.in_flight(), one.spec.name);
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
            applications: self
                .applications
                .iter_mut()
                .map(Application::report)
                .collect(),
            drops,
            member_frames: self.member_frames.clone(),
            member_bytes: self.member_bytes.clone(),
            overtaken: self.ear.overtaken,
            address_moves: self.moves,
            predicted,
            spoiled: self.spoiled,
            spoiled_messages: self.spoiled_messages,
            steps: self.steps,
            queued_most: self.queued_most,
            violation: self.violation(),
        }
    }
}
