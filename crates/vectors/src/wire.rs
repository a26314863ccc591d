//! A case through the code that ships: a data plane with one team and one member, both on memory
//! ports. The packet arrives as a frame on the member; what the host would see comes out of the
//! virtual NIC, and every drop is a counter.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use esprit_crypto::engines::cpu::CpuInline;
use esprit_crypto::{AeadKey, Algorithm, EngineId, Grant, Grants, Wake};
use esprit_datapath::plan::{Delivery, MemberRole, Mode, Receive, SourceMac};
use esprit_datapath::{
    Answer, Events, Io, Mac, MemberSpec, Plan, PolicyWithSas, TeamSpec, Worker, monotonic,
};
use esprit_ipsec::sad::{self, NAT_T_PORT, SaSpec, UdpEncap};
use esprit_ipsec::selector::{Prefix, Selector};
use esprit_ipsec::spd::{Action, PolicySpec};
use esprit_packet::{Pool, Time, TxFrame};
use esprit_port::memory::{MemoryPort, pair};
use esprit_port::{LinkEvent, Port, PortCounters};

use crate::case::EspCase;
use crate::codec::differs;

const TEAM: u32 = 1;
const MEMBER: u32 = 1;
const ENGINE: u32 = 1;
const TEAM_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const MEMBER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PEER_MAC: Mac = Mac([2, 0, 0, 0, 0, 3]);

/// Steps within which a packet is through; one does, since the engine is the worker itself.
const STEPS: usize = 100;

/// The worker's own ends of the memory ports.
struct Ports {
    tap: MemoryPort,
    member: MemoryPort,
}

impl Io for Ports {
    fn tap(&mut self, team: u32) -> Option<&mut dyn Port> {
        (team == TEAM).then_some(&mut self.tap as &mut dyn Port)
    }

    fn member(&mut self, member: u32) -> Option<&mut dyn Port> {
        (member == MEMBER).then_some(&mut self.member as &mut dyn Port)
    }

    fn close_member(&mut self, _member: u32) {}

    fn links(&mut self, _out: &mut Vec<LinkEvent>) {}
}

/// The engine works on the caller's own thread: there is nobody to wake.
struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// A data plane, and the two sides that it stands between.
pub struct Wire {
    worker: Worker,
    ports: Ports,
    host: MemoryPort,
    peer: MemoryPort,
    next_sa: u32,
}

/// What came of a packet.
struct Seen {
    /// Frames that the host received.
    up: Vec<Vec<u8>>,
    /// Frames that left by the member.
    out: usize,
    /// New drops, by reason.
    drops: BTreeMap<&'static str, u64>,
}

impl Wire {
    /// Starts the data plane: its engine is tested, its doors opened by a Plan, and everything
    /// between any two addresses is to be protected.
    ///
    /// # Errors
    /// What was refused.
    pub fn new() -> Result<Self, String> {
        let (tap, host) = pair(64);
        let (member, peer) = pair(64);
        let pool = esprit_crypto::Pool::new(Arc::new(Nobody));
        let mut worker = Worker::new(Pool::new(256, 16), pool, Events::new(Arc::new(Nobody)));
        let engine = esprit_crypto::verify(Box::new(CpuInline::new()), &monotonic, &|_| {})
            .map_err(|refused| refused.to_string())?;
        done(worker.engine_admit(EngineId(ENGINE), engine))?;
        done(worker.team_add(&TeamSpec {
            id: TEAM,
            name: "team0".into(),
            mac: TEAM_MAC,
        }))?;
        done(worker.member_add(&MemberSpec {
            id: MEMBER,
            team: TEAM,
            mac: MEMBER_MAC,
            ifindex: 0,
            up: true,
        }))?;
        done(worker.publish(plan()))?;
        let everything = [
            (1, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            (2, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        ];
        let policies = everything
            .into_iter()
            .filter_map(|(id, address)| Prefix::network(address, 0).map(|all| (id, all)))
            .map(|(id, all)| protect(id, all))
            .collect();
        done(worker.policies(TEAM, policies))?;
        Ok(Self {
            worker,
            ports: Ports { tap, member },
            host,
            peer,
            next_sa: 1,
        })
    }

    /// The packet comes out of the virtual NIC as it was before it was sealed. A dummy packet
    /// does not: it is dropped, as RFC 4303 section 2.6 demands. Answers the reason then.
    pub fn delivers(
        &mut self,
        case: &EspCase,
        algorithm: Algorithm,
    ) -> Result<Option<&'static str>, String> {
        let seen = self.feed(case, algorithm)?;
        if case.next_header == Some(esprit_ipsec::esp::NEXT_HEADER_NONE) {
            return dropped(&seen);
        }
        let [frame] = seen.up.as_slice() else {
            return Err(format!(
                "data plane: {} frames to the host, drops {:?}",
                seen.up.len(),
                seen.drops
            ));
        };
        let ethertype = match case.plain.0.first().map(|first| first >> 4) {
            Some(6) => [0x86, 0xdd],
            _ => [0x08, 0x00],
        };
        let header = [&TEAM_MAC.0[..], &PEER_MAC.0, &ethertype].concat();
        let expected = [&header[..], &case.plain.0].concat();
        if *frame != expected {
            return Err(differs(
                "data plane: the frame to the host",
                frame,
                &expected,
            ));
        }
        if !seen.drops.is_empty() || seen.out > 0 {
            return Err(format!(
                "data plane: {} frames out, drops {:?}",
                seen.out, seen.drops
            ));
        }
        Ok(None)
    }

    /// Nothing of the packet reaches the host, and one reason says why.
    pub fn drops(
        &mut self,
        case: &EspCase,
        algorithm: Algorithm,
    ) -> Result<Option<&'static str>, String> {
        dropped(&self.feed(case, algorithm)?)
    }

