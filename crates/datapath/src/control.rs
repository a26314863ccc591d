//! Commands, applied between two steps: each wholly or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use esprit_crypto::{APPLICATIONS, AeadKey, Algorithm, Engine, EngineId, Fault, Grants, Verified};
use esprit_ipsec::replay::ReplayWindow;
use esprit_ipsec::sad::{Direction, SaSpec};
use esprit_ipsec::seq::SeqAllocator;
use esprit_ipsec::spd::Spd;
use esprit_packet::Time;

use crate::command::{Answer, MemberSpec, PolicyWithSas, TeamSpec};
use crate::counters::Traffic;
use crate::member::Member;
use crate::plan::Mac;
use crate::probe::Tally;
use crate::release::Release;
use crate::sa::{InSa, OutSa};
use crate::snapshot::{
    BufferSnapshot, Loads, MemberLoad, MemberSnapshot, SaSnapshot, Snapshot, TeamLoad, TeamSnapshot,
};
use crate::team::{PolicyState, Team};
use crate::verdict::Drops;
use crate::worker::{Io, Worker};

fn refused(text: impl Into<String>) -> Answer {
    Answer::Refused(text.into())
}

impl Worker {
    /// Adds a team; its doors stay closed until a Plan is published.
    pub fn team_add(&mut self, spec: &TeamSpec) -> Answer {
        if self.teams.contains_key(&spec.id) {
            return refused(format!("team {} exists already", spec.id));
        }
        self.teams.insert(spec.id, Team::new(spec.id, spec.mac));
        Answer::Done
    }

    /// Removes a team, its members and its SAs; answers with the members' ids.
    pub fn team_remove(&mut self, team: u32) -> Vec<u32> {
        self.teams.remove(&team);
        self.pool.remove_grants(team);
        let members: Vec<u32> = self
            .members
            .values()
            .filter(|member| member.team == team)
            .map(|member| member.id)
            .collect();
        for member in &members {
            self.members.remove(member);
        }
        let sas: Vec<u32> = self
            .sas
            .outbound
            .values()
            .map(|sa| &sa.spec)
            .chain(self.sas.inbound.values().map(|sa| &sa.spec))
            .filter(|spec| spec.team == team)
            .map(|spec| spec.id)
            .collect();
        for sa in sas {
            self.sa_delete(sa);
        }
        members
    }

    /// Adds a member. One that exists keeps its counters and gets its new port's addresses.
    pub fn member_add(&mut self, spec: &MemberSpec) -> Answer {
        if !self.teams.contains_key(&spec.team) {
            return refused(format!("team {} does not exist", spec.team));
        }
        match self.members.get_mut(&spec.id) {
            Some(member) if member.team != spec.team => {
                return refused(format!("member {} is in team {}", spec.id, member.team));
            }
            Some(member) => {
                member.mac = spec.mac;
                member.ifindex = spec.ifindex;
                member.up = spec.up;
                // A new port counts from nothing, and what it loses first is not to be taken for
                // what the old one had lost.
                member.unbuffered = 0;
                member.kernel_drops = 0;
            }
            None => {
                let member = Member::new(spec.id, spec.team, spec.mac, spec.ifindex, spec.up);
                self.members.insert(spec.id, member);
            }
        }
        if let Some(team) = self.teams.get_mut(&spec.team) {
            let role = team.plan.as_ref().and_then(|plan| {
                let mut roles = plan.members.iter();
                roles.find(|role| role.id == spec.id)
            });
            if let Some(member) = self.members.get_mut(&spec.id) {
                member.carry = role.is_some_and(|role| role.carry);
                member.accept = role.is_some_and(|role| role.accept);
            }
            // Its port is new, whatever the team's doors were.
            team.doors_moved = true;
        }
        self.reroute(spec.team);
        Answer::Done
    }

