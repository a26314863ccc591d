//! Sends numbered packets at a constant rate, paced by time: at every tick, what is due.

use std::{
    io,
    net::{SocketAddrV4, UdpSocket},
};

use serde_json::json;

use crate::{
    options::{Options, wrong},
    orders::{Order, Orders, say},
    packet::{HEADER, Numbered, monotonic, sleep_until},
    socket::{BATCH, connect, send_batch, set},
};

/// A sender that was not let run for longer than this does not send what it owes in one burst that
/// no queue could hold: it forgives the rest, and says how much.
const CATCH_UP_NS: u64 = 5_000_000;

struct Flow {
    socket: UdpSocket,
    next: u64,
}

/// Sends until the time is over or standard input ends.
pub fn send(to: SocketAddrV4, options: &Options) -> io::Result<()> {
    let rate: u64 = options.number("rate", 100_000)?;
    let size: usize = options.number("size", 64)?;
    let gso: usize = options.number("gso", 1)?;
    let flows: usize = options.number("flows", 1)?;
    let tick = options.number("tick-us", 100_u64)? * 1000;
    let seconds: f64 = options.number("seconds", f64::INFINITY)?;
    let needle = options.bytes("needle")?;
    if rate == 0 || flows == 0 || gso == 0 || size < HEADER || tick == 0 {
        return Err(wrong(&format!(
            "a packet has at least {HEADER} bytes; nothing else is zero"
        )));
    }
    precise_timers();
    let mut senders = Vec::new();
    for _ in 0..flows {
        let socket = connect(to)?;
        if gso > 1 {
            set(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, size as i32)?;
        }
        senders.push(Flow { socket, next: 0 });
    }
    let mut filling = vec![0; size];
    for (at, byte) in filling[HEADER..].iter_mut().enumerate() {
        *byte = needle.get(at % needle.len().max(1)).copied().unwrap_or(0);
    }
    let mut payloads = vec![filling.repeat(gso); BATCH];

    let mut orders = Orders::default();
    let start = monotonic();
    let (mut sent, mut refused, mut forgiven, mut turn) = (0_u64, 0_u64, 0_u64, 0_usize);
    let mut owed_since = start;
    // Packets sent or given up since `owed_since`.
    let mut done = 0;
    let mut wake = start;
    loop {
        let now = monotonic();
        if (now - start) as f64 >= seconds * 1e9 || orders.next()? == Some(Order::End) {
            break;
        }
        let mut due = due_packets(now - owed_since, rate);
        if due.saturating_sub(done) > due_packets(CATCH_UP_NS, rate).max(gso as u64) {
            forgiven += due - done;
            (owed_since, done, due) = (now, 0, 0);
        }
        while due - done >= gso as u64 {
            let messages = ((due - done) as usize / gso).min(BATCH);
            let flow = &mut senders[turn];
            let mut number = flow.next;
            let at = monotonic();
            for payload in &mut payloads[..messages] {
                for packet in payload.chunks_mut(size) {
                    Numbered {
                        stream: turn as u32,
                        number,
                        sent: at,
                    }
                    .write(packet);
                    number += 1;
                }
            }
            // No room, or for the moment no way there: those numbers are sent later.
            let took = send_batch(&flow.socket, &mut payloads[..messages]).unwrap_or(0);
            refused += ((messages - took) * gso) as u64;
            flow.next += (took * gso) as u64;
            sent += (took * gso) as u64;
            done += (messages * gso) as u64;
            turn = (turn + 1) % flows;
        }
        wake = (wake + tick).max(monotonic());
        sleep_until(wake);
    }
    let span = monotonic() - start;
    say(&json!({
        "sent": sent,
        "streams": senders.iter().map(|flow| flow.next).collect::<Vec<_>>(),
        "refused": refused,
        "forgiven": forgiven,
        "seconds": span as f64 / 1e9,
        "rate": sent as f64 * 1e9 / span.max(1) as f64,
    }))
}

/// How many packets a span of time is worth.
fn due_packets(span: u64, rate: u64) -> u64 {
    (u128::from(span) * u128::from(rate) / 1_000_000_000) as u64
}

/// Timers of this process expire when they should, not up to 50 microseconds later.
fn precise_timers() {
    // SAFETY: prctl with this option takes integers only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_worth_its_rate() {
        assert_eq!(due_packets(1_000_000_000, 100_000), 100_000);
        assert_eq!(due_packets(9_999, 100_000), 0);
        assert_eq!(due_packets(10_000, 100_000), 1);
        assert_eq!(due_packets(u64::MAX, 1), 18_446_744_073);
    }
}
