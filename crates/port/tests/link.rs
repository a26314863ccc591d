//! Link state against the kernel.

mod common;

use common::*;
use esprit_packet::Time;
use esprit_port::{LinkEvent, LinkMonitor, LinkProber, Port, Tap, TapOptions, device, link};

#[test]
fn a_pulled_link_is_heard_at_both_ends_and_a_deleted_one_too() {
    in_namespace(|| {
        veth("a0", "b0");
        let (a, b) = (
            device::ifindex("a0").unwrap(),
            device::ifindex("b0").unwrap(),
        );
        let mut monitor = LinkMonitor::open().unwrap();
        // Both are told at the start, changed or not.
        wait_link(&mut monitor, |event| event.ifindex == a && event.up);
        device::set_up("b0", false).unwrap();
        wait_link(&mut monitor, |event| {
            event.ifindex == a && !event.up && !event.deleted
        });
        assert!(!link::query(a).unwrap().up);
        device::set_up("b0", true).unwrap();
        wait_link(&mut monitor, |event| event.ifindex == a && event.up);
        ip("link del a0");
        wait_link(&mut monitor, |event| {
            event.ifindex == b && event.deleted && !event.up
        });
        assert_eq!(
            link::query(a).unwrap_err().raw_os_error(),
            Some(libc::ENODEV)
        );
    });
}

#[test]
fn what_is_new_is_heard_and_leaving_a_bridge_is_not_an_end() {
    in_namespace(|| {
        let mut monitor = LinkMonitor::open().unwrap();
        wait_link(&mut monitor, |event| event.ifindex == 1);
        veth("a0", "b0");
        let a = device::ifindex("a0").unwrap();
        wait_link(&mut monitor, |event| event.ifindex == a && event.up);
        // Without bridges in the kernel there is nothing to leave.
        let bridge = std::process::Command::new("ip")
            .args(["link", "add", "br0", "type", "bridge"])
            .output()
            .unwrap();
        if bridge.status.success() {
            ip("link set a0 master br0");
            ip("link set a0 nomaster");
        } else {
            eprintln!(
                "not run: bridge ({})",
                String::from_utf8_lossy(&bridge.stderr).trim()
            );
        }
        device::set_up("b0", false).unwrap();
        wait_link(&mut monitor, |event| {
            assert!(event.ifindex != a || !event.deleted, "a0 is still there");
            event.ifindex == a && !event.up
        });
    });
}

#[test]
fn after_lost_notifications_the_state_is_known_all_the_same() {
    in_namespace(|| {
        veth("a0", "b0");
        veth("c0", "d0");
        let [a, c] = ["a0", "c0"].map(|name| device::ifindex(name).unwrap());
        // Room for one notification or two.
        let mut monitor = LinkMonitor::with_buffer(1).unwrap();
        wait_link(&mut monitor, |event| event.ifindex == c && event.up);
        for _ in 0..50 {
            device::set_up("b0", false).unwrap();
            device::set_up("b0", true).unwrap();
        }
        device::set_up("b0", false).unwrap();
        ip("link del c0");
        let mut latest = std::collections::BTreeMap::new();
        wait_link(&mut monitor, |event| {
            latest.insert(event.ifindex, *event);
            let down = latest.get(&a).is_some_and(|event| !event.up);
            let deleted = latest.get(&c).is_some_and(|event| event.deleted);
            down && deleted
        });
        assert!(monitor.overflows() > 0);
        let mut more = Vec::<LinkEvent>::new();
        monitor.poll(&mut more);
        assert!(
            more.iter().all(|event| event.ifindex != a || !event.up),
            "{more:?}"
        );
    });
}

#[test]
fn a_carrier_that_falls_is_heard_without_the_kernels_delay() {
    in_namespace(|| {
        let tap = Tap::create("t0", TapOptions::default()).unwrap();
        quiet("t0");
        ip("link set t0 up");
        let mut monitor = LinkMonitor::open().unwrap();
        let prober = LinkProber::start(Time::from_millis(1), || {}).unwrap();
        prober.watch(tap.ifindex());
        prober.watch(9999);
        wait_link(&mut monitor, |event| {
            event.ifindex == tap.ifindex() && event.up
        });
        // The kernel alone tells of one fall per second: these take 20 s without the prober, more
        // than `wait_link` waits for them together.
        let start = std::time::Instant::now();
        for _ in 0..20 {
            set_carrier(&tap, false);
            wait_link(&mut monitor, |event| {
                event.ifindex == tap.ifindex() && !event.up
            });
            set_carrier(&tap, true);
            wait_link(&mut monitor, |event| {
                event.ifindex == tap.ifindex() && event.up
            });
        }
        assert!(start.elapsed().as_nanos() < u128::from(PATIENCE.0));
        // Not watched any more, its fall is the kernel's to tell.
        prober.unwatch(tap.ifindex());
        set_carrier(&tap, false);
        wait_link(&mut monitor, |event| {
            event.ifindex == tap.ifindex() && !event.up
        });
    });
}

/// Pulls the cable of a TAP, or puts it back: the way of a driver, not that of `ip link set down`.
fn set_carrier(tap: &Tap, on: bool) {
    /// TUNSETCARRIER, _IOW('T', 226, int) (linux/if_tun.h).
    const TUNSETCARRIER: libc::c_ulong = 0x4004_54e2;
    let value = libc::c_int::from(on);
    // SAFETY: the request reads one int, which `value` is.
    let result = unsafe { libc::ioctl(tap.fd().unwrap(), TUNSETCARRIER as _, &raw const value) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
