//! Network namespaces for tests: each test runs in a thread with a namespace of its own, which
//! ends with the thread, devices and all.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::process::{Command, Output};

use esprit_packet::{RxFrame, Time, TxFrame};
use esprit_port::{LinkEvent, LinkMonitor, PacketOptions, PacketPort, Port, Waiter, device, link};

/// Time enough for what happens at once, on whatever host; only a failing test waits for it.
pub const PATIENCE: Time = Time::from_millis(10_000);

/// Runs `test` in a thread with an empty network namespace. Where this process may not make one
/// (root is needed, and /dev/net/tun), it says so on standard error and the test passes unrun.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: only this thread changes its namespace, and no memory is involved.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
            let error = std::io::Error::last_os_error();
            return not_run(&format!("a network namespace needs root ({error})"));
        }
        if let Err(error) = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
        {
            return not_run(&format!("/dev/net/tun is missing ({error})"));
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Says what is missing; where nothing may be (ESPRIT_CI), that is a failure.
fn not_run(reason: &str) {
    assert!(std::env::var_os("ESPRIT_CI").is_none(), "{reason}");
    eprintln!("not run: {reason}");
}

/// Runs `ip` in the calling thread's namespace.
pub fn ip(arguments: &str) {
    run("ip", arguments);
}

/// Runs a program in the calling thread's namespace; it must succeed.
pub fn run(program: &str, arguments: &str) {
    let Output { status, stderr, .. } = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{program} {arguments}: {text}");
}

/// Makes a veth pair and sets both ends up, without IPv6, so that only the test sends.
pub fn veth(a: &str, b: &str) {
    ip(&format!("link add {a} type veth peer name {b}"));
    for name in [a, b] {
        quiet(name);
        ip(&format!("link set {name} up"));
    }
    for name in [a, b] {
        settle(name);
    }
}

/// Sets one end of a veth pair up, so that both are ready to carry.
pub fn up(name: &str, peer: &str) {
    device::set_up(name, true).unwrap();
    settle(name);
    settle(peer);
}

/// The carrier is there at once, but a frame sent before the kernel's link watch ran is lost; to be
/// asked makes it run.
fn settle(name: &str) {
    assert!(
        link::query(device::ifindex(name).unwrap()).unwrap().up,
        "{name} is not up"
    );
}

/// No IPv6 on an interface: it would send of its own accord.
pub fn quiet(name: &str) {
    ip(&format!("link set {name} addrgenmode none"));
}

/// A port with default options.
pub fn open(name: &str) -> PacketPort {
    PacketPort::open(device::ifindex(name).unwrap(), PacketOptions::default()).unwrap()
}

/// Waits until a port has something or `PATIENCE` is over.
pub fn wait_readable(port: &dyn Port) -> bool {
    let mut waiter = Waiter::new();
    waiter.add(port.fd().unwrap(), false);
    waiter.wait(Some(PATIENCE))
}

/// Receives until there are `count` frames.
pub fn receive(port: &mut dyn Port, pool: &esprit_packet::Pool, count: usize) -> Vec<RxFrame> {
    let mut frames = Vec::new();
    while frames.len() < count {
        if port.recv(pool, &mut frames, count).unwrap() == 0 {
            assert!(
                wait_readable(port),
                "{} of {count} frames came",
                frames.len()
            );
        }
    }
    frames
}

/// Waits for what `found` looks for among the monitor's events.
pub fn wait_link(monitor: &mut LinkMonitor, mut found: impl FnMut(&LinkEvent) -> bool) {
    let mut waiter = Waiter::new();
    loop {
        let mut events = Vec::new();
        monitor.poll(&mut events);
        if events.iter().any(&mut found) {
            return;
        }
        waiter.clear();
        waiter.add(monitor.fd(), false);
        assert!(waiter.wait(Some(PATIENCE)), "no such link event came");
    }
}

/// A frame whose bytes all stand in its head.
pub fn frame(bytes: &[u8]) -> TxFrame {
    TxFrame {
        head: bytes.iter().copied().collect(),
        ..TxFrame::default()
    }
}

/// Destination and source address of frames that only the tests' ports look at.
pub const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8];

/// A frame of an EtherType of our own (IEEE 802, local experimental 1), with tags in front of it.
pub fn experimental(tags: &[u8], payload: &[u8]) -> Vec<u8> {
    [&ADDRESSES, tags, &[0x88, 0xb5], payload].concat()
}

/// A TCP super-frame over IPv4 with an unfinished checksum, `tags` in front of the packet.
pub fn super_frame(tags: &[u8], payload: usize, gso_size: u16) -> TxFrame {
    use esprit_packet::vnet_hdr::{GSO_TCPV4, NEEDS_CSUM};
    let mut bytes = [&ADDRESSES, tags, &[0x08, 0x00]].concat();
    let ip = bytes.len();
    bytes.resize(ip + 40 + payload, 0x5a);
    let total = (40 + payload) as u16;
    let header = &mut bytes[ip..ip + 40];
    header.fill(0);
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[8..10].copy_from_slice(&[64, 6]);
    header[12..20].copy_from_slice(&[10, 9, 9, 1, 10, 9, 9, 2]);
    let sum: u32 = header[..20]
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header[32] = 5 << 4;
    header[33] = 0x10;
    let mut frame = frame(&bytes);
    frame.vnet = esprit_packet::VnetHdr {
        flags: NEEDS_CSUM,
        gso_type: GSO_TCPV4,
        hdr_len: (ip + 40) as u16,
        gso_size,
        csum_start: (ip + 20) as u16,
        csum_offset: 16,
    };
    frame
}

/// Sends frames; all must be taken.
pub fn send(port: &mut dyn Port, frames: impl IntoIterator<Item = TxFrame>) {
    let mut frames = frames.into_iter().collect();
    let mut stats = esprit_port::PortCounters::default();
    port.send(&mut frames, &mut stats).unwrap();
    assert!(frames.is_empty(), "{} frames stayed", frames.len());
    assert_eq!(stats.tx_dropped, 0, "{stats:?}");
}
