//! Two teams on a wire in memory: the very worker that ships, with ports that are queues.
#![allow(dead_code, reason = "each test file uses what it needs of the lab")]

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use esprit_crypto::engines::asic::AsicStepped;
use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::{
    AeadKey, Algorithm, Direction as CryptoDirection, EngineId, Grant, Grants, JobInput, Op, Pool,
    Wake, engines, verify,
};
use esprit_datapath::plan::{Delivery, MemberRole, Mode as TeamMode, Receive, SourceMac};
use esprit_datapath::sa::needs;
use esprit_datapath::{
    Answer, BundleEntry, Events, Io, Mac, MemberSpec, Plan, PolicyWithSas, Stamped, TeamSpec,
    Worker,
};
use esprit_ipsec::esp;
use esprit_ipsec::sad::{Direction, Mode, SaSpec, UdpEncap};
use esprit_ipsec::selector::Selector;
use esprit_ipsec::spd::{Action, PolicySpec};
use esprit_packet::{Pool as Buffers, RxFrame, Time, TxFrame, VnetHdr};
use esprit_port::{LinkEvent, Port, PortCounters, PortError};

pub const KEY: [u8; 16] = [7; 16];
pub const SALT: [u8; 4] = [9, 8, 7, 6];
pub const TEAM: u32 = 1;

struct Silent;
impl Wake for Silent {
    fn wake(&self) {}
}

/// A port that is two queues; what was sent is kept as bytes with its virtio-net header.
#[derive(Default)]
pub struct Queue {
    pub rx: VecDeque<(VnetHdr, Vec<u8>)>,
    pub tx: Vec<(VnetHdr, Vec<u8>)>,
    pub counters: PortCounters,
    pub gone: bool,
    /// Takes nothing, as a device with a full queue.
    pub full: bool,
    /// Refuses everything for good, as a device with a small MTU.
    pub refuses: bool,
    /// Fails at each send with this error number, and drops the frame that provoked it.
    pub fails: Option<i32>,
    /// Bytes that its device has taken and not sent.
    pub unsent: u64,
    /// What its device was told to let in.
    pub addresses: Vec<[u8; 6]>,
}

impl Port for Queue {
    fn recv(
        &mut self,
        pool: &Buffers,
        out: &mut Vec<RxFrame>,
        max: usize,
    ) -> Result<usize, PortError> {
        if self.gone {
            return Err(PortError::Gone);
        }
        let mut n = 0;
        while n < max
            && let Some((vnet, bytes)) = self.rx.pop_front()
        {
            let mut buf = pool.get(bytes.len()).expect("the lab's pool is large");
            buf.append(&bytes);
            out.push(RxFrame { vnet, buf });
            n += 1;
        }
        Ok(n)
    }

    fn send(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        stats: &mut PortCounters,
    ) -> Result<usize, PortError> {
        if self.full {
            return Ok(0);
        }
        if let Some(errno) = self.fails {
            frames.pop_front();
            stats.tx_dropped += 1;
            stats.tx_refused += 1;
            return Err(PortError::Io(errno));
        }
        let n = frames.len();
        if self.refuses {
            frames.clear();
            stats.tx_dropped += n as u64;
            return Ok(0);
        }
        for frame in frames.drain(..) {
            stats.sent(&frame.vnet, frame.len());
            self.tx.push((frame.vnet, frame.to_vec()));
        }
        Ok(n)
    }

    fn unsent(&self) -> u64 {
        self.unsent
    }

