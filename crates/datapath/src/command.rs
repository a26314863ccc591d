//! What Python asks of the data plane: plain values, each answered once.

use std::collections::BTreeMap;
use std::sync::Arc;

use esprit_crypto::{AeadKey, Engine, EngineId, Fault, Grants, Verified};
use esprit_ipsec::sad::SaSpec;
use esprit_ipsec::spd::PolicySpec;
use esprit_port::{LinkMonitor, LinkProber, Port};
use serde::{Deserialize, Serialize};

use crate::application::Task;
use crate::drops::LastDrop;
use crate::explain::{Explanation, Flow};
use crate::plan::{Mac, Plan};
use crate::probe::frame::ProbeKey;
use crate::snapshot::{Loads, SaSnapshot, Snapshot};

/// A team to be added.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TeamSpec {
    /// Its id.
    pub id: u32,
    /// Its virtual NIC's name.
    pub name: String,
    /// Its one MAC.
    pub mac: Mac,
}

/// A member to be added.
#[derive(Clone, Debug)]
pub struct MemberSpec {
    /// Its id.
    pub id: u32,
    /// Its team.
    pub team: u32,
    /// Its interface's own address.
    pub mac: Mac,
    /// Its interface's index.
    pub ifindex: u32,
    /// Whether its link is up.
    pub up: bool,
}

/// A policy with its SAs, as Python gives it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyWithSas {
    /// Selector and action.
    #[serde(flatten)]
    pub policy: PolicySpec,
    /// Its outbound SAs.
    #[serde(default)]
    pub sas: Vec<BundleEntry>,
}

/// One outbound SA of a bundle.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct BundleEntry {
    /// The member that it goes by; none: any, one at a time.
    pub member: Option<u32>,
    /// The SA.
    pub sa: u32,
}

/// A port, ready to be used by the worker's thread.
pub type BoxedPort = Box<dyn Port>;

/// A change, or a question.
pub enum Command {
    /// Adds a team; its doors stay closed until a Plan is published.
    TeamAdd(TeamSpec, BoxedPort),
    /// Removes a team with its members' ports and its SAs.
    TeamRemove(u32),
    /// Adds a member, or gives one that exists a new port.
    MemberAdd(MemberSpec, BoxedPort),
    /// Removes a member and closes its port.
    MemberRemove(u32),
    /// Admits an engine that passed its tests.
    EngineAdmit(EngineId, Verified),
    /// Removes an engine; its jobs are redone elsewhere.
    EngineRemove(EngineId),
    /// Takes an engine out, to be tested; its jobs are redone elsewhere.
    EngineTake(EngineId),
    /// Injects a fault into a simulated engine.
    EngineFault(EngineId, Fault),
    /// Says what engines may do for applications' tasks.
    Applications(Box<Grants>),
    /// Sets the key of a team's probes.
    ProbeKey(u32, ProbeKey),
    /// Asks what would become of a packet of a team's host.
    Explain(u32, Box<Flow>),
    /// Asks for the last packet of a team that was dropped.
    LastDrop(u32),
    /// Puts a Plan in force.
    Publish(Box<Plan>),
    /// Adds an SA, with its key and the salt of its nonces.
    SaAdd(Box<SaSpec>, Arc<AeadKey>, [u8; 4]),
    /// Deletes an SA.
    SaDelete(u32),
    /// Lets an outbound SA use the numbers below the limit.
    SaGrant(u32, u64),
    /// Tells an outbound SA the Ethernet address of its next hop.
    SaNextHop(u32, Option<Mac>),
    /// Replaces the whole SPD of a team, between two packets.
    Policies(u32, Vec<PolicyWithSas>),
    /// Watches links by a new socket, and has the kernel look at them often.
    Links(LinkMonitor, LinkProber),
    /// Does applications' tasks; each is answered over its own way back.
    Application(Vec<Task>),
    /// Asks for everything.
    Snapshot,
    /// Asks what members and shares had to do.
    Loads,
    /// Asks for one SA.
    Sa(u32),
    /// Asks a team for the highest numbers of inbound SAs that went on by so much since they were
    /// told; by 0, of all.
    Tops(u32, u64),
}

/// An engine that was taken out.
pub struct Taken(pub Box<dyn Engine>);

impl core::fmt::Debug for Taken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Taken")
            .field(&self.0.capabilities().kind)
            .finish()
    }
}

/// What a command is answered with.
#[derive(Debug)]
pub enum Answer {
    /// Done.
    Done,
    /// The epoch that is in force.
    Epoch(u64),
    /// Everything.
    Snapshot(Box<Snapshot>),
    /// What members and shares had to do.
    Loads(Box<Loads>),
    /// An SA, if there is one of that number.
    Sa(Option<Box<SaSnapshot>>),
    /// Numbers, by SA.
    Tops(BTreeMap<u32, u64>),
    /// An engine, where there was one.
    Engine(Option<Taken>),
    /// What would become of a packet.
    Explanation(Box<Explanation>),
    /// The last drop, if there was one.
    LastDrop(Option<LastDrop>),
    /// Not done, and why; nothing was changed.
    Refused(String),
}
