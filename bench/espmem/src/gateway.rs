//! A worker of one team and one member, with shelves in place of devices.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;

use esprit_crypto::engines::cpu::CpuInline;
use esprit_crypto::{AeadKey, Algorithm, EngineId, Wake, verify};
use esprit_datapath::{
    Answer, Events, Io, Mac, MemberSpec, Plan, PolicyWithSas, TeamSpec, Worker, monotonic,
};
use esprit_ipsec::SaSpec;
use esprit_packet::{Pool, RxFrame, TxFrame, VnetHdr};
use esprit_port::{LinkEvent, Port, PortCounters, PortError};
use serde_json::{Value, json};

use crate::frames::{Batch, frame};

pub const LEFT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
pub const RIGHT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];

const TEAM: u32 = 1;
const MEMBER: u32 = 1;
const ENGINE: u32 = 1;
const POLICY: u32 = 1;
const OUTBOUND: u32 = 1;
const INBOUND: u32 = 2;

/// Which of the two gateways.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

impl Side {
    fn mac(self) -> Mac {
        match self {
            Self::Left => Mac(LEFT_MAC),
            Self::Right => Mac(RIGHT_MAC),
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    fn outer(self) -> &'static str {
        match self {
            Self::Left => "10.90.0.1",
            Self::Right => "10.90.0.2",
        }
    }

    fn inner(self) -> &'static str {
        match self {
            Self::Left => "10.91.0.1/32",
            Self::Right => "10.91.0.2/32",
        }
    }

    /// Of the SA that this side seals with.
    fn spi(self) -> u32 {
        match self {
            Self::Left => 0x1001,
            Self::Right => 0x1002,
        }
    }

    fn key(self) -> [u8; 16] {
        match self {
            Self::Left => [0x8f; 16],
            Self::Right => [0x3c; 16],
        }
    }

    fn salt(self) -> [u8; 4] {
        self.spi().to_be_bytes()
    }
}

/// A port without a device: frames to be received lie ready, frames sent are kept.
#[derive(Default)]
struct Shelf {
    ready: VecDeque<RxFrame>,
    sent: Vec<TxFrame>,
    counters: PortCounters,
}

impl Port for Shelf {
    fn recv(
        &mut self,
        _pool: &Pool,
        out: &mut Vec<RxFrame>,
        max: usize,
    ) -> Result<usize, PortError> {
        let count = self.ready.len().min(max);
        out.extend(self.ready.drain(..count));
        Ok(count)
    }

    fn send(
        &mut self,
        frames: &mut VecDeque<TxFrame>,
        _stats: &mut PortCounters,
    ) -> Result<usize, PortError> {
        let count = frames.len();
        self.sent.extend(frames.drain(..));
        Ok(count)
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }
}

#[derive(Default)]
struct Shelves {
    tap: Shelf,
    member: Shelf,
}

impl Io for Shelves {
    fn tap(&mut self, _team: u32) -> Option<&mut dyn Port> {
        Some(&mut self.tap)
    }

    fn member(&mut self, _member: u32) -> Option<&mut dyn Port> {
        Some(&mut self.member)
    }

    fn close_member(&mut self, _member: u32) {}

    fn links(&mut self, _out: &mut Vec<LinkEvent>) {}
}

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// One gateway.
pub struct Gateway {
    worker: Worker,
    io: Shelves,
    buffers: Pool,
}