    fn fd(&self) -> Option<i32> {
        None
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn set_addresses(&mut self, addresses: &[[u8; 6]]) -> std::io::Result<()> {
        self.addresses = addresses.to_vec();
        Ok(())
    }
}

#[derive(Default)]
pub struct Wires {
    pub taps: BTreeMap<u32, Queue>,
    pub members: BTreeMap<u32, Queue>,
    pub links: Vec<LinkEvent>,
}

impl Io for Wires {
    fn tap(&mut self, team: u32) -> Option<&mut dyn Port> {
        self.taps.get_mut(&team).map(|port| port as &mut dyn Port)
    }
    fn member(&mut self, member: u32) -> Option<&mut dyn Port> {
        self.members
            .get_mut(&member)
            .map(|port| port as &mut dyn Port)
    }
    fn close_member(&mut self, member: u32) {
        self.members.remove(&member);
    }
    fn links(&mut self, out: &mut Vec<LinkEvent>) {
        out.append(&mut self.links);
    }
}

/// A host with one team.
pub struct Host {
    pub worker: Worker,
    pub wires: Wires,
    pub events: Events,
    pub now: Time,
    epoch: u64,
}

/// Addresses: host 1 is 10.0.0.1 with team MAC 02:..:01:00, its members 02:..:01:0n.
pub fn team_mac(host: u8) -> Mac {
    Mac([2, 0, 0, 0, host, 0])
}

/// A policy that protects everything between two prefixes, with the SA of the same number.
pub fn protecting(id: u32, local: &str, remote: &str, member: Option<u32>) -> PolicyWithSas {
    PolicyWithSas {
        policy: PolicySpec {
            id,
            name: format!("to-{remote}"),
            action: Action::Protect,
            selector: Selector {
                local: local.parse().expect("a prefix"),
                remote: remote.parse().expect("a prefix"),
                protocol: None,
                local_port: None,
                remote_port: None,
            },
        },
        sas: vec![BundleEntry { member, sa: id }],
    }
}

pub fn member_mac(host: u8, member: u32) -> Mac {
    Mac([2, 0, 0, 0, host, member as u8])
}

impl Host {
    /// A host with `members` members, numbered from 1, and the processor as engine 1.
    pub fn new(host: u8, members: u32) -> Self {
        Self::with_buffers(host, members, 4096, 256)
    }

    /// As [`Host::new`], with so many small and large buffers.
    pub fn with_buffers(host: u8, members: u32, small: usize, large: usize) -> Self {
        let wake: Arc<dyn Wake> = Arc::new(Silent);
        let events = Events::new(wake.clone());
        let worker = Worker::new(Buffers::new(small, large), Pool::new(wake), events.clone());
        let mut lab = Self {
            worker,
            wires: Wires::default(),
            events,
            now: Time::from_millis(1),
            epoch: 0,
        };
        let spec = TeamSpec {
            id: TEAM,
            name: "team0".to_owned(),
            mac: team_mac(host),
        };
        assert!(matches!(lab.worker.team_add(&spec), Answer::Done));
        lab.wires.taps.insert(TEAM, Queue::default());
        for id in 1..=members {
            let spec = MemberSpec {
                id,
                team: TEAM,
                mac: member_mac(host, id),
                ifindex: id,
                up: true,
            };
            assert!(matches!(lab.worker.member_add(&spec), Answer::Done));
            lab.wires.members.insert(id, Queue::default());
        }
        lab
    }

    pub fn with_cpu(mut self) -> Self {
        let engine = Box::new(engines::cpu::CpuInline::new());
        let clock = || Time(0);
        let Ok(verified) = verify::verify(engine, &clock, &|_| {}) else {
            panic!("the processor failed its known answers");
        };
        self.worker.engine_admit(EngineId(1), verified);
        self
    }

    /// A simulated encryption processor in virtual time as engine 1.
    pub fn with_device(self, spec: &AsicSpec) -> Self {
        self.with_device_as(1, spec)
    }

    pub fn with_device_as(mut self, engine: u32, spec: &AsicSpec) -> Self {
        self.admit_device(engine, spec);
        self
    }

    pub fn admit_device(&mut self, engine: u32, spec: &AsicSpec) {
        let device = Box::new(AsicStepped::new(spec).expect("a device that can work"));
        let clock = Cell::new(0);
        let tick = || {
            clock.set(clock.get() + 1_000);
            Time(clock.get())
        };
        let verified = verify::verify(device, &tick, &|_| {}).expect("the device works");
        self.worker.engine_admit(EngineId(engine), verified);
    }