    /// Removes a member. What waits in its queue goes out by it now, or by its heir.
    pub fn member_remove(&mut self, now: Time, member: u32, io: &mut dyn Io) {
        // One more turn for what the device still takes; a Plan without the member came
        // before, so nothing new is queued.
        let _ = self.send(now, io);
        self.read_former(now, io);
        let Some(team) = self.members.get_mut(&member).map(|member| {
            member.up = false;
            member.team
        }) else {
            return;
        };
        self.reroute(team);
        self.move_queue(member);
        // What it dropped stays counted (rule 5), so by its team: the last drops are those of this
        // very call, where nobody takes over, and no snapshot would ever have shown them.
        if let Some(gone) = self.members.remove(&member)
            && let Some(team) = self.teams.get_mut(&team)
        {
            team.drops.inherit(&gone.drops);
        }
        self.reroute(team);
    }

    /// Admits an engine that passed its tests.
    pub fn engine_admit(&mut self, engine: EngineId, verified: Verified) -> Answer {
        let declared = verified.engine().capabilities();
        self.engines
            .insert(engine.0, (declared.transfer, declared.synchronous));
        self.pool.admit(engine, verified);
        Answer::Done
    }

    /// Removes an engine; its jobs are redone elsewhere.
    pub fn engine_remove(&mut self, now: Time, engine: EngineId) -> Answer {
        // Dropping it ends its threads; what it held is redone elsewhere.
        drop(self.engine_take(now, engine));
        Answer::Done
    }

    /// Takes an engine out and gives it to the caller, for tests; its jobs are redone elsewhere.
    pub fn engine_take(&mut self, now: Time, engine: EngineId) -> Option<Box<dyn Engine>> {
        self.engines.remove(&engine.0);
        self.pool.remove(now, engine, &self.buffers)
    }

    /// What engines may do for applications' tasks.
    pub fn applications(&mut self, grants: Grants) -> Answer {
        self.pool.set_grants(APPLICATIONS, grants);
        Answer::Done
    }

    /// Injects a fault into a simulated engine.
    pub fn engine_fault(&mut self, engine: EngineId, fault: Fault) -> Answer {
        if self.pool.inject(engine, fault) {
            Answer::Done
        } else {
            refused("only simulated engines can be made to fail")
        }
    }

    /// Adds an SA. It is used once a policy names it (outbound), or at once (inbound).
    pub fn sa_add(&mut self, spec: SaSpec, key: Arc<AeadKey>, salt: [u8; 4]) -> Answer {
        let id = spec.id;
        if self.sas.outbound.contains_key(&id) || self.sas.inbound.contains_key(&id) {
            return refused(format!("SA {id} exists already"));
        }
        match spec.direction {
            Direction::Out => {
                let sa = OutSa {
                    key,
                    salt,
                    seq: SeqAllocator::new(spec.seq, spec.esn, spec.granted),
                    next_hop: None,
                    ip_id: 0,
                    release: Release::default(),
                    traffic: Traffic::default(),
                    drops: Drops::default(),
                    deleted: false,
                    exhausted: false,
                    spec,
                };
                self.sas.outbound.insert(id, sa);
            }
            Direction::In => {
                if let Err(error) = self.sas.sad.insert(&spec) {
                    return refused(error.to_string());
                }
                let sa = InSa {
                    key,
                    salt,
                    told: spec.seq,
                    replay: ReplayWindow::new(spec.replay_window, spec.esn, spec.seq),
                    release: Release::default(),
                    traffic: Traffic::default(),
                    drops: Drops::default(),
                    deleted: false,
                    spec,
                };
                self.sas.inbound.insert(id, sa);
            }
        }
        Answer::Done
    }

    /// Deletes an SA. What was accepted is still released, in order; nothing new is accepted.
    pub fn sa_delete(&mut self, id: u32) -> Answer {
        if let Some(sa) = self.sas.outbound.get_mut(&id) {
            sa.deleted = true;
            if sa.release.is_empty() {
                self.sas.outbound.remove(&id);
            }
            return Answer::Done;
        }
        if let Some(sa) = self.sas.inbound.get_mut(&id) {
            self.sas.sad.remove(&sa.spec);
            sa.deleted = true;
            if sa.release.is_empty() {
                self.sas.inbound.remove(&id);
            }
            return Answer::Done;
        }
        refused(format!("SA {id} does not exist"))
    }

