//! Transport mode: the packet keeps its own IP header, and ESP stands behind it.
//!
//! With IPv6, extension headers that precede the transport header stay before ESP: hop-by-hop and
//! routing must (routers read them), destination options may (RFC 4303 section 3.1.1). Only
//! the last of these headers changes: its protocol field names ESP, or UDP around it.

use crate::bytes::{finish_ipv4, put16};
use crate::encap::{EncapError, IPV4_LEN, IPV6_LEN};

/// Offset of the protocol field in an IPv4 header.
const IPV4_PROTOCOL: usize = 9;
/// Offset of the next header field in an IPv6 header.
const IPV6_NEXT_HEADER: usize = 6;

/// IPv6 extension headers that stay before ESP. All have one shape: next header, length in units
/// of eight bytes less one (RFC 8200 section 4).
const fn stays(next_header: u8) -> bool {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DESTINATION: u8 = 60;
    matches!(next_header, HOP_BY_HOP | ROUTING | DESTINATION)
}

/// Where in `header` the field lies that names what follows it. `header` is an IP header with all
/// its options or extension headers, and nothing else.
///
/// # Errors
/// [`EncapError::NotIp`] where it is not, [`EncapError::Fragment`] where there is a fragment
/// header or it is a fragment.
fn protocol_field(header: &[u8]) -> Result<usize, EncapError> {
    const FRAGMENT: u8 = 44;
    match header.first().map(|first| first >> 4) {
        Some(4) => {
            let len = usize::from(header[0] & 0xf) * 4;
            if len < IPV4_LEN || len != header.len() {
                return Err(EncapError::NotIp);
            }
            // More fragments, or an offset.
            if (header[6] & 0x3f, header[7]) != (0, 0) {
                return Err(EncapError::Fragment);
            }
            Ok(IPV4_PROTOCOL)
        }
        Some(6) if header.len() >= IPV6_LEN => {
            let mut field = IPV6_NEXT_HEADER;
            let mut at = IPV6_LEN;
            while at < header.len() {
                match header[field] {
                    FRAGMENT => return Err(EncapError::Fragment),
                    next if !stays(next) => return Err(EncapError::NotIp),
                    _ => {}
                }
                let units = *header.get(at + 1).ok_or(EncapError::NotIp)?;
                field = at;
                at += (usize::from(units) + 1) * 8;
            }
            if at == header.len() {
                Ok(field)
            } else {
                Err(EncapError::NotIp)
            }
        }
        Some(_) | None => Err(EncapError::NotIp),
    }
}

/// Sets the protocol that follows `header`, and says which it was.
///
/// # Errors
/// [`EncapError::NotIp`], [`EncapError::Fragment`]; `header` is unchanged then.
pub fn replace_protocol(header: &mut [u8], protocol: u8) -> Result<u8, EncapError> {
    let field = protocol_field(header)?;
    Ok(core::mem::replace(&mut header[field], protocol))
}

/// Clears what differs from packet to packet: lengths, IPv4's identification and checksum.
pub(crate) fn clear_variable(header: &mut [u8], ipv4: bool) {
    if ipv4 {
        put16(header, 2, 0);
        put16(header, 4, 0);
        put16(header, 10, 0);
    } else {
        put16(header, 4, 0);
    }
}

/// Writes the header of the packet that a transport-mode SA protected into `header`: the received
/// one (IP with options or extension headers, UDP left out), with `next_header` from the ESP
/// trailer and the length of `payload_len` bytes that follow. A UDP super-frame has one header for
/// all its packets: `nth` counts them from 0, and IPv4's identification with them, as it would
/// had the frame been cut on the wire. Only such packets are joined again on the way up.
///
/// # Errors
/// [`EncapError`]: the header is none that we would have opened. `header` holds no packet then.
///
/// # Panics
/// Where `header` and `outer` differ in length: a caller's error, not a packet's.
pub fn restore(
    outer: &[u8],
    header: &mut [u8],
    payload_len: usize,
    next_header: u8,
    nth: u16,
) -> Result<(), EncapError> {
    assert_eq!(outer.len(), header.len(), "room for the header");
    header.copy_from_slice(outer);
    replace_protocol(header, next_header)?;
    if header[0] >> 4 == 4 {
        let total = u16::try_from(header.len() + payload_len).map_err(|_| EncapError::NotIp)?;
        let id = u16::from_be_bytes([header[4], header[5]]);
        put16(header, 2, total);
        put16(header, 4, id.wrapping_add(nth));
        finish_ipv4(header);
    } else {
        let len = header.len() - IPV6_LEN + payload_len;
        put16(
            header,
            4,
            u16::try_from(len).map_err(|_| EncapError::NotIp)?,
        );
    }
    Ok(())
}