    pub fn plan(&mut self, transmit: Vec<u32>, receiver: u32, mac: SourceMac) -> Plan {
        self.epoch += 1;
        let members: Vec<u32> = self.wires.members.keys().copied().collect();
        Plan {
            epoch: self.epoch,
            team: TEAM,
            latch: 0,
            mode: TeamMode::ActiveBackup,
            members: members
                .iter()
                .map(|&id| MemberRole {
                    id,
                    carry: true,
                    accept: true,
                })
                .collect(),
            transmit,
            receiver: Some(receiver),
            takeover: members,
            mac,
            announce: Vec::new(),
            grants: Grants {
                engines: vec![Grant {
                    seal: true,
                    open: true,
                    primary: Some(0),
                    secondary: Some(0),
                    ..Grant::none(1)
                }],
                spill_ns: [20_000_000; 3],
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

    pub fn publish(&mut self, plan: Plan) {
        let answer = self.worker.publish(plan);
        assert!(matches!(answer, Answer::Epoch(_)), "{answer:?}");
    }

    pub fn active(mut self) -> Self {
        let plan = self.plan(vec![1], 1, SourceMac::Team);
        self.publish(plan);
        self
    }

    /// SAs both ways between 10.0.0.`me` and 10.0.0.`peer`, and a policy that protects all.
    pub fn protect(self, me: u8, peer: u8, mode: Mode, encap: bool) -> Self {
        self.protect_from(me, peer, mode, encap, 1, u64::MAX)
    }

    /// As [`Host::protect`], with outbound numbers from `seq` to below `granted`.
    pub fn protect_from(
        mut self,
        me: u8,
        peer: u8,
        mode: Mode,
        encap: bool,
        seq: u64,
        granted: u64,
    ) -> Self {
        let policy = self.associate(1, me, peer, |spec| {
            spec.mode = mode;
            spec.encap = encap.then(UdpEncap::default);
            spec.granted = granted;
            if spec.direction == Direction::Out {
                spec.seq = seq;
            }
        });
        self.policies(vec![policy])
    }

    /// As [`Host::protect`] in tunnel mode, with each peer and the weight of its SAs. The outbound SA
    /// of the first is 1, of the second 3; the inbound one is the next.
    pub fn protect_each(mut self, me: u8, peers: &[(u8, u16)]) -> Self {
        let policies = (1..).step_by(2).zip(peers).map(|(first, &(peer, weight))| {
            self.associate(first, me, peer, |spec| spec.weight = weight)
        });
        let policies = policies.collect();
        self.policies(policies)
    }

    /// Adds an SA for each direction, `first` outbound, and makes the policy that they serve.
    fn associate(
        &mut self,
        first: u32,
        me: u8,
        peer: u8,
        change: impl Fn(&mut SaSpec),
    ) -> PolicyWithSas {
        let address = |host: u8| format!("10.0.0.{host}").parse().expect("an address");
        for (id, direction, from, to) in [
            (first, Direction::Out, me, peer),
            (first + 1, Direction::In, peer, me),
        ] {
            let mut spec = SaSpec {
                id,
                team: TEAM,
                direction,
                spi: 0x1000 + u32::from(from),
                src: address(from),
                dst: address(to),
                mode: Mode::Tunnel,
                algorithm: "aes-gcm-16".to_owned(),
                esn: true,
                replay_window: 2048,
                encap: None,
                weight: 1,
                member: None,
                policy: Some(first),
                seq: u64::from(direction == Direction::Out),
                granted: u64::MAX,
            };
            change(&mut spec);
            let mut key = KEY;
            key[0] = from;
            let key = AeadKey::for_sa(Algorithm::Aes128Gcm16, &key, needs(&spec)).expect("a key");
            let answer = self.worker.sa_add(spec, key, SALT);
            assert!(matches!(answer, Answer::Done), "{answer:?}");
        }
        self.worker.sa_next_hop(first, Some(team_mac(peer)));
        let (local, remote) = (format!("10.0.0.{me}/32"), format!("10.0.0.{peer}/32"));
        protecting(first, &local, &remote, None)
    }

    fn policies(mut self, policies: Vec<PolicyWithSas>) -> Self {
        let answer = self.worker.policies(TEAM, policies);
        assert!(matches!(answer, Answer::Done), "{answer:?}");
        self
    }

    /// Steps until nothing moves.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            self.now = self.now + Time(100);
            if !self.worker.step(self.now, &mut self.wires).busy {
                return;
            }
        }
        panic!("the worker never comes to rest");
    }

    pub fn send(&mut self, vnet: VnetHdr, frame: Vec<u8>) {
        self.tap().rx.push_back((vnet, frame));
        self.settle();
    }

    pub fn hear(&mut self, member: u32, vnet: VnetHdr, frame: Vec<u8>) {
        self.member(member).rx.push_back((vnet, frame));
        self.settle();
    }

    pub fn tap(&mut self) -> &mut Queue {
        self.wires.taps.get_mut(&TEAM).expect("the team's NIC")
    }

    pub fn member(&mut self, member: u32) -> &mut Queue {
        self.wires.members.get_mut(&member).expect("a member")
    }

    pub fn drops(&self) -> BTreeMap<&'static str, u64> {
        let snapshot = self.worker.snapshot(self.now);
        let mut all = BTreeMap::new();
        let parts = snapshot
            .teams
            .values()
            .map(|t| &t.drops)
            .chain(snapshot.members.values().map(|m| &m.drops))
            .chain(snapshot.sas.values().map(|s| &s.drops));
        for (name, count) in parts.flatten() {
            *all.entry(*name).or_insert(0) += count;
        }
        all
    }