    /// Sets up the case's SA, lets its packet arrive, and takes the SA out again.
    fn feed(&mut self, case: &EspCase, algorithm: Algorithm) -> Result<Seen, String> {
        let packet = arriving(case);
        let id = self.next_sa;
        self.next_sa += 1;
        let key = AeadKey::new(algorithm, &case.key.0).map_err(|error| error.to_string())?;
        let salt = case
            .salt
            .0
            .as_slice()
            .try_into()
            .map_err(|_| "the salt is not 4 bytes")?;
        let spec = spec(case, &packet, id);
        spec.validate().map_err(|error| error.to_string())?;
        done(self.worker.sa_add(spec, key, salt))?;

        let before = self.counters(id);
        let ethertype = match packet.first().map(|first| first >> 4) {
            Some(6) => [0x86, 0xdd],
            _ => [0x08, 0x00],
        };
        let mut frame = TxFrame::default();
        for part in [&MEMBER_MAC.0[..], &PEER_MAC.0, &ethertype, &packet] {
            frame.head.extend_from_slice(part);
        }
        let mut frames = VecDeque::from([frame]);
        self.peer
            .send(&mut frames, &mut PortCounters::default())
            .map_err(|error| format!("memory port: {error:?}"))?;
        let mut steps = 0;
        while self.worker.step(Time(0), &mut self.ports).busy {
            steps += 1;
            if steps == STEPS {
                return Err("data plane: it does not come to rest".into());
            }
        }
        let after = self.counters(id);
        let drops = after
            .into_iter()
            .map(|(reason, count)| (reason, count - before.get(reason).unwrap_or(&0)))
            .filter(|&(_, count)| count > 0)
            .collect();
        done(self.worker.sa_delete(id))?;
        Ok(Seen {
            up: self.host.take().iter().map(TxFrame::to_vec).collect(),
            out: self.peer.take().len(),
            drops,
        })
    }

    /// All drops so far, by reason, wherever they were counted.
    fn counters(&self, sa: u32) -> BTreeMap<&'static str, u64> {
        let snapshot = self.worker.snapshot(Time(0));
        let team = snapshot.teams.get(&TEAM).map(|team| &team.drops);
        let member = snapshot.members.get(&MEMBER).map(|member| &member.drops);
        let sa = snapshot.sas.get(&sa).map(|sa| &sa.drops);
        let mut all = BTreeMap::new();
        for (&reason, count) in [team, member, sa].into_iter().flatten().flatten() {
            *all.entry(reason).or_default() += count;
        }
        all
    }
}

/// The one reason for which a packet was dropped.
fn dropped(seen: &Seen) -> Result<Option<&'static str>, String> {
    if !seen.up.is_empty() || seen.out > 0 {
        return Err(format!(
            "data plane: let through, {} frames to the host, {} out",
            seen.up.len(),
            seen.out
        ));
    }
    let mut reasons = seen.drops.iter();
    match (reasons.next(), reasons.next()) {
        (Some((&reason, 1)), None) => Ok(Some(reason)),
        _ => Err(format!(
            "data plane: no single reason for the drop: {:?}",
            seen.drops
        )),
    }
}