impl Gateway {
    /// A gateway that protects everything between the two inner addresses with ESP in tunnel
    /// mode, native or in UDP, sealed and opened by the worker itself.
    pub fn new(side: Side, udp: bool) -> Self {
        let buffers = Pool::new(1024, 64);
        let nobody: Arc<dyn Wake> = Arc::new(Nobody);
        let pool = esprit_crypto::Pool::new(Arc::clone(&nobody));
        let mut worker = Worker::new(buffers.clone(), pool, Events::new(nobody));

        done(worker.team_add(&TeamSpec {
            id: TEAM,
            name: "team0".to_owned(),
            mac: side.mac(),
        }));
        done(worker.member_add(&MemberSpec {
            id: MEMBER,
            team: TEAM,
            mac: side.mac(),
            ifindex: 1,
            up: true,
        }));
        let engine = Box::new(CpuInline::new());
        match verify(engine, &monotonic, &|_| {}) {
            Ok(verified) => done(worker.engine_admit(EngineId(ENGINE), verified)),
            Err(refused) => panic!("the engine failed its test: {refused:?}"),
        }
        for (id, from, direction) in [(OUTBOUND, side, "out"), (INBOUND, side.other(), "in")] {
            let spec: SaSpec = read(json!({
                "id": id, "team": TEAM, "direction": direction, "spi": from.spi(),
                "src": from.outer(), "dst": from.other().outer(), "mode": "tunnel",
                "algorithm": "aes-gcm-16", "replay_window": 2048, "policy": POLICY,
                "seq": u32::from(direction == "out"),
                "encap": udp.then(|| json!({"sport": 4500, "dport": 4500})),
            }));
            match AeadKey::new(Algorithm::Aes128Gcm16, &from.key()) {
                Ok(key) => done(worker.sa_add(spec, key, from.salt())),
                Err(error) => panic!("the key was refused: {error:?}"),
            }
        }
        done(worker.sa_next_hop(OUTBOUND, Some(side.other().mac())));
        let policy: PolicyWithSas = read(json!({
            "id": POLICY, "name": "all", "action": "protect",
            "local": side.inner(), "remote": side.other().inner(),
            "sas": [{"member": null, "sa": OUTBOUND}],
        }));
        done(worker.policies(TEAM, vec![policy]));
        let plan: Plan = read(json!({
            "epoch": 1, "team": TEAM, "latch": 0, "mode": "active-backup",
            "members": [{"id": MEMBER, "carry": true, "accept": true}],
            "transmit": [MEMBER], "receiver": MEMBER, "takeover": [], "mac": "team",
            "grants": {
                "engines": [{
                    "engine": ENGINE, "member": MEMBER, "seal": true, "open": true,
                    "primary": 0, "secondary": 0, "application": null,
                    "bias_ns": 0, "bias_load": 0.0, "limit_ns": null,
                }],
                "spill_ns": [20_000_000, 20_000_000, 20_000_000],
            },
        }));
        done(worker.publish(plan));
        Self {
            worker,
            io: Shelves::default(),
            buffers,
        }
    }

    /// Lays frames where the host's would come from.
    pub fn put_host_frames(&mut self, batch: &Batch) {
        self.io.tap.ready.extend(batch.frames(&self.buffers));
    }

    /// Lays frames where the wire's would come from.
    pub fn put_wire_frames(&mut self, frames: &[(VnetHdr, Vec<u8>)]) {
        let received = frames
            .iter()
            .filter_map(|(vnet, bytes)| frame(&self.buffers, *vnet, bytes));
        self.io.member.ready.extend(received);
    }

    /// Works until nothing is left to do.
    pub fn turn(&mut self) {
        while self.worker.step(monotonic(), &mut self.io).busy {}
    }

    /// What was sent to the wire.
    pub fn take_wire_frames(&mut self) -> Vec<(VnetHdr, Vec<u8>)> {
        self.io
            .member
            .sent
            .drain(..)
            .map(|frame| (frame.vnet, frame.to_vec()))
            .collect()
    }

    /// Bytes that were given to the host in frames with `headers` bytes before their payload.
    pub fn take_host_payload(&mut self, headers: usize) -> usize {
        self.io
            .tap
            .sent
            .drain(..)
            .map(|frame| frame.len() - headers)
            .sum()
    }
}

fn done(answer: Answer) {
    if let Answer::Refused(reason) = answer {
        panic!("the worker refused: {reason}");
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    match serde_json::from_value(value) {
        Ok(value) => value,
        Err(error) => panic!("the bench's own configuration: {error}"),
    }
}
