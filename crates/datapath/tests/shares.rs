//! SAs share an engine that has more work than it can do by their weights, in both directions.

mod lab;

use esprit_crypto::engines::asic_model::AsicSpec;
use esprit_ipsec::sad::Mode;
use esprit_packet::{Time, VnetHdr};
use lab::{Host, udp};

/// Frames of 1 KB that each SA gets in a turn of 1 ms, three times what the engine does of them.
const EACH: usize = 180;
const TURNS: usize = 60;
const PAYLOAD: [u8; 1000] = [0; 1000];

/// A host with SAs to hosts 1 and 3, of weights 3 and 1, and an engine of 1 Gbit/s.
fn busy() -> Host {
    let slow = AsicSpec {
        rate_bps: 1_000_000_000,
        ..AsicSpec::default()
    };
    Host::new(2, 1)
        .with_device(&slow)
        .active()
        .protect_each(2, &[(1, 3), (3, 1)])
}

/// Gives the host both its work in every turn; how many packets of the two SAs its engine did.
fn served(mut host: Host, (heavy, light): (u32, u32), mut more: impl FnMut(&mut Host)) -> f64 {
    let done = |host: &Host| {
        let snapshot = host.worker.snapshot(host.now);
        [heavy, light].map(|sa| snapshot.sas[&sa].traffic.packets)
    };
    let mut before = [0; 2];
    for turn in 0..TURNS {
        more(&mut host);
        let end = host.now + Time::from_millis(1);
        while host.now < end {
            host.settle();
            host.now = host.now + Time::from_micros(20);
        }
        if turn == TURNS / 3 {
            // From here on the queue is full.
            before = done(&host);
        }
    }
    let full = host.drops().get("engine-full").copied();
    assert!(full.is_some_and(|drops| drops > 1000), "it was never full");
    let [heavy, light] = [0, 1].map(|of| done(&host)[of] - before[of]);
    assert!(light > 500, "{heavy} and {light}");
    heavy as f64 / light as f64
}

#[test]
fn outbound_sas_share_a_full_engine_by_weight() {
    let ratio = served(busy(), (1, 3), |host| {
        for _ in 0..EACH {
            for peer in [3, 1] {
                let frame = udp(2, peer, &PAYLOAD);
                host.tap().rx.push_back((VnetHdr::default(), frame));
            }
        }
    });
    assert!((2.7..3.3).contains(&ratio), "{ratio}");
}

#[test]
fn inbound_sas_share_a_full_engine_by_weight() {
    let mut senders = [3, 1].map(|number| {
        let host = Host::new(number, 1).with_cpu().active();
        (number, host.protect(number, 2, Mode::Tunnel, false))
    });
    let ratio = served(busy(), (2, 4), |host| {
        for _ in 0..EACH {
            for (number, sender) in &mut senders {
                sender.send(VnetHdr::default(), udp(*number, 2, &PAYLOAD));
                host.member(1).rx.extend(sender.member(1).tx.drain(..));
            }
        }
    });
    assert!((2.7..3.3).contains(&ratio), "{ratio}");
}
