//! The other end of every SA: opens what was sent and seals what is to be received, by
//! cipher and RFC alone (RFC 4303, RFC 4106), without the code that it checks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use esprit_ipsec::sad::{Mode, SaSpec};

use crate::probe::{ETHERNET, IPV4, UDP, fold};

const ESP: usize = 8;
const IV: usize = 8;
const ICV: usize = 16;
const ESP_PROTOCOL: u8 = 50;
const UDP_PROTOCOL: u8 = 17;
const ESP_PORT: u16 = 4500;

/// One SA, as its other end has it.
struct Sa {
    id: u32,
    key: LessSafeKey,
    salt: [u8; 4],
    esn: bool,
    mode: Mode,
    udp: bool,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    /// Highest number seen (what it opens) or used (what it seals).
    seq: u64,
}

/// An ESP packet that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) sa: u32,
    pub(crate) seq: u64,
    /// Of the whole ESP packet: the same bytes again are a copy, others under the same number are not.
    pub(crate) digest: u64,
    /// The UDP payload inside.
    pub(crate) payload: Vec<u8>,
}

/// All ends.
#[derive(Default)]
pub(crate) struct Peer {
    opens: BTreeMap<u32, Sa>,
    seals: BTreeMap<u32, Sa>,
}

impl Peer {
    pub(crate) fn learn(
        &mut self,
        spec: &SaSpec,
        key: &[u8],
        outbound: bool,
    ) -> Result<(), String> {
        let (cipher, salt) = key.split_at(key.len().saturating_sub(4));
        let algorithm = if cipher.len() == 32 {
            &AES_256_GCM
        } else {
            &AES_128_GCM
        };
        let unbound = UnboundKey::new(algorithm, cipher)
            .map_err(|_| format!("SA {}: its key has the wrong length", spec.id))?;
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (spec.src, spec.dst) else {
            return Err(format!("SA {}: the simulated peer speaks IPv4", spec.id));
        };
        let sa = Sa {
            id: spec.id,
            key: LessSafeKey::new(unbound),
            salt: salt.try_into().unwrap_or_default(),
            esn: spec.esn,
            mode: spec.mode,
            udp: spec.encap.is_some(),
            src,
            dst,
            seq: 0,
        };
        let table = if outbound {
            &mut self.opens
        } else {
            &mut self.seals
        };
        match table.insert(spec.spi, sa) {
            None => Ok(()),
            Some(_) => Err(format!("SPI {:#x} serves two SAs here", spec.spi)),
        }
    }

    /// The ESP packets of an IPv4 frame: one, or several in a UDP super-frame of `gso` bytes each.
    /// None where it holds no ESP.
    pub(crate) fn esp(frame: &[u8], gso: usize) -> Option<Vec<&[u8]>> {
        let ip = frame.get(ETHERNET..)?;
        if frame[12..14] != [8, 0] || ip.len() < IPV4 {
            return None;
        }
        let header = usize::from(ip[0] & 15) * 4;
        let body = ip.get(header..)?;
        match ip[9] {
            ESP_PROTOCOL => Some(vec![body]),
            UDP_PROTOCOL if body.get(2..4) == Some(&ESP_PORT.to_be_bytes()) => {
                let esp = body.get(UDP..)?;
                if gso == 0 {
                    return Some(vec![esp]);
                }
                Some(esp.chunks(gso).collect())
            }
            _ => None,
        }
    }

