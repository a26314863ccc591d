//! What the live trials send, receive and hear.
//!
//! ```text
//! numbered send ADDRESS:PORT key=value...   packets at a constant rate
//! numbered receive PORT                     accounts for each of them
//! numbered echo PORT                        sends back what comes
//! numbered ping ADDRESS:PORT key=value...   round trips, one at a time
//! numbered links                            when the kernel said that a link rose or fell
//! ```
//!
//! Each runs in the namespace in which it was started, reads orders from its standard input, ends
//! with it, and writes JSON, one object a line. Times are nanoseconds of CLOCK_MONOTONIC, which is
//! the same in every namespace.

mod ledger;
mod links;
mod options;
mod orders;
mod packet;
mod ping;
mod receive;
mod send;
mod socket;

use std::{env, io, process::ExitCode};

use crate::options::Options;

const USAGE: &str =
    "usage: numbered send ADDRESS:PORT [rate= size= gso= flows= tick-us= seconds= needle=]
       numbered receive PORT [take=FILE]
       numbered echo PORT
       numbered ping ADDRESS:PORT [every-us=]
       numbered links";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match obey(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            eprintln!("numbered: {error}\n{USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("numbered: {error}");
            ExitCode::FAILURE
        }
    }
}

fn obey(arguments: &[String]) -> io::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["send", to, rest @ ..] => send::send(options::address(to)?, &Options::read(rest)?),
        ["receive", port, rest @ ..] => {
            receive::receive(options::port(port)?, &Options::read(rest)?)
        }
        ["echo", port] => ping::echo(options::port(port)?),
        ["ping", to, rest @ ..] => ping::ping(options::address(to)?, &Options::read(rest)?),
        ["links"] => links::watch(),
        _ => Err(options::wrong("which of the five?")),
    }
}
