//! Faults of every kind in any order: each packet has exactly one fate, none comes twice or out
//! of order, and the wire shows no plaintext.

mod lab;

use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::{EngineId, Fault};
use esprit_datapath::plan::SourceMac;
use esprit_ipsec::sad::Mode;
use esprit_packet::{Time, VnetHdr};
use esprit_port::LinkEvent;
use lab::{Host, contains, udp};
use proptest::prelude::*;

const CANARY: &[u8] = b"not-for-the-wire";
const DEVICES: [u32; 2] = [2, 3];
const MEMBERS: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    /// So many packets in one batch.
    Send(u8),
    /// Time passes, in microseconds.
    Wait(u16),
    /// A simulated engine fails.
    Break(u8, Fault),
    /// It is taken out, made anew, tested and let in again.
    Renew(u8),
    /// A link falls or rises.
    Link(u8, bool),
    /// Python has seen all links and publishes.
    Plan,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fault = prop_oneof![
        Just(Fault::Die),
        Just(Fault::Hang),
        Just(Fault::Late { by: 9_000_000 }),
        Just(Fault::Heal),
    ];
    let step = prop_oneof![
        8 => (1..40_u8).prop_map(Step::Send),
        6 => (1..9000_u16).prop_map(Step::Wait),
        2 => (0..2_u8, fault).prop_map(|(engine, fault)| Step::Break(engine, fault)),
        1 => (0..2_u8).prop_map(Step::Renew),
        2 => (1..=3_u8, any::<bool>()).prop_map(|(member, up)| Step::Link(member, up)),
        2 => Just(Step::Plan),
    ];
    prop::collection::vec(step, 1..60)
}

fn device() -> AsicSpec {
    AsicSpec {
        rate_bps: 400_000_000,
        ..AsicSpec::default()
    }
}

struct Storm {
    left: Host,
    right: Host,
    sent: u32,
    up: [bool; MEMBERS as usize],
}

impl Storm {
    fn new() -> Self {
        let mut left = Host::new(1, MEMBERS).with_cpu();
        for engine in DEVICES {
            left = left.with_device_as(engine, &device());
        }
        let left = left.protect(1, 2, Mode::Tunnel, false);
        let right = Host::new(2, 1)
            .with_cpu()
            .active()
            .protect(2, 1, Mode::Tunnel, false);
        let mut storm = Self {
            left,
            right,
            sent: 0,
            up: [true; MEMBERS as usize],
        };
        storm.plan();
        storm
    }

    /// What active-backup would decide: the first live member carries.
    fn plan(&mut self) {
        let live: Vec<u32> = (1..=MEMBERS)
            .filter(|&member| self.up[member as usize - 1])
            .collect();
        let first = live.first().copied().unwrap_or(1);
        let mut plan = self.left.plan(vec![first], first, SourceMac::Member);
        plan.latch = u64::MAX;
        plan.takeover = live;
        // The devices first, the processor when they are full or gone.
        for engine in DEVICES {
            let mut grant = plan.grants.engines[0].clone();
            grant.engine = engine;
            plan.grants.engines.push(grant);
        }
        plan.grants.engines[0].secondary = Some(1);
        plan.grants.engines[0].primary = None;
        self.left.publish(plan);
    }

    fn obey(&mut self, step: &Step) {
        match *step {
            Step::Send(count) => {
                for _ in 0..count {
                    let mut payload = self.sent.to_be_bytes().to_vec();
                    payload.extend_from_slice(CANARY);
                    payload.resize(20 + self.sent as usize * 37 % 1300, 0);
                    let frame = udp(1, 2, &payload);
                    self.left.tap().rx.push_back((VnetHdr::default(), frame));
                    self.sent += 1;
                }
                self.left.settle();
            }
            Step::Wait(us) => {
                // In slices, as a worker that is woken by its deadlines would.
                for _ in 0..us / 500 + 1 {
                    self.left.now = self.left.now + Time::from_micros(500);
                    self.left.settle();
                }
            }
            Step::Break(engine, fault) => {
                let engine = EngineId(DEVICES[usize::from(engine)]);
                self.left.worker.engine_fault(engine, fault);
            }
            Step::Renew(engine) => {
                let engine = DEVICES[usize::from(engine)];
                let now = self.left.now;
                self.left.worker.engine_remove(now, EngineId(engine));
                self.left.admit_device(engine, &device());
            }
            Step::Link(member, up) => {
                self.up[usize::from(member) - 1] = up;
                self.left.wires.links.push(LinkEvent {
                    ifindex: member.into(),
                    up,
                    deleted: false,
                });
                self.left.settle();
            }
            Step::Plan => self.plan(),
        }
    }

    /// Everything that left, carried over; checked for its order on each link. (Between two
    /// links there is none: one may be slower than the other.)
    fn carry(&mut self) -> Vec<u32> {
        let mut all = Vec::new();
        for member in 1..=MEMBERS {
            for (vnet, mut frame) in std::mem::take(&mut self.left.member(member).tx) {
                assert!(!contains(&frame, CANARY), "plaintext on member {member}");
                // One switch: what any member sends reaches the peer.
                frame[..6].copy_from_slice(&lab::team_mac(2).0);
                self.right.hear(1, vnet, frame);
            }
            let got: Vec<u32> = std::mem::take(&mut self.right.tap().tx)
                .iter()
                .map(|(_, frame)| u32::from_be_bytes(frame[42..46].try_into().unwrap()))
                .collect();
            assert!(
                got.is_sorted_by(|a, b| a < b),
                "out of order on {member}: {got:?}"
            );
            all.extend(got);
        }
        all
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn each_packet_has_one_fate(steps in steps()) {
        let mut storm = Storm::new();
        let mut got = Vec::new();
        for step in &steps {
            storm.obey(step);
            got.extend(storm.carry());
        }
        // All links up, all engines but the processor gone: what was accepted comes out.
        for member in 1..=3 {
            storm.obey(&Step::Link(member, true));
        }
        storm.plan();
        for _ in 0..24 {
            storm.left.now = storm.left.now + Time::from_millis(500);
            storm.left.settle();
            got.extend(storm.carry());
        }
        got.sort_unstable();
        prop_assert!(got.is_sorted_by(|a, b| a < b), "twice: {got:?}");
        let dropped: u64 = storm.left.drops().values().sum();
        let refused: u64 = storm.right.drops().values().sum();
        prop_assert_eq!(refused, 0, "{:?}", storm.right.drops());
        prop_assert_eq!(got.len() as u64 + dropped, u64::from(storm.sent),
            "{:?}", storm.left.drops());
        let snapshot = storm.left.worker.snapshot(storm.left.now);
        prop_assert_eq!(snapshot.sas[&1].in_flight, 0);
    }
}
