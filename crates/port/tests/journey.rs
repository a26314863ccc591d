//! Two hosts, each behind a TAP, joined by two ports on a veth pair: what their stacks say to each
//! other passes four ports as it is, super-frames whole.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use common::*;
use esprit_packet::vnet_hdr::{GSO_TCPV4, GSO_UDP_L4};
use esprit_packet::{Pool, Time, TxFrame};
use esprit_port::{Port, PortCounters, Tap, TapOptions, Waiter};

const FAR: &str = "10.3.3.2:7";
const GIVE_UP: Duration = Duration::from_secs(20);

/// The kinds of super-frames that each of the four ports received.
#[derive(Debug, Default)]
struct Seen {
    tcp: [u64; 4],
    udp: [u64; 4],
}

/// Passes frames between the first two ports and between the last two, until it is told to stop.
fn relay(mut ports: [Box<dyn Port>; 4], stop: &AtomicBool) -> Seen {
    const PEER: [usize; 4] = [1, 0, 3, 2];
    let pool = Pool::new(1024, 256);
    let mut seen = Seen::default();
    let mut stats = PortCounters::default();
    let mut waiter = Waiter::new();
    while !stop.load(Ordering::Acquire) {
        let mut moved = 0;
        for at in 0..ports.len() {
            let mut frames = Vec::new();
            moved += ports[at].recv(&pool, &mut frames, 32).unwrap();
            for frame in &frames {
                seen.tcp[at] += u64::from(frame.vnet.gso_kind() == GSO_TCPV4);
                seen.udp[at] += u64::from(frame.vnet.gso_kind() == GSO_UDP_L4);
            }
            let mut frames = frames.into_iter().map(TxFrame::pass).collect();
            ports[PEER[at]].send(&mut frames, &mut stats).unwrap();
        }
        if moved == 0 {
            waiter.clear();
            ports.iter().for_each(|port| waiter.extend(port.fd()));
            waiter.wait(Some(Time::from_millis(50)));
        }
    }
    assert_eq!(stats.tx_dropped, 0, "{stats:?}");
    seen
}

fn host(name: &str, address: &str) -> Tap {
    let tap = Tap::create(name, TapOptions::default()).unwrap();
    quiet(name);
    ip(&format!("link set {name} up"));
    ip(&format!("addr add {address}/24 dev {name}"));
    tap
}

/// Makes both hosts, runs `near` in the first and `far` in the second, and tells what the ports saw
/// on the way from the near host to the far one and back.
fn between<T: Send + 'static>(
    far: impl FnOnce(&dyn Fn()) -> T + Send + 'static,
    near: impl FnOnce(),
) -> (T, Seen, Vec<&'static str>) {
    let tap = host("t0", "10.3.3.1");
    let offloads = tap.offloads();
    veth("a0", "b0");
    // Both ends stand in the near host: it is not to answer on the wire for itself.
    ip("link set a0 arp off");
    ip("link set b0 arp off");
    let (a, b) = (open("a0"), open("b0"));
    let (give_tap, take_tap) = channel();
    let (say_ready, ready) = channel();
    let far: JoinHandle<T> = std::thread::spawn(move || {
        // SAFETY: only this thread changes its namespace, and no memory is involved.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        give_tap.send(host("t1", "10.3.3.2")).unwrap();
        far(&|| say_ready.send(()).unwrap())
    });
    let far_tap = take_tap.recv().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&stop);
    let ports: [Box<dyn Port>; 4] = [Box::new(tap), Box::new(a), Box::new(b), Box::new(far_tap)];
    let relaying = std::thread::spawn(move || relay(ports, &until));
    ready.recv().unwrap();
    near();
    let heard = far.join();
    stop.store(true, Ordering::Release);
    (heard.unwrap(), relaying.join().unwrap(), offloads)
}

fn pattern(seed: u64) -> Vec<u8> {
    (0..4_000_000_u64)
        .map(|n| (n.wrapping_mul(n + seed) >> 7) as u8)
        .collect()
}

#[test]
fn tcp_passes_in_super_frames_and_unharmed() {
    in_namespace(|| {
        let (heard, seen, _) = between(
            |ready| {
                let listener = TcpListener::bind(FAR).unwrap();
                ready();
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(GIVE_UP)).unwrap();
                let mut heard = vec![0; pattern(1).len()];
                stream.read_exact(&mut heard).unwrap();
                stream.write_all(&pattern(2)).unwrap();
                heard
            },
            || {
                let mut stream = TcpStream::connect(FAR).unwrap();
                stream.set_read_timeout(Some(GIVE_UP)).unwrap();
                stream.write_all(&pattern(1)).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                assert!(answer == pattern(2));
            },
        );
        assert!(heard == pattern(1));
        // There by the first host's TAP and the far end of the wire, back by the other two.
        assert!(seen.tcp.iter().all(|&frames| frames > 0), "{seen:?}");
    });
}

#[test]
fn udp_datagrams_of_one_send_pass_as_one_frame() {
    in_namespace(|| {
        let segment: libc::c_int = 1000;
        let (heard, seen, offloads) = between(
            |ready| {
                let socket = UdpSocket::bind(FAR).unwrap();
                socket.set_read_timeout(Some(GIVE_UP)).unwrap();
                ready();
                let mut datagrams = Vec::new();
                while datagrams.len() < 10 {
                    let mut datagram = [0; 2000];
                    let len = socket.recv(&mut datagram).unwrap();
                    datagrams.push(datagram[..len].to_vec());
                }
                datagrams
            },
            || {
                let socket = UdpSocket::bind("10.3.3.1:0").unwrap();
                // SAFETY: the option reads one int, which `segment` is.
                let result = unsafe {
                    libc::setsockopt(
                        socket.as_raw_fd(),
                        libc::SOL_UDP,
                        libc::UDP_SEGMENT,
                        (&raw const segment).cast(),
                        size_of::<libc::c_int>() as _,
                    )
                };
                assert_eq!(result, 0);
                socket.send_to(&pattern(3)[..9_500], FAR).unwrap();
            },
        );
        let sent = pattern(3);
        let expected: Vec<Vec<u8>> = sent[..9_500].chunks(1000).map(<[u8]>::to_vec).collect();
        assert!(heard == expected);
        if offloads.contains(&"uso4") {
            assert_eq!((seen.udp[0], seen.udp[2]), (1, 1), "{seen:?}");
        } else {
            eprintln!("not checked: this kernel's TAP has no USO");
        }
    });
}
