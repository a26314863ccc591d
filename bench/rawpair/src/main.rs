//! The yardstick of the throughput bench: frames passed on as they come.
//!
//! `rawpair pair TAP WIRE` joins a new TAP device to an existing interface, `rawpair relay TAP TAP
//! NETNS` joins two new TAP devices, the second one in another network namespace. Every frame
//! keeps its virtio-net header, so super-frames stay whole. Nothing is looked at, cut, checked or
//! encrypted: a pair of these has the hops, the system calls and the copies that any pair of
//! gateways must have, and its throughput is what a gateway's throughput is quoted against.
//!
//! `rawpair cipher TAP WIRE` is a pair that also sums and encrypts every payload, with the cipher that
//! the gateways use on this processor, and does nothing else ([`work::Bare`]).
//!
//! One thread, one `poll`, batches of [`pump::BATCH`] frames. It ends with SIGTERM or SIGINT.

mod pump;
mod tap;
mod wire;
mod work;

use std::{env, fs::File, io, os::fd::AsRawFd, process::ExitCode};

use crate::{
    pump::pump,
    tap::Tap,
    wire::Wire,
    work::{Bare, Nothing, Work},
};

const USAGE: &str = "usage: rawpair pair TAP WIRE\n       rawpair cipher TAP WIRE\n       rawpair relay TAP TAP NETNS-OF-THE-SECOND";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["pair", tap, wire] => pair(tap, wire, Nothing),
        ["cipher", tap, wire] => pair(tap, wire, Bare::new()),
        ["relay", first, second, netns] => relay(first, second, netns),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rawpair: {error}");
            ExitCode::FAILURE
        }
    }
}

fn pair(tap: &str, wire: &str, work: impl Work) -> io::Result<()> {
    let tap = Tap::create(tap)?;
    let wire = Wire::open(wire)?;
    pump(tap, wire, work)
}

fn relay(first: &str, second: &str, netns: &str) -> io::Result<()> {
    let first = Tap::create(first)?;
    let netns = File::open(netns)?;
    // SAFETY: setns takes a descriptor, which `netns` keeps open, and no memory of ours. This
    // process has a single thread, so no other one is left behind in the old namespace.
    if unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let second = Tap::create(second)?;
    pump(first, second, Nothing)
}