    /// Lets an outbound SA use the numbers below `upto`.
    pub fn sa_grant(&mut self, id: u32, upto: u64) -> Answer {
        match self.sas.outbound.get_mut(&id) {
            Some(sa) => {
                sa.seq.grant(upto);
                Answer::Done
            }
            None => refused(format!("outbound SA {id} does not exist")),
        }
    }

    /// Tells an outbound SA the Ethernet address of its next hop.
    pub fn sa_next_hop(&mut self, id: u32, mac: Option<Mac>) -> Answer {
        match self.sas.outbound.get_mut(&id) {
            Some(sa) => {
                sa.next_hop = mac;
                Answer::Done
            }
            None => refused(format!("outbound SA {id} does not exist")),
        }
    }

    /// Replaces the whole SPD of a team, between two packets. Policies that stay keep their
    /// counters.
    pub fn policies(&mut self, team_id: u32, policies: Vec<PolicyWithSas>) -> Answer {
        let unknown = policies
            .iter()
            .flat_map(|entry| &entry.sas)
            .find(|entry| !self.sas.outbound.contains_key(&entry.sa));
        if let Some(entry) = unknown {
            return refused(format!("outbound SA {} does not exist", entry.sa));
        }
        // Addresses that SAs of the team name as peers: towards them the default is discard.
        let endpoints: Vec<_> = self
            .sas
            .outbound
            .values()
            .filter(|sa| sa.spec.team == team_id)
            .map(|sa| sa.spec.dst)
            .collect();
        let Some(team) = self.teams.get_mut(&team_id) else {
            return refused(format!("team {team_id} does not exist"));
        };
        let mut states = BTreeMap::new();
        for entry in &policies {
            let old = team.policies.get(&entry.policy.id);
            let first = entry.sas.first().and_then(|e| self.sas.outbound.get(&e.sa));
            let algorithm = first.and_then(|sa| {
                let mut all = Algorithm::ALL.iter();
                all.position(|&algorithm| algorithm == sa.key.algorithm())
            });
            states.insert(
                entry.policy.id,
                PolicyState {
                    sas: entry.sas.iter().map(|e| (e.member, e.sa)).collect(),
                    algorithm: algorithm.unwrap_or_default(),
                    traffic: old.map(|old| old.traffic).unwrap_or_default(),
                },
            );
        }
        let specs = policies.into_iter().map(|entry| entry.policy).collect();
        match Spd::new(specs, &endpoints) {
            Ok(spd) => {
                team.spd = spd;
                team.follow_sas(&states);
                team.policies = states;
                Answer::Done
            }
            Err(error) => refused(error.to_string()),
        }
    }

    /// Everything there is to see.
    #[must_use]
    pub fn snapshot(&self, now: Time) -> Snapshot {
        let (small, large) = self.buffers.in_use();
        let (small_made, large_made) = self.buffers.made();
        Snapshot {
            time: now.0,
            link_epoch: self.link_epoch,
            teams: self
                .teams
                .iter()
                .map(|(&id, t)| (id, self.team_snapshot(t)))
                .collect(),
            members: self
                .members
                .iter()
                .map(|(&id, m)| (id, self.member_snapshot(m)))
                .collect(),
            engines: self
                .pool
                .snapshot(now)
                .into_iter()
                .map(|e| (e.engine, e))
                .collect(),
            sas: self
                .sas
                .outbound
                .iter()
                .map(|(&id, sa)| (id, out_snapshot(sa)))
                .chain(
                    self.sas
                        .inbound
                        .iter()
                        .map(|(&id, sa)| (id, in_snapshot(sa))),
                )
                .collect(),
            policies: self
                .teams
                .values()
                .flat_map(|team| team.policies.iter().map(|(&id, p)| (id, p.traffic)))
                .collect(),
            buffers: BufferSnapshot {
                small,
                large,
                small_made,
                large_made,
            },
            queues: self.pool.queues(),
        }
    }