    /// Opens one.
    pub(crate) fn open(&mut self, packet: &[u8]) -> Result<Opened, String> {
        let head: &[u8; ESP + IV] = packet
            .first_chunk()
            .ok_or("an ESP packet without its header")?;
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (spi, low) = (word(0), word(4));
        let sa = self
            .opens
            .get_mut(&spi)
            .ok_or_else(|| format!("SPI {spi:#010x} is no SA's"))?;
        let seq = if sa.esn {
            // RFC 4303 appendix A: the number nearest to the highest one seen.
            let base = sa.seq & !0xffff_ffff | u64::from(low);
            [base, base.wrapping_add(1 << 32), base.wrapping_sub(1 << 32)]
                .into_iter()
                .min_by_key(|guess| guess.abs_diff(sa.seq))
                .unwrap_or(base)
        } else {
            low.into()
        };
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&sa.salt);
        nonce[4..].copy_from_slice(&head[ESP..]);
        let mut aad = Vec::with_capacity(12);
        aad.extend_from_slice(&head[..4]);
        if sa.esn {
            aad.extend_from_slice(&((seq >> 32) as u32).to_be_bytes());
        }
        aad.extend_from_slice(&head[4..8]);
        let digest = crate::random::digest(0, packet);
        let mut text = packet[ESP + IV..].to_vec();
        let plain = sa
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                &mut text,
            )
            .map_err(|_| format!("SA {}: number {seq} does not open", sa.id))?;
        sa.seq = sa.seq.max(seq);
        let [.., pad, next] = *plain else {
            return Err(format!("SA {}: number {seq} has no trailer", sa.id));
        };
        let end = plain.len().saturating_sub(2 + usize::from(pad));
        let (skip, expected) = match sa.mode {
            Mode::Tunnel => (IPV4 + UDP, 4),
            Mode::Transport => (UDP, UDP_PROTOCOL),
        };
        if next != expected || end < skip {
            return Err(format!("SA {}: number {seq} holds another protocol", sa.id));
        }
        Ok(Opened {
            sa: sa.id,
            seq,
            digest,
            payload: plain[skip..end].to_vec(),
        })
    }

    /// Seals a frame for the team: its IP packet inside ESP, to the address `to`.
    pub(crate) fn seal(&mut self, spi: u32, to: [u8; 6], frame: &[u8]) -> Option<(u32, Vec<u8>)> {
        let sa = self.seals.get_mut(&spi)?;
        sa.seq += 1;
        let (plain, next) = match sa.mode {
            Mode::Tunnel => (&frame[ETHERNET..], 4),
            Mode::Transport => (&frame[ETHERNET + IPV4..], UDP_PROTOCOL),
        };
        let mut text = plain.to_vec();
        let pad = (4 - (text.len() + 2) % 4) % 4;
        text.extend((1..=pad as u8).chain([pad as u8, next]));
        let mut esp = Vec::with_capacity(ESP + IV + text.len() + ICV);
        esp.extend_from_slice(&spi.to_be_bytes());
        esp.extend_from_slice(&(sa.seq as u32).to_be_bytes());
        esp.extend_from_slice(&sa.seq.to_be_bytes());
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&sa.salt);
        nonce[4..].copy_from_slice(&sa.seq.to_be_bytes());
        let mut aad = spi.to_be_bytes().to_vec();
        if sa.esn {
            aad.extend_from_slice(&((sa.seq >> 32) as u32).to_be_bytes());
        }
        aad.extend_from_slice(&(sa.seq as u32).to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = sa
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut text)
            .ok()?;
        esp.extend_from_slice(&text);
        esp.extend_from_slice(tag.as_ref());
        Some((sa.id, outer(sa, to, &frame[6..12], &esp)))
    }
}

fn outer(sa: &Sa, to: [u8; 6], from: &[u8], esp: &[u8]) -> Vec<u8> {
    let udp = if sa.udp { UDP } else { 0 };
    let total = (IPV4 + udp + esp.len()) as u16;
    let mut frame = Vec::with_capacity(ETHERNET + usize::from(total));
    frame.extend_from_slice(&to);
    frame.extend_from_slice(from);
    frame.extend_from_slice(&[8, 0, 0x45, 0]);
    frame.extend_from_slice(&total.to_be_bytes());
    let protocol = if sa.udp { UDP_PROTOCOL } else { ESP_PROTOCOL };
    frame.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend_from_slice(&sa.src.octets());
    frame.extend_from_slice(&sa.dst.octets());
    let sum: u32 = frame[ETHERNET..]
        .as_chunks::<2>()
        .0
        .iter()
        .map(|&pair| u32::from(u16::from_be_bytes(pair)))
        .sum();
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&(!fold(sum)).to_be_bytes());
    if sa.udp {
        frame.extend_from_slice(&ESP_PORT.to_be_bytes());
        frame.extend_from_slice(&ESP_PORT.to_be_bytes());
        frame.extend_from_slice(&((UDP + esp.len()) as u16).to_be_bytes());
        frame.extend_from_slice(&[0, 0]);
    }
    frame.extend_from_slice(esp);
    frame
}