fn done(answer: Answer) -> Result<(), String> {
    match answer {
        Answer::Refused(why) => Err(why),
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

/// The packet of a case as a router would deliver it. Two of the published ones carry an outer
/// IPv4 checksum that is wrong, which is no statement about ESP.
fn arriving(case: &EspCase) -> Vec<u8> {
    let mut packet = case.esp.0.clone();
    let len = usize::from(packet.first().copied().unwrap_or(0) & 0xf) * 4;
    if packet.first().is_some_and(|first| first >> 4 == 4)
        && let Some(header) = packet.get_mut(..len)
        && len >= 20
    {
        header[10..12].fill(0);
        let mut sum: u32 = header
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let checksum = !(sum as u16);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    packet
}

/// The inbound SA of a case, one packet before this one: what shows a wrong number is then
/// refused for its ICV and not for its age.
fn spec(case: &EspCase, packet: &[u8], id: u32) -> SaSpec {
    let (src, dst) = addresses(packet);
    let seq = case.whole(case.seq.or_else(|| shown(case, packet)).unwrap_or(1));
    SaSpec {
        id,
        team: TEAM,
        direction: sad::Direction::In,
        spi: case.spi,
        src,
        dst,
        mode: case.mode,
        algorithm: sad::AES_GCM_16.into(),
        esn: case.esn,
        // Number 0 exists only without a window, in packets that were made by hand.
        replay_window: if seq == 0 && !case.esn { 0 } else { 64 },
        encap: case.udp_encap.then_some(UdpEncap {
            sport: NAT_T_PORT,
            dport: NAT_T_PORT,
        }),
        weight: 1,
        member: None,
        policy: None,
        seq: seq.saturating_sub(1),
        granted: 0,
    }
}

/// Outer addresses, as far as they are there.
fn addresses(packet: &[u8]) -> (IpAddr, IpAddr) {
    let v4 = |at: usize| {
        packet
            .get(at..at + 4)?
            .try_into()
            .ok()
            .map(|b: [u8; 4]| b.into())
    };
    let v6 = |at: usize| {
        packet
            .get(at..at + 16)?
            .try_into()
            .ok()
            .map(|b: [u8; 16]| b.into())
    };
    let both = match packet.first().map(|first| first >> 4) {
        Some(6) => v6(8).zip(v6(24)),
        _ => v4(12).zip(v4(16)),
    };
    both.unwrap_or((Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()))
}

/// The lower half of the sequence number that a packet shows, where it is long enough to.
fn shown(case: &EspCase, packet: &[u8]) -> Option<u32> {
    let ip = match packet.first()? >> 4 {
        4 => usize::from(packet[0] & 0xf) * 4,
        _ => 40,
    };
    let at = ip + if case.udp_encap { 8 } else { 0 } + 4;
    Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?))
}

fn plan() -> Plan {
    Plan {
        epoch: 1,
        team: TEAM,
        latch: 0,
        mode: Mode::ActiveBackup,
        members: vec![MemberRole {
            id: MEMBER,
            carry: true,
            accept: true,
        }],
        transmit: vec![MEMBER],
        receiver: Some(MEMBER),
        takeover: vec![MEMBER],
        mac: SourceMac::Team,
        announce: Vec::new(),
        grants: Grants {
            engines: vec![Grant {
                seal: true,
                open: true,
                secondary: Some(0),
                ..Grant::none(ENGINE)
            }],
            spill_ns: [u64::MAX; 3],
            verify_every: 0,
        },
        delivery: Delivery::Return,
        direct: Vec::new(),
        mask: None,
        probe: None,
        down_delay_ns: 0,
        receive: Receive::Single,
    }
}

/// Everything between two hosts of one IP version is to be protected.
fn protect(id: u32, all: Prefix) -> PolicyWithSas {
    PolicyWithSas {
        policy: PolicySpec {
            id,
            name: "everything".into(),
            action: Action::Protect,
            selector: Selector {
                local: all,
                remote: all,
                protocol: None,
                local_port: None,
                remote_port: None,
            },
        },
        sas: Vec::new(),
    }
}