    pub fn told(&self) -> Vec<Stamped> {
        self.events.drain()
    }
}

/// An ESP packet (from its outer Ethernet header on, tunnel mode, host 1 to host 2) around any
/// bytes at all, sealed with the lab's key: what a peer with the key could send.
pub fn sealed(seq: u32, plain: &[u8]) -> Vec<u8> {
    let spi = 0x1001_u32;
    let mut key = KEY;
    key[0] = 1;
    let key = AeadKey::new(Algorithm::Aes128Gcm16, &key).expect("a key");
    let (aad, aad_len) = esp::aad(spi, seq.into(), true);
    let pool = Buffers::new(4, 4);
    let frame = pool.get(1).expect("a buffer").share();
    let mut prefix = [0; esp::PREFIX_LEN];
    esp::write_prefix(&mut prefix, spi, seq.into());
    let headers: Vec<u8> = prefix.iter().chain(plain).copied().collect();
    let end = headers.len() as u32;
    let op = Op {
        nonce: esp::nonce(SALT, esp::iv(seq.into())),
        aad,
        aad_len,
        long_aad: (0, 0),
        frame: 0,
        prefix: (0, 16),
        head: (16, end),
        tail: (end, end),
        body: (0, 0),
        dst: 0,
    };
    let input = JobInput {
        frames: [frame].into_iter().collect(),
        headers,
        ops: [op].into_iter().collect(),
    };
    let mut out = vec![0; op.out_len(CryptoDirection::Seal)];
    engines::software::work_op(&key, CryptoDirection::Seal, &input, &op, &mut out);
    let mut bytes = udp(1, 2, &[]);
    bytes.truncate(34);
    bytes[23] = 50;
    bytes.extend_from_slice(&out);
    fix_header(&mut bytes);
    bytes
}

/// Sets the length and the checksum of a frame's IPv4 header.
pub fn fix_header(frame: &mut [u8]) {
    let total = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[24..26].fill(0);
    let sum = checksum(&frame[14..34], 0);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// An Ethernet frame with IPv4 and UDP from one host of the lab to the other.
pub fn udp(from: u8, to: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![
        0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to,
    ];
    let total = (28 + payload.len()) as u16;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    let sum = checksum(&ip, 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = Vec::new();
    frame.extend_from_slice(&team_mac(to).0);
    frame.extend_from_slice(&team_mac(from).0);
    frame.extend_from_slice(&[8, 0]);
    frame.extend_from_slice(&ip);
    frame.extend_from_slice(&5000_u16.to_be_bytes());
    frame.extend_from_slice(&6000_u16.to_be_bytes());
    frame.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(payload);
    frame
}

/// A TCP super-frame (TSO) of `payload`, with an unfinished checksum as the host leaves it.
pub fn tso(from: u8, to: u8, payload: &[u8], mss: u16) -> (VnetHdr, Vec<u8>) {
    let mut ip = vec![
        0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, from, 10, 0, 0, to,
    ];
    let total = (40 + payload.len()) as u16;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    let sum = checksum(&ip, 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut pseudo = Vec::from(&ip[12..20]);
    pseudo.extend_from_slice(&[0, 6]);
    pseudo.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    let partial = !checksum(&pseudo, 0);
    let mut frame = Vec::new();
    frame.extend_from_slice(&team_mac(to).0);
    frame.extend_from_slice(&team_mac(from).0);
    frame.extend_from_slice(&[8, 0]);
    frame.extend_from_slice(&ip);
    frame.extend_from_slice(&[
        0x13, 0x88, 0x17, 0x70, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0,
    ]);
    frame.extend_from_slice(&partial.to_be_bytes());
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(payload);
    let vnet = VnetHdr {
        flags: 1,
        gso_type: 1,
        hdr_len: 54,
        gso_size: mss,
        csum_start: 34,
        csum_offset: 16,
    };
    (vnet, frame)
}

pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
