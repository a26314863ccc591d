//! Round trips, one at a time.
//!
//! Orders to `ping`: `take` answers the round trips since the last one, in nanoseconds, and how
//! many were never answered.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::Duration,
};

use serde_json::json;

use crate::{
    options::Options,
    orders::{Order, Orders, say},
    packet::{HEADER, Numbered, monotonic, sleep_until},
    socket::connect,
};

/// After this an answer counts as lost.
const PATIENCE: Duration = Duration::from_millis(200);
/// How soon the end of the orders is heard by who waits for packets.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Sends back what comes, until standard input ends.
pub fn echo(port: u16) -> io::Result<()> {
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    socket.set_read_timeout(Some(LOOK_UP))?;
    say(&json!({"report": "ready"}))?;
    let mut orders = Orders::default();
    let mut payload = [0; 2048];
    while orders.next()? != Some(Order::End) {
        if let Ok((len, from)) = socket.recv_from(&mut payload) {
            // What has no way back at this moment is lost, like any packet.
            let _ = socket.send_to(&payload[..len], from);
        }
    }
    Ok(())
}

/// Measures until standard input ends.
pub fn ping(to: SocketAddrV4, options: &Options) -> io::Result<()> {
    let every = options.number("every-us", 1000_u64)? * 1000;
    let socket = connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut orders = Orders::default();
    let mut trips = Vec::new();
    let (mut lost, mut number) = (0, 0);
    loop {
        match orders.next()? {
            Some(Order::End) => return Ok(()),
            Some(Order::Line(_)) => {
                say(&json!({"trips": trips, "lost": lost}))?;
                trips.clear();
                lost = 0;
            }
            None => {}
        }
        let sent = monotonic();
        let mut payload = [0; HEADER];
        let ours = Numbered {
            stream: 0,
            number,
            sent,
        };
        ours.write(&mut payload);
        number += 1;
        if socket.send(&payload).is_err() || !answered(&socket, ours) {
            lost += 1;
        } else {
            trips.push(monotonic() - sent);
        }
        sleep_until(sent + every);
    }
}

/// Waits for the answer to one packet; late ones to earlier packets are passed over.
fn answered(socket: &UdpSocket, ours: Numbered) -> bool {
    let mut payload = [0; 2048];
    while let Ok(len) = socket.recv(&mut payload) {
        if Numbered::read(&payload[..len]) == Some(ours) {
            return true;
        }
    }
    false
}
