//! Applications' tasks whose engines are all out of use, in virtual time.

mod lab;

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_crypto::{
    AeadKey, Algorithm, Direction, EngineId, Fault, Grant, Grants, Health, JobInput,
};
use esprit_datapath::application::{Outcome, Reply, Returned, Room, Task};
use esprit_packet::{Pool as Buffers, Time};
use lab::Host;

struct Application {
    host: Host,
    buffers: Buffers,
    to: Sender<Returned>,
    from: Receiver<Returned>,
}

impl Application {
    fn new() -> Self {
        let mut host = Host::new(1, 1).with_device(&AsicSpec::default());
        host.worker.applications(Grants {
            engines: vec![Grant {
                seal: true,
                application: Some(0),
                ..Grant::none(1)
            }],
            spill_ns: [20_000_000; 3],
            verify_every: 0,
        });
        let (to, from) = unbounded();
        let buffers = Buffers::new(64, 8);
        Self {
            host,
            buffers,
            to,
            from,
        }
    }

    fn ask(&mut self, direction: Direction) {
        let mut frame = self.buffers.get(100).unwrap();
        frame.append(&[7; 100]);
        let message = ([1; 12], vec![7; 100]);
        let task = Task {
            key: AeadKey::new(Algorithm::Aes128Gcm16, &[1; 16]).unwrap(),
            direction,
            input: Arc::new(JobInput::of_messages(frame, direction, vec![message])),
            reply: Reply::new(0, self.to.clone(), None, Room::new(1).take()),
        };
        self.host.worker.application(vec![task]);
        self.host.settle();
    }

    /// Lets a span pass, in steps no longer than the worker asks for.
    fn pass(&mut self, span: Time) {
        let end = self.host.now + span;
        while self.host.now < end {
            let next = self
                .host
                .worker
                .step(self.host.now, &mut self.host.wires)
                .next;
            let next = next.unwrap_or(end).max(self.host.now + Time(1000));
            self.host.now = next.min(end);
        }
    }
}

#[test]
fn a_task_of_a_lost_engine_waits_for_ten_seconds_and_no_longer() {
    let mut lab = Application::new();
    lab.host.worker.engine_fault(EngineId(1), Fault::Die);
    // The one shows that it is hung, the other comes after that.
    lab.ask(Direction::Seal);
    lab.pass(Time::from_millis(100));
    assert_eq!(
        lab.host.worker.snapshot(lab.host.now).engines[&1].health,
        Health::Hung
    );
    lab.ask(Direction::Seal);
    lab.pass(Time::from_millis(9_800));
    assert!(lab.from.is_empty(), "given up too soon");
    lab.pass(Time::from_millis(300));
    let ends: Vec<Outcome> = lab.from.try_iter().map(|back| back.outcome).collect();
    assert!(
        matches!(ends[..], [Outcome::Lost, Outcome::Lost]),
        "{ends:?}"
    );

    // What it may not do, or is not to come back for, is not waited for.
    lab.ask(Direction::Open);
    assert!(matches!(
        lab.from.try_recv().unwrap().outcome,
        Outcome::NoEngine
    ));
    lab.host.worker.applications(Grants::default());
    lab.ask(Direction::Seal);
    assert!(matches!(
        lab.from.try_recv().unwrap().outcome,
        Outcome::NoEngine
    ));
}