    /// What members and shares had to do.
    #[must_use]
    pub fn loads(&self, now: Time) -> Loads {
        let team = |team: &Team| TeamLoad {
            shares: team.shares.clone(),
        };
        let member = |member: &Member| MemberLoad {
            team: member.team,
            queued: member.tx.len(),
            foreign: self.tally(member).foreign,
        };
        Loads {
            time: now.0,
            teams: self.teams.iter().map(|(&id, t)| (id, team(t))).collect(),
            members: self
                .members
                .iter()
                .map(|(&id, m)| (id, member(m)))
                .collect(),
        }
    }

    /// One SA.
    #[must_use]
    pub fn sa(&self, id: u32) -> Option<SaSnapshot> {
        let outbound = self.sas.outbound.get(&id).map(out_snapshot);
        outbound.or_else(|| self.sas.inbound.get(&id).map(in_snapshot))
    }

    /// The highest numbers of a team's inbound SAs that went on by `step` or more since they were
    /// told; by 0, of all.
    pub fn tops(&mut self, team: u32, step: u64) -> BTreeMap<u32, u64> {
        let mut tops = BTreeMap::new();
        for (&id, sa) in &mut self.sas.inbound {
            let top = sa.replay.top();
            if sa.spec.team == team && top.saturating_sub(sa.told) >= step {
                sa.told = top;
                tops.insert(id, top);
            }
        }
        tops
    }

    /// What probing found of a member.
    fn tally(&self, member: &Member) -> Tally {
        let team = self.teams.get(&member.team);
        let prober = team.and_then(|team| team.prober.as_ref());
        prober.map_or_else(Tally::default, |prober| prober.tally(member.id))
    }

    fn team_snapshot(&self, team: &Team) -> TeamSnapshot {
        TeamSnapshot {
            epoch: team.plan.as_ref().map(|plan| plan.epoch),
            active: self
                .members
                .keys()
                .copied()
                .filter(|&member| team.route.uses(member))
                .collect(),
            receiver: team.route.receiver,
            rx: team.tap.rx,
            tx: team.tap.tx,
            shares: team.shares.clone(),
            held: team.held,
            drops: team.drops.seen().collect(),
        }
    }

    fn member_snapshot(&self, member: &Member) -> MemberSnapshot {
        let Tally {
            sent,
            heard,
            missed,
            foreign,
        } = self.tally(member);
        MemberSnapshot {
            team: member.team,
            up: member.up,
            heard: member.heard,
            latched: member.latched,
            rx: member.port.rx,
            tx: member.port.tx,
            queued: member.tx.len(),
            direct: member.direct,
            foreign,
            probes_sent: sent,
            probes_heard: heard,
            probes_missed: missed,
            tx_errors: member.errors.total,
            drops: member.drops.seen().collect(),
        }
    }
}

fn out_snapshot(sa: &OutSa) -> SaSnapshot {
    SaSnapshot {
        spi: sa.spec.spi,
        direction: "out",
        traffic: sa.traffic,
        seq: sa.seq.next().unwrap_or(u64::MAX),
        granted: Some(
            sa.seq
                .next()
                .unwrap_or(u64::MAX)
                .saturating_add(sa.seq.left()),
        ),
        in_flight: sa.release.len(),
        drops: sa.drops.seen().collect(),
    }
}

fn in_snapshot(sa: &InSa) -> SaSnapshot {
    SaSnapshot {
        spi: sa.spec.spi,
        direction: "in",
        traffic: sa.traffic,
        seq: sa.replay.top(),
        granted: None,
        in_flight: sa.release.len(),
        drops: sa.drops.seen().collect(),
    }
}
