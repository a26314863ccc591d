//! What is done to the host, by the names that the data plane's handle has: teams, members, engines,
//! SAs, faults of wires and devices, sources of packets.

use esprit_crypto::{AeadKey, Algorithm, EngineId, Fault, Grants};
use esprit_datapath::plan::Delivery;
use esprit_datapath::probe::frame::ProbeKey;
use esprit_datapath::sa::needs;
use esprit_datapath::{Answer, Mac, MemberSpec as NativeMember, Plan, PolicyWithSas, TeamSpec};
use esprit_ipsec::sad::{Direction, SaSpec};
use esprit_port::LinkEvent;

use super::{Counts, EngineReport, Flow, MemberSpec, NEXT_HOP, Simulation};
use crate::application::{Application, ApplicationSpec};
use crate::engine::{self, EngineModel, lock};
use crate::probe::Template;
use crate::random::mix;
use crate::traffic::{Source, TrafficSpec};
use crate::wire::{HostPort, MemberPort};

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

    /// Adds a member; one that is there gets a new port, as when its interface is back.
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
            let old = self.wires.members.insert(spec.id, port);
            self.closed(old);
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
        let old = self.wires.members.remove(&member);
        self.closed(old);
        self.member_macs.retain(|_, (id, _)| *id != member);
        self.wake_at(self.now);
    }

    /// A port is gone, with what lay unread in it.
    fn closed(&mut self, port: Option<MemberPort>) {
        if let Some(port) = port {
            self.unread += port.unread() as u64;
            self.own_lost += port.own_lost;
        }
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
        // For good: what was queued then may still be, whatever the next Plan says.
        if plan.delivery != Delivery::Return {
            self.direct.insert(plan.team);
        }
        self.announces |= !plan.announce.is_empty();
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
        let ready =
            AeadKey::for_sa(algorithm, cipher, needs(&spec)).map_err(|error| error.to_string())?;
        lock(&self.journal).sas.insert(ready.id(), spec.id);
        self.sas += 1;
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
        let port = self.wires.members.get_mut(&member);
        // Of a deleted interface nothing is heard any more.
        let Some(port) = port.filter(|port| !port.gone) else {
            return;
        };
        port.up = up && !deleted;
        port.gone = deleted;
        if deleted {
            // What it had received goes with it, as with a socket of a deleted interface.
            self.unread += port.unread() as u64;
            port.clear();
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

    /// What engines may do for applications' tasks.
    pub fn applications(&mut self, grants: Grants) -> Answer {
        let answer = self.worker.applications(grants);
        self.wake_at(self.now);
        answer
    }

    /// Adds an application.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn application_add(&mut self, spec: ApplicationSpec, key: &[u8]) -> Result<(), String> {
        self.applications.push(Application::new(spec, key)?);
        Ok(())
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
