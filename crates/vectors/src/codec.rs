//! A case through the functions of `esprit-ipsec` and an engine's arithmetic: open, compare, and
//! seal again to the same bytes. The data plane cannot be asked for the latter, since it chooses
//! its IVs itself.

use esprit_crypto::engines::software::{Outcome, work_op};
use esprit_crypto::{AeadKey, Algorithm, Direction, JobInput, Op};
use esprit_ipsec::encap::{self, OuterTemplate};
use esprit_ipsec::esp::{self, EspHeader, Trailer};
use esprit_ipsec::sad::{self, Mode, SaSpec, UdpEncap};
use esprit_packet::Pool;
use esprit_packet::parse::{Net, Parsed, parse_packet};
use smallvec::{SmallVec, smallvec};

use crate::case::EspCase;

const UDP: u8 = 17;

/// ESP within a packet from its outer header on.
struct Located {
    outer: Parsed,
    udp: Option<UdpEncap>,
    /// Where the SPI is.
    start: usize,
    header: EspHeader,
}

/// The outer header's facts and the ESP header, as far as the packet is what the SA expects.
fn locate(case: &EspCase, packet: &[u8]) -> Result<Located, String> {
    let outer = parse_packet(packet).map_err(|error| format!("outer: {}", error.name()))?;
    let (start, udp) = match (outer.protocol, outer.ports) {
        (esp::PROTOCOL, _) if !case.udp_encap => (usize::from(outer.l4), None),
        (UDP, Some((sport, dport))) if case.udp_encap => {
            (outer.payload as usize, Some(UdpEncap { sport, dport }))
        }
        (protocol, _) => return Err(format!("outer: protocol {protocol}")),
    };
    let header = esp::parse_packet(&packet[start..outer.end as usize])
        .map_err(|error| format!("ESP: {}", error.name()))?;
    if header.spi != case.spi {
        return Err(format!("SPI {:#x}, not the SA's", header.spi));
    }
    Ok(Located {
        outer,
        udp,
        start,
        header,
    })
}

/// What the ICV vouches for.
fn open(case: &EspCase, algorithm: Algorithm, at: &Located) -> Result<Vec<u8>, String> {
    let end = at.outer.end;
    let (aad, aad_len) = esp::aad(at.header.spi, case.whole(at.header.seq_lo), case.esn);
    let input = input(&case.esp.0, Vec::new())?;
    let op = Op {
        nonce: esp::nonce(salt(case)?, at.header.iv),
        aad,
        aad_len,
        body: ((at.start + esp::PREFIX_LEN) as u32, end),
        ..Op::default()
    };
    let mut plain = vec![0xa5; op.out_len(Direction::Open)];
    match work_op(
        &*key(case, algorithm)?,
        Direction::Open,
        &input,
        &op,
        &mut plain,
    ) {
        Outcome::Done => Ok(plain),
        other @ (Outcome::BadIcv | Outcome::Failed) => Err(format!("open: {other:?}")),
    }
}

/// The packet inside, rebuilt.
fn rebuild(case: &EspCase, at: &Located, plain: &[u8]) -> Result<(Trailer, Vec<u8>), String> {
    let trailer = esp::parse_trailer(plain).map_err(|error| error.name().to_owned())?;
    let payload = &plain[..trailer.payload_len];
    let outer = &case.esp.0[..usize::from(at.outer.l4)];
    let packet = match case.mode {
        Mode::Transport => {
            let mut packet = vec![0xa5; outer.len()];
            encap::restore_transport(outer, &mut packet, payload.len(), trailer.next_header, 0)
                .map_err(|error| error.to_string())?;
            packet.extend_from_slice(payload);
            packet
        }
        Mode::Tunnel if trailer.is_dummy() => Vec::new(),
        Mode::Tunnel => {
            let mut packet = payload.to_vec();
            encap::decapsulate_ecn(outer, &mut packet).map_err(|error| error.to_string())?;
            let inner =
                parse_packet(&packet).map_err(|error| format!("inner: {}", error.name()))?;
            let announced = match trailer.next_header {
                esp::NEXT_HEADER_IPV4 => inner.net == Net::Ipv4,
                esp::NEXT_HEADER_IPV6 => inner.net == Net::Ipv6,
                _ => false,
            };
            if !announced {
                return Err(format!("inner: next header {}", trailer.next_header));
            }
            packet.truncate(inner.end as usize);
            packet
        }
    };
    Ok((trailer, packet))
}

