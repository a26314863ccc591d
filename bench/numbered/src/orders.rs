//! Orders, a line each, from standard input; its end ends the program.

use std::{
    io::{self, Read, Write, stdout},
    os::fd::{AsRawFd, RawFd},
};

/// What standard input has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Order {
    Line(String),
    End,
}

#[derive(Default)]
pub struct Orders {
    pending: Vec<u8>,
}

impl Orders {
    /// The next order, if there is one: never waits.
    pub fn next(&mut self) -> io::Result<Option<Order>> {
        loop {
            if let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                let line = self.pending.drain(..=end).collect::<Vec<_>>();
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                return Ok(Some(Order::Line(line)));
            }
            if wait(&[io::stdin().as_raw_fd()], 0)?.is_empty() {
                return Ok(None);
            }
            // As long as what the standard library buffers, so that nothing waits there unseen.
            let mut bytes = [0; 8192];
            let len = io::stdin().lock().read(&mut bytes)?;
            if len == 0 {
                return Ok(Some(Order::End));
            }
            self.pending.extend_from_slice(&bytes[..len]);
        }
    }
}

/// Waits until a descriptor can be read, for at most so many milliseconds; -1 waits for ever.
pub fn wait(descriptors: &[RawFd], milliseconds: i32) -> io::Result<Vec<RawFd>> {
    let mut polls: Vec<libc::pollfd> = descriptors
        .iter()
        .map(|&fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    // SAFETY: `polls` is writable memory of the stated number of entries.
    let ready = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as u64, milliseconds) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted {
            return Ok(Vec::new());
        }
        return Err(error);
    }
    let heard = polls.iter().filter(|poll| poll.revents != 0);
    Ok(heard.map(|poll| poll.fd).collect())
}

/// Writes a line for whoever gave the order.
pub fn say(value: &serde_json::Value) -> io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}
