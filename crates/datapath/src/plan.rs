//! The Plan: what Python decided, as an immutable value that the workers obey until the next one.

use std::net::IpAddr;

use esprit_crypto::Grants;
use serde::{Deserialize, Serialize};

/// How many shares a team's traffic is cut into. A flow hashes to one of them; 256 lets a
/// weight be set to within 0.4 %, and the table stays within four cache lines.
pub const BUCKETS: usize = 256;

/// An Ethernet address, as `aa:bb:cc:dd:ee:ff` in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether frames to it are meant for several hosts.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            *byte = parts
                .next()
                .filter(|part| part.len() == 2)
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| format!("{text:?} is no Ethernet address"))?;
        }
        match parts.next() {
            None => Ok(Self(mac)),
            Some(_) => Err(format!("{text:?} is no Ethernet address")),
        }
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// The team's mode, by bonding's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One member carries traffic, the others wait.
    ActiveBackup,
    /// All members carry traffic.
    BalanceAlb,
}

/// What a carrying member sends as source of unicast IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceMac {
    /// The team's address.
    Team,
    /// The member's own, so that a learning switch sees no address move.
    Member,
}

/// How sealed packets reach the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// The engine gives them back, and the destination member sends them.
    #[default]
    Return,
    /// The engine's own member sends them, with the requester's source address (row M10);
    /// where it may not, they are returned.
    Direct,
    /// Whichever of the two is expected to be sooner, job by job.
    Auto,
}

/// Who receives unicast in balance-alb.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Receive {
    /// Peers know the team's one address, so the receiver gets all of it.
    #[default]
    Single,
    /// ARP and ND answers give each peer the address of one carrying member.
    Balance,
}

/// The transmission mask (row M8): who is served with one algorithm in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// With which.
    pub algorithm: String,
    /// Members whose own engine does it (primary use).
    pub own: Vec<u32>,
    /// Members that are backed up by others (secondary use).
    pub backed: Vec<u32>,
}

/// The transmission masks of both directions. A direction without an entry for an algorithm
/// serves nobody with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask {
    /// What leaves.
    pub seal: Vec<Served>,
    /// What arrives.
    pub open: Vec<Served>,
}

/// A question that a member asks a neighbour on the wire, ready-made: an ARP or ND request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The member that asks.
    pub member: u32,
    /// Whose answer counts.
    pub address: IpAddr,
    /// The whole Ethernet frame, as hexadecimal text.
    #[serde(with = "hex_frame")]
    pub frame: Vec<u8>,
}

/// How members are probed (row M12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Nanoseconds between two probes.
    pub every_ns: u64,
    /// A member is deaf that missed so many ...
    pub miss: u32,
    /// ... of the last so many.
    pub of: u32,
    /// It counts as hearing again once it heard for so many nanoseconds without a miss.
    pub hold_ns: u64,
    /// Neighbours that are asked besides.
    #[serde(default)]
    pub asks: Vec<Ask>,
}

/// A member's role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberRole {
    /// The member.
    pub id: u32,
    /// Whether it may send.
    pub carry: bool,
    /// Whether it may accept what is sent to its own address.
    pub accept: bool,
}

/// Frames that a member sends at once when it takes over: gratuitous ARP, unsolicited NA.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Announcement {
    /// The member.
    pub member: u32,
    /// Whole Ethernet frames, as hexadecimal text.
    #[serde(with = "hex_frames")]
    pub frames: Vec<Vec<u8>>,
}

/// The Plan of one team.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Grows with every Plan of the process.
    pub epoch: u64,
    /// The team.
    pub team: u32,
    /// The last link epoch that had been heard of when this was computed: latches up to it
    /// are cleared, later ones stay.
    pub latch: u64,
    /// The mode that made it.
    pub mode: Mode,
    /// Roles.
    pub members: Vec<MemberRole>,
    /// Members by share of the flow hash: one entry, or [`BUCKETS`].
    pub transmit: Vec<u32>,
    /// The member that accepts broadcast, multicast and the team's MAC.
    pub receiver: Option<u32>,
    /// Who takes over for a member that is lost, best first.
    pub takeover: Vec<u32>,
    /// Source address of unicast IP.
    pub mac: SourceMac,
    /// What to send on taking over.
    #[serde(default)]
    pub announce: Vec<Announcement>,
    /// Which engine may do what, for whom, in which tier.
    pub grants: Grants,
    /// How sealed packets reach the wire.
    #[serde(default)]
    pub delivery: Delivery,
    /// Members that may send what another member asked for, with its source address: they
    /// carry, and their wire was seen to take a foreign address.
    #[serde(default)]
    pub direct: Vec<u32>,
    /// Who is served with which algorithm; none: whoever the grants serve.
    #[serde(default)]
    pub mask: Option<Mask>,
    /// How members are probed; none: not at all.
    #[serde(default)]
    pub probe: Option<Probe>,
    /// A link counts as fallen once it was down for so many nanoseconds.
    #[serde(default)]
    pub down_delay_ns: u64,
    /// Who receives unicast in balance-alb.
    #[serde(default)]
    pub receive: Receive,
}

mod hex_frame {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(frame: &[u8], s: S) -> Result<S::Ok, S::Error> {
        super::hex_frames::encode(frame).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(d)?;
        super::hex_frames::decode(&text).ok_or_else(|| D::Error::custom("a question is not hex"))
    }
}

mod hex_frames {
    use serde::{Deserialize, Deserializer, Serializer, de::Error, ser::SerializeSeq};

    pub(super) fn serialize<S: Serializer>(frames: &[Vec<u8>], s: S) -> Result<S::Ok, S::Error> {
        let mut seq = s.serialize_seq(Some(frames.len()))?;
        for frame in frames {
            seq.serialize_element(&encode(frame))?;
        }
        seq.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Vec<u8>>, D::Error> {
        Vec::<String>::deserialize(d)?
            .iter()
            .map(|text| decode(text).ok_or_else(|| D::Error::custom("announcement is not hex")))
            .collect()
    }

    pub(super) fn encode(frame: &[u8]) -> String {
        frame.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
        let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
        let digits = digits.filter(|d| d.len() % 2 == 0)?;
        digits
            .chunks_exact(2)
            .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ethernet_address_reads_back() {
        let mac = Mac::try_from("02:00:5e:10:00:ff".to_owned()).unwrap();
        assert_eq!(String::from(mac), "02:00:5e:10:00:ff");
        for bad in [
            "",
            "02:00",
            "02:00:5e:10:00:ff:00",
            "2:0:5e:10:0:ff",
            "zz:00:5e:10:00:ff",
        ] {
            assert!(Mac::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