/// Opens a case to exactly its plaintext, and seals that again to exactly its packet.
pub fn open_and_seal(case: &EspCase, algorithm: Algorithm) -> Result<(), String> {
    let at = locate(case, &case.esp.0)?;
    if case.seq.is_some_and(|seq| seq != at.header.seq_lo) {
        return Err("the sequence number differs".into());
    }
    let opened = open(case, algorithm, &at)?;
    let (trailer, packet) = rebuild(case, &at, &opened)?;
    if packet != case.plain.0 {
        return Err(differs("the plaintext", &packet, &case.plain.0));
    }
    if case
        .next_header
        .is_some_and(|next| next != trailer.next_header)
    {
        return Err(format!("next header {}", trailer.next_header));
    }
    let sealed = seal(case, algorithm, &at, trailer)?;
    let expected = &case.esp.0[at.start..];
    if sealed != expected {
        return Err(differs("the sealed packet", &sealed, expected));
    }
    if case.outer_synthetic || trailer.is_dummy() {
        return Ok(());
    }
    outer_header(case, &at, sealed.len())
}

/// The ESP packet, from the plain one: our prefix, AAD, nonce and trailer, with the case's IV.
fn seal(
    case: &EspCase,
    algorithm: Algorithm,
    at: &Located,
    trailer: Trailer,
) -> Result<Vec<u8>, String> {
    let iv = case
        .iv
        .0
        .as_slice()
        .try_into()
        .map_err(|_| "no IV of 8 bytes")?;
    let seq = case.whole(case.seq.unwrap_or(at.header.seq_lo));
    let mut payload = match case.mode {
        Mode::Tunnel => case.plain.0.clone(),
        Mode::Transport => case.plain.0[usize::from(at.outer.l4)..].to_vec(),
    };
    // Linux pads with zeros for traffic flow confidentiality.
    payload.resize(payload.len() + case.tfc_pad.unwrap_or(0), 0);

    let pad = u8::try_from(case.pad.0.len()).map_err(|_| "more than 255 pad bytes")?;
    let tail = usize::from(pad) + esp::TRAILER_MIN;
    let mut headers = vec![0xa5; esp::PREFIX_LEN + tail];
    let (prefix, rest) = headers
        .split_first_chunk_mut::<{ esp::PREFIX_LEN }>()
        .ok_or("no room")?;
    esp::write_prefix_with_iv(prefix, case.spi, seq, iv);
    esp::write_trailer(rest, pad, case.next_header.unwrap_or(trailer.next_header));
    let (aad, aad_len) = esp::aad(case.spi, seq, case.esn);
    let op = Op {
        nonce: esp::nonce(salt(case)?, iv),
        aad,
        aad_len,
        prefix: (0, esp::PREFIX_LEN as u32),
        tail: (esp::PREFIX_LEN as u32, (esp::PREFIX_LEN + tail) as u32),
        body: (0, payload.len() as u32),
        ..Op::default()
    };
    // A sender that pads as little as it may gets this trailer from us by itself.
    if pad < 4 && esp::trailer_len(payload.len()) != tail {
        return Err(format!(
            "{pad} pad bytes, ours would be {}",
            esp::pad_len(payload.len())
        ));
    }
    let input = input(&payload, headers)?;
    let mut sealed = vec![0xa5; op.out_len(Direction::Seal)];
    match work_op(
        &*key(case, algorithm)?,
        Direction::Seal,
        &input,
        &op,
        &mut sealed,
    ) {
        Outcome::Done => Ok(sealed),
        other @ (Outcome::BadIcv | Outcome::Failed) => Err(format!("seal: {other:?}")),
    }
}

