//! The formats, read by their shape.

use std::path::Path;

use esprit_ipsec::sad::Mode;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

/// Bytes, as hexadecimal text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        unhex(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("{text:.40?} is not hexadecimal")))
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

/// What is to happen to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It opens.
    Ok,
    /// It is dropped: forged, cut, or authentic and wrong.
    Drop,
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        match text.as_str() {
            "ok" => Ok(Self::Ok),
            // The key of the ICV is not public: [`EspCase::unverified`] says so for the case.
            other if other.starts_with("icv_unverified:") => Ok(Self::Ok),
            "wrong-proto" | "no-sa" | "icv-fail" => Ok(Self::Drop),
            // "drop", "drop-silently(RFC4303 2.6)", "drop (SHOULD, RFC4303 2.4)".
            other if other.starts_with("drop") => Ok(Self::Drop),
            other => Err(D::Error::custom(format!("unknown expectation {other:?}"))),
        }
    }
}

/// An ESP packet with its SA.
#[derive(Clone, Debug, Deserialize)]
pub struct EspCase {
    /// Its name.
    pub name: String,
    /// Cipher, in the vectors' own names.
    pub alg: String,
    /// The cipher's key.
    pub key: Hex,
    /// The salt, where the cipher has one.
    pub salt: Hex,
    /// Integrity algorithm, `none` with an AEAD.
    pub auth: String,
    /// The SPI of the SA; a packet may show another.
    pub spi: u32,
    /// The lower half of the sequence number; cases to be dropped need not say it.
    #[serde(default)]
    pub seq: Option<u32>,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Their upper half.
    #[serde(default)]
    pub esn_hi: Option<u32>,
    /// Tunnel or transport.
    pub mode: Mode,
    /// ESP in UDP.
    pub udp_encap: bool,
    /// What the trailer says is inside.
    #[serde(default)]
    pub next_header: Option<u8>,
    /// The IV, where the cipher has one.
    #[serde(default)]
    pub iv: Hex,
    /// The pad bytes.
    #[serde(default, deserialize_with = "or_default")]
    pub pad: Hex,
    /// Bytes of traffic flow confidentiality padding.
    #[serde(default)]
    pub tfc_pad: Option<usize>,
    /// The packet before it was sealed.
    #[serde(default)]
    pub plain: Hex,
    /// The packet on the wire, from its outer IP header on.
    pub esp: Hex,
    /// What is to happen.
    pub expect: Expect,
    /// Bytes of an ICV whose key is not public.
    #[serde(default, rename = "icv_unverified")]
    pub unverified: Option<u32>,
    /// The outer header was added to what had none.
    #[serde(default)]
    pub outer_synthetic: bool,
}

fn or_default<'de, D: Deserializer<'de>>(d: D) -> Result<Hex, D::Error> {
    Ok(Option::<Hex>::deserialize(d)?.unwrap_or_default())
}

impl EspCase {
    /// The whole sequence number, given its lower half.
    pub fn whole(&self, lo: u32) -> u64 {
        u64::from(self.esn_hi.filter(|_| self.esn).unwrap_or(0)) << 32 | u64::from(lo)
    }
}

/// A replay window and what arrives.
#[derive(Clone, Debug, Deserialize)]
pub struct Sequence {
    /// Its name.
    pub name: String,
    /// The window's width.
    pub window: u32,
    /// Extended sequence numbers.
    pub esn: bool,
    /// The highest number accepted before.
    pub start_top: u64,
    /// Numbers as they arrive, and whether each is accepted.
    pub events: Vec<(u64, bool)>,
}

/// A file of cases.
#[derive(Debug)]
pub enum File {
    /// ESP packets.
    Esp(Vec<EspCase>),
    /// Replay sequences.
    Replay(Vec<Sequence>),
}

/// Reads a file by the shape of its first entry.
///
/// # Errors
/// What is wrong with it, for people: not readable, no JSON, no known shape, a case without what
/// it needs.
pub fn read(path: &Path) -> Result<File, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let entries = value.as_array().ok_or("not a list of cases")?;
    let first = entries.first().ok_or("an empty list")?;
    if first.get("events").is_some() {
        Ok(File::Replay(all(entries)?))
    } else if first.get("esp").is_some() {
        Ok(File::Esp(all(entries)?))
    } else {
        Err("neither ESP packets nor replay sequences".into())
    }
}

fn all<'a, T: Deserialize<'a>>(entries: &'a [Value]) -> Result<Vec<T>, String> {
    entries
        .iter()
        .enumerate()
        .map(|(at, entry)| {
            T::deserialize(entry).map_err(|error| {
                let name = entry
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or("no name");
                format!("entry {at} ({name}): {error}")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_and_nothing_else() {
        assert_eq!(unhex("00ffA5"), Some(vec![0, 255, 0xa5]));
        assert_eq!(unhex(""), Some(vec![]));
        for text in ["0", "0g", "+1", "é0"] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }

    #[test]
    fn expectations_are_known_or_refused() {
        let read = |text: &str| serde_json::from_value::<Expect>(Value::from(text));
        assert_eq!(read("ok").unwrap(), Expect::Ok);
        for text in [
            "drop",
            "drop (SHOULD, RFC4303 2.4)",
            "drop-silently(RFC4303 2.6)",
            "no-sa",
        ] {
            assert_eq!(read(text).unwrap(), Expect::Drop, "{text}");
        }
        assert!(read("whatever").is_err());
    }
}
