//! A numbered packet: which stream, which number, and when it was sent.

use std::time::Duration;

/// Stream, number and time, each in network order.
pub const HEADER: usize = 4 + 8 + 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    pub stream: u32,
    pub number: u64,
    pub sent: u64,
}

impl Numbered {
    /// Writes it over the first bytes of a payload, which has at least [`HEADER`].
    pub fn write(self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.stream.to_be_bytes());
        payload[4..12].copy_from_slice(&self.number.to_be_bytes());
        payload[12..HEADER].copy_from_slice(&self.sent.to_be_bytes());
    }

    /// What a payload says; nothing where it is too short for one of ours.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (stream, rest) = payload.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        Some(Self {
            stream: u32::from_be_bytes(*stream),
            number: u64::from_be_bytes(*number),
            sent: u64::from_be_bytes(*sent),
        })
    }
}

fn read_clock(clock: libc::clockid_t) -> u64 {
    let mut at = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `at` is a writable timespec. The two clocks read here exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut at) };
    at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn monotonic() -> u64 {
    read_clock(libc::CLOCK_MONOTONIC)
}

/// What CLOCK_REALTIME is ahead of CLOCK_MONOTONIC: the kernel stamps packets with the former.
pub fn wall_ahead() -> u64 {
    read_clock(libc::CLOCK_REALTIME).wrapping_sub(monotonic())
}

/// Sleeps until a moment of CLOCK_MONOTONIC.
pub fn sleep_until(moment: u64) {
    let span = moment.saturating_sub(monotonic());
    if span > 0 {
        std::thread::sleep(Duration::from_nanos(span));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let numbered = Numbered {
            stream: 3,
            number: 1 << 40,
            sent: 17,
        };
        let mut payload = [0xff; HEADER + 2];
        numbered.write(&mut payload);
        assert_eq!(Numbered::read(&payload), Some(numbered));
        assert_eq!(Numbered::read(&payload[..HEADER - 1]), None);
    }
}