/// Our outer header around the same packet is the case's, but for what a tunnel's sender may
/// choose: traffic class, flow label, identification, DF, hop limit, and so the checksum.
fn outer_header(case: &EspCase, at: &Located, esp_len: usize) -> Result<(), String> {
    let spec = spec(case, at.outer.src, at.outer.dst, at.udp);
    let inner = parse_packet(&case.plain.0).map_err(|error| error.name())?;
    let template = OuterTemplate::new(&spec, &case.plain.0, &inner).map_err(|e| e.to_string())?;
    let theirs = &case.esp.0[..at.start];
    let id = if at.outer.net == Net::Ipv4 {
        u16::from_be_bytes([theirs[4], theirs[5]])
    } else {
        0
    };
    let mut ours: SmallVec<[u8; 128]> = SmallVec::new();
    template.write(&mut ours, id, esp_len, false);
    let (ours, theirs) = match case.mode {
        Mode::Transport => (ours.to_vec(), theirs.to_vec()),
        Mode::Tunnel => (fixed_part(&ours), fixed_part(theirs)),
    };
    // Over IPv6 the UDP checksum is completed by the device.
    if ours != theirs && !(case.udp_encap && at.outer.net == Net::Ipv6) {
        return Err(differs("the outer header", &ours, &theirs));
    }
    Ok(())
}

/// An outer header without what its sender may choose.
fn fixed_part(header: &[u8]) -> Vec<u8> {
    let mut header = header.to_vec();
    if header[0] >> 4 == 4 {
        header[1] = 0;
        header[4..9].fill(0);
        header[10..12].fill(0);
    } else {
        header[0] &= 0xf0;
        header[1..4].fill(0);
        header[7] = 0;
    }
    header
}

/// Whether the functions alone refuse a packet that must be dropped.
pub fn refuses(case: &EspCase, algorithm: Algorithm) -> Result<(), String> {
    let refused = locate(case, &case.esp.0)
        .and_then(|at| open(case, algorithm, &at).map(|plain| (at, plain)))
        .and_then(|(at, plain)| rebuild(case, &at, &plain));
    match refused {
        Err(_) => Ok(()),
        Ok((trailer, _)) if trailer.is_dummy() => Ok(()),
        Ok(_) => Err("it opens".into()),
    }
}

/// The SA of a case, outbound.
fn spec(
    case: &EspCase,
    src: std::net::IpAddr,
    dst: std::net::IpAddr,
    encap: Option<UdpEncap>,
) -> SaSpec {
    SaSpec {
        id: 1,
        team: 1,
        direction: sad::Direction::Out,
        spi: case.spi,
        src,
        dst,
        mode: case.mode,
        algorithm: sad::AES_GCM_16.into(),
        esn: case.esn,
        replay_window: 0,
        encap,
        weight: 1,
        member: None,
        policy: None,
        seq: 1,
        granted: u64::MAX,
    }
}

fn key(case: &EspCase, algorithm: Algorithm) -> Result<std::sync::Arc<AeadKey>, String> {
    AeadKey::new(algorithm, &case.key.0).map_err(|error| error.to_string())
}

fn salt(case: &EspCase) -> Result<[u8; esp::SALT_LEN], String> {
    case.salt
        .0
        .as_slice()
        .try_into()
        .map_err(|_| "the salt is not 4 bytes".to_owned())
}

/// A job's input over one frame.
fn input(frame: &[u8], headers: Vec<u8>) -> Result<JobInput, String> {
    let mut buf = Pool::new(1, 1)
        .get(frame.len())
        .ok_or("a packet of more than 64 KiB")?;
    buf.append(frame);
    Ok(JobInput {
        frames: smallvec![buf.share()],
        headers,
        ops: Vec::new(),
    })
}

/// Where two runs of bytes part.
pub fn differs(what: &str, ours: &[u8], expected: &[u8]) -> String {
    let at = ours
        .iter()
        .zip(expected)
        .take_while(|(a, b)| a == b)
        .count();
    format!(
        "{what} differs from byte {at} on ({} bytes, expected {})",
        ours.len(),
        expected.len()
    )
}
