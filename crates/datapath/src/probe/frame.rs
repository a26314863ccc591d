//! Probe frames: what one member of a team says to another, so that nobody else can say it.
//!
//! | bytes | field |
//! | --- | --- |
//! | 6, 6, 2 | destination, source, EtherType 0x88B5 |
//! | 4, 1, 1, 2 | `ESPR`, version, kind, zero |
//! | 4, 4, 4 | team, member that sends, member that it is for |
//! | 8, 8 | counter, and the time of sending in nanoseconds |
//! | 32 | HMAC-SHA-256 over all before it from the magic on, under the team's probe key |
//!
//! HMAC rather than an AEAD without plaintext: it has no nonce that could be used twice.

use aws_lc_rs::{constant_time, hmac};

use crate::l2;
use crate::plan::Mac;

/// "Local Experimental EtherType 1" (IEEE 802, clause 9.2.4): for use within one network.
pub const ETHERTYPE: u16 = 0x88b5;

const MAGIC: [u8; 4] = *b"ESPR";
const VERSION: u8 = 1;
const TAG: usize = 32;
/// What the tag covers: the body without the Ethernet header.
const BODY: usize = 4 + 4 + 3 * 4 + 2 * 8;
const START: usize = l2::ADDRESSES + 2;

/// Bytes of a probe frame.
pub const LEN: usize = START + BODY + TAG;

/// The key of a team's probe frames. Shows nothing of itself.
#[derive(Clone)]
pub struct ProbeKey(Box<hmac::Key>);

impl ProbeKey {
    /// Bytes of a key.
    pub const LEN: usize = 16;

    /// A key from its bytes.
    #[must_use]
    pub fn new(bytes: &[u8; Self::LEN]) -> Self {
        Self(Box::new(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }
}

impl core::fmt::Debug for ProbeKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ProbeKey(hidden)")
    }
}

/// What is asked by a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whether the one hears the other.
    Path,
    /// Whether the wire takes a source address that is not the member's own.
    Foreign,
}

/// A probe, without its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub kind: Kind,
    /// The team.
    pub team: u32,
    /// The member that sends.
    pub from: u32,
    /// The member that it is for.
    pub to: u32,
    /// The round in which it is sent.
    pub counter: u64,
    /// When it is sent.
    pub time: u64,
}

impl Probe {
    /// The whole frame.
    #[must_use]
    pub fn emit(&self, key: &ProbeKey, dst: Mac, src: Mac) -> [u8; LEN] {
        let mut frame = [0; LEN];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&dst.0);
        put(&src.0);
        put(&ETHERTYPE.to_be_bytes());
        put(&MAGIC);
        let kind = match self.kind {
            Kind::Path => 0,
            Kind::Foreign => 1,
        };
        put(&[VERSION, kind, 0, 0]);
        for id in [self.team, self.from, self.to] {
            put(&id.to_be_bytes());
        }
        for number in [self.counter, self.time] {
            put(&number.to_be_bytes());
        }
        let tag = hmac::sign(&key.0, &frame[START..START + BODY]);
        frame[START + BODY..].copy_from_slice(tag.as_ref());
        frame
    }

    /// What a frame says that claims to be a probe; not yet whether it is one.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        if !claims(frame) {
            return None;
        }
        // A frame may be padded by the wire.
        let body = frame.get(START + 4..LEN)?;
        let word = |at: usize| body[at..].first_chunk().map(|b| u32::from_be_bytes(*b));
        let number = |at: usize| body[at..].first_chunk().map(|b| u64::from_be_bytes(*b));
        let kind = match body[..2] {
            [VERSION, 0] => Kind::Path,
            [VERSION, 1] => Kind::Foreign,
            _ => return None,
        };
        Some(Self {
            kind,
            team: word(4)?,
            from: word(8)?,
            to: word(12)?,
            counter: number(16)?,
            time: number(24)?,
        })
    }
}

/// Whether a frame claims to be a probe of ours: its EtherType and the magic.
#[must_use]
pub fn claims(frame: &[u8]) -> bool {
    frame
        .get(l2::ADDRESSES..START + MAGIC.len())
        .is_some_and(|bytes| bytes[..2] == ETHERTYPE.to_be_bytes() && bytes[2..] == MAGIC)
}

/// Whether the tag of a frame that parsed is that of `key`.
#[must_use]
pub fn genuine(frame: &[u8], key: &ProbeKey) -> bool {
    let (Some(body), Some(tag)) = (frame.get(START..START + BODY), frame.get(START + BODY..LEN))
    else {
        return false;
    };
    let expected = hmac::sign(&key.0, body);
    constant_time::verify_slices_are_equal(expected.as_ref(), tag).is_ok()
}

/// A source address that nobody uses, for [`Kind::Foreign`]: locally administered, made of the
/// team's address, and another one for each member, so that no switch sees one address at two
/// of its ports.
#[must_use]
pub fn foreign_source(team: Mac, member: u32, taken: impl Fn(Mac) -> bool) -> Mac {
    let number = member.to_be_bytes();
    let mut mac = team.0;
    // Locally administered, and no group address (IEEE 802 clause 8.4).
    mac[0] = (mac[0] | 0x02) & !0x01;
    mac[3] ^= 0x80;
    mac[4] ^= number[2];
    mac[5] ^= number[3];
    while taken(Mac(mac)) {
        mac[2] = mac[2].wrapping_add(1);
    }
    Mac(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: Probe = Probe {
        kind: Kind::Path,
        team: 1,
        from: 2,
        to: 3,
        counter: 77,
        time: 5,
    };

    fn key(byte: u8) -> ProbeKey {
        ProbeKey::new(&[byte; ProbeKey::LEN])
    }

    #[test]
    fn it_reads_back_and_its_key_alone_made_it() {
        let frame = PROBE.emit(&key(1), Mac([2; 6]), Mac([4; 6]));
        assert!(claims(&frame));
        assert_eq!(Probe::parse(&frame), Some(PROBE));
        assert!(genuine(&frame, &key(1)));
        assert!(!genuine(&frame, &key(2)));
        let padded = [&frame[..], &[0; 10]].concat();
        assert_eq!(Probe::parse(&padded), Some(PROBE));
        assert!(genuine(&padded, &key(1)));
    }

    #[test]
    fn no_bit_of_it_can_be_changed() {
        let frame = PROBE.emit(&key(1), Mac([2; 6]), Mac([4; 6]));
        for at in START..LEN {
            let mut forged = frame;
            forged[at] ^= 0x10;
            assert!(!genuine(&forged, &key(1)), "byte {at}");
        }
        for len in 0..LEN {
            assert_eq!(Probe::parse(&frame[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn a_foreign_source_is_nobody_s() {
        let team = Mac([0x01, 2, 3, 4, 5, 6]);
        let first = foreign_source(team, 1, |_| false);
        assert_eq!(first.0[0] & 3, 2);
        assert_ne!(first, foreign_source(team, 2, |_| false));
        assert_ne!(first, foreign_source(team, 1, |mac| mac == first));
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", key(0xab)), "ProbeKey(hidden)");
    }
}
