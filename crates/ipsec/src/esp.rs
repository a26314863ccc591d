//! ESP with AES-GCM and a 16-byte ICV: the bytes of the packet (RFC 4303 section 2, RFC 4106).
//!
//! ```text
//! | SPI 4 | sequence number 4 | IV 8 | ciphertext of payload, padding, trailer | ICV 16 |
//! ```
//!
//! What is authenticated besides ([`aad`]) is SPI and sequence number, with ESN its upper half
//! too; the nonce is the SA's salt and the IV. Our IV is the 64-bit sequence number, which one
//! allocator gives out once ([`crate::seq`]); a received IV is whatever the sender chose.

use thiserror::Error;

use crate::bytes::{put32, u32_at};

/// SPI and sequence number.
pub const HEADER_LEN: usize = 8;
/// The explicit IV of AES-GCM (RFC 4106 section 3.1).
pub const IV_LEN: usize = 8;
/// What stands before the ciphertext.
pub const PREFIX_LEN: usize = HEADER_LEN + IV_LEN;
/// The ICV of aes-gcm-16.
pub const ICV_LEN: usize = 16;
/// Pad length and next header, after the padding.
pub const TRAILER_MIN: usize = 2;
/// Payload, padding and these two end on a 4-byte boundary (RFC 4303 section 2.4).
pub const ALIGN: usize = 4;
/// The longest trailer that [`trailer_len`] gives: alignment adds at most 3 bytes.
pub const TRAILER_MAX: usize = TRAILER_MIN + ALIGN - 1;
/// An ESP packet holds at least this much: prefix, one aligned block of trailer, ICV.
pub const MIN_LEN: usize = PREFIX_LEN + ALIGN + ICV_LEN;
/// The longest that ESP adds to a payload.
pub const MAX_OVERHEAD: usize = PREFIX_LEN + TRAILER_MAX + ICV_LEN;
/// The salt, the last four bytes of the keying material (RFC 4106 section 8.1).
pub const SALT_LEN: usize = 4;
/// Salt and IV.
pub const NONCE_LEN: usize = SALT_LEN + IV_LEN;
/// AAD with ESN; without, eight bytes.
pub const AAD_MAX: usize = 12;

/// The IP protocol number of ESP (RFC 4303 section 2).
pub const PROTOCOL: u8 = 50;
/// Next header of an IPv4 packet in a tunnel.
pub const NEXT_HEADER_IPV4: u8 = 4;
/// Next header of an IPv6 packet in a tunnel.
pub const NEXT_HEADER_IPV6: u8 = 41;
/// Next header of a dummy packet: none (RFC 4303 section 2.6).
pub const NEXT_HEADER_NONE: u8 = 59;

/// Why bytes are no ESP packet, or an opened one no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EspError {
    /// Shorter than [`MIN_LEN`].
    #[error("shorter than an ESP packet")]
    TooShort,
    /// Ciphertext and ICV that do not end on a 4-byte boundary: no sender makes them.
    #[error("the ciphertext is not a multiple of 4 bytes")]
    Unaligned,
    /// The padding is longer than the packet, or not 1, 2, 3, … (RFC 4303 section 2.4: the
    /// receiver SHOULD inspect it).
    #[error("the padding is not 1, 2, 3, … within the packet")]
    Padding,
}

impl EspError {
    /// The name under which this drop is counted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooShort => "esp-too-short",
            Self::Unaligned => "esp-unaligned",
            Self::Padding => "esp-padding",
        }
    }
}

/// What a received ESP packet shows before it is opened. Nothing of it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspHeader {
    /// The SPI. A value below 256 is reserved and 0 never sent (RFC 4303 section 2.1); it is
    /// refused by having no SA.
    pub spi: u32,
    /// The lower 32 bits of the sequence number.
    pub seq_lo: u32,
    /// The IV.
    pub iv: [u8; IV_LEN],
}

/// The end of an opened payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Bytes before the padding. In tunnel mode they may include traffic flow confidentiality
    /// padding after the inner packet, whose own length tells (RFC 4303 section 2.7).
    pub payload_len: usize,
    /// What the payload is.
    pub next_header: u8,
}

impl Trailer {
    /// Whether this is a dummy packet (RFC 4303 section 2.6): to be dropped without a word.
    #[must_use]
    pub const fn is_dummy(self) -> bool {
        self.next_header == NEXT_HEADER_NONE
    }
}

/// Writes SPI, sequence number and our IV, the 64-bit sequence number.
pub fn write_prefix(out: &mut [u8; PREFIX_LEN], spi: u32, seq: u64) {
    write_prefix_with_iv(out, spi, seq, iv(seq));
}

/// [`write_prefix`] with a given IV. Whoever calls it vouches that no nonce seals twice; it is
/// for known answers.
pub fn write_prefix_with_iv(out: &mut [u8; PREFIX_LEN], spi: u32, seq: u64, iv: [u8; IV_LEN]) {
    put32(out, 0, spi);
    put32(out, 4, low(seq));
    out[HEADER_LEN..].copy_from_slice(&iv);
}

/// The IV that we send with a sequence number: the number itself, with ESN or without, so that an
/// IV is used once as the number is.
#[must_use]
pub const fn iv(seq: u64) -> [u8; IV_LEN] {
    seq.to_be_bytes()
}

/// The nonce: salt, then IV (RFC 4106 section 4); [`iv`] for what we seal, the received one for
/// what we open.
#[must_use]
pub fn nonce(salt: [u8; SALT_LEN], iv: [u8; IV_LEN]) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..SALT_LEN].copy_from_slice(&salt);
    nonce[SALT_LEN..].copy_from_slice(&iv);
    nonce
}

/// The AAD and its length: SPI and the sequence number, whole with ESN, else its lower half
/// (RFC 4106 section 5).
#[must_use]
pub fn aad(spi: u32, seq: u64, esn: bool) -> ([u8; AAD_MAX], u8) {
    let mut aad = [0; AAD_MAX];
    put32(&mut aad, 0, spi);
    if esn {
        aad[4..].copy_from_slice(&seq.to_be_bytes());
        (aad, 12)
    } else {
        put32(&mut aad, 4, low(seq));
        (aad, 8)
    }
}

/// Pad bytes after a payload of `payload_len` bytes: 0 to 3.
#[must_use]
pub const fn pad_len(payload_len: usize) -> u8 {
    // (-x) mod 4 of what stands so far.
    ((ALIGN - (payload_len % ALIGN + TRAILER_MIN) % ALIGN) % ALIGN) as u8
}

/// Bytes after a payload of `payload_len` bytes: padding, pad length, next header.
#[must_use]
pub const fn trailer_len(payload_len: usize) -> usize {
    pad_len(payload_len) as usize + TRAILER_MIN
}

/// The whole ESP packet of a payload: prefix, payload, trailer, ICV.
#[must_use]
pub const fn sealed_len(payload_len: usize) -> usize {
    PREFIX_LEN + payload_len + trailer_len(payload_len) + ICV_LEN
}

/// Writes `pad` pad bytes 1, 2, 3, …, the pad length and the next header.
///
/// # Panics
/// Where `out` is not `pad + 2` bytes: a caller's error, not a packet's.
pub fn write_trailer(out: &mut [u8], pad: u8, next_header: u8) {
    assert_eq!(
        out.len(),
        usize::from(pad) + TRAILER_MIN,
        "room for the trailer"
    );
    for (byte, value) in out.iter_mut().zip(1..=pad) {
        *byte = value;
    }
    let at = usize::from(pad);
    out[at] = pad;
    out[at + 1] = next_header;
}

/// Reads what a received ESP packet shows. `esp` reaches from the SPI to the end of the ICV.
///
/// # Errors
/// [`EspError::TooShort`], [`EspError::Unaligned`].
pub fn parse_packet(esp: &[u8]) -> Result<EspHeader, EspError> {
    if esp.len() < MIN_LEN {
        return Err(EspError::TooShort);
    }
    if !(esp.len() - PREFIX_LEN - ICV_LEN).is_multiple_of(ALIGN) {
        return Err(EspError::Unaligned);
    }
    let (Some(spi), Some(seq_lo), Some(&iv)) = (
        u32_at(esp, 0),
        u32_at(esp, 4),
        esp[HEADER_LEN..].first_chunk::<IV_LEN>(),
    ) else {
        return Err(EspError::TooShort);
    };
    Ok(EspHeader { spi, seq_lo, iv })
}

/// Reads the trailer of an opened packet: `plain` is what the ICV vouched for, from the payload's
/// first byte to the next header.
///
/// # Errors
/// [`EspError::TooShort`], [`EspError::Padding`].
pub fn parse_trailer(plain: &[u8]) -> Result<Trailer, EspError> {
    let Some((rest, &[pad, next_header])) = plain.split_last_chunk::<TRAILER_MIN>() else {
        return Err(EspError::TooShort);
    };
    let payload_len = rest
        .len()
        .checked_sub(usize::from(pad))
        .ok_or(EspError::Padding)?;
    if !rest[payload_len..].iter().copied().eq(1..=pad) {
        return Err(EspError::Padding);
    }
    Ok(Trailer {
        payload_len,
        next_header,
    })
}

/// The lower 32 bits of a sequence number.
const fn low(seq: u64) -> u32 {
    seq as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_spi_number_and_iv() {
        let mut out = [0xa5; PREFIX_LEN];
        write_prefix(&mut out, 0x0102_0304, 0x1122_3344_5566_7788);
        assert_eq!(
            out,
            [
                1, 2, 3, 4, 0x55, 0x66, 0x77, 0x88, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88
            ]
        );
        assert_eq!(
            nonce([9, 8, 7, 6], iv(1)),
            [9, 8, 7, 6, 0, 0, 0, 0, 0, 0, 0, 1]
        );
    }

    #[test]
    fn aad_has_the_upper_half_with_esn_only() {
        let seq = 0x0000_0001_0000_0002;
        assert_eq!(
            aad(0xa1b2_c3d4, seq, false),
            ([0xa1, 0xb2, 0xc3, 0xd4, 0, 0, 0, 2, 0, 0, 0, 0], 8)
        );
        assert_eq!(
            aad(0xa1b2_c3d4, seq, true),
            ([0xa1, 0xb2, 0xc3, 0xd4, 0, 0, 0, 1, 0, 0, 0, 2], 12)
        );
    }

    #[test]
    fn payload_and_trailer_end_on_a_boundary_with_the_least_padding() {
        for (len, pad) in [
            (0, 2),
            (1, 1),
            (2, 0),
            (3, 3),
            (4, 2),
            (1398, 0),
            (65_535, 3),
        ] {
            assert_eq!(pad_len(len), pad, "{len}");
            assert_eq!((len + trailer_len(len)) % ALIGN, 0, "{len}");
            assert!(sealed_len(len) <= len + MAX_OVERHEAD);
            assert!(sealed_len(len) >= MIN_LEN);
        }
    }

    #[test]
    fn a_trailer_written_over_old_bytes_reads_back() {
        for pad in 0..=255_u8 {
            let mut plain = vec![0xa5; 7 + usize::from(pad) + TRAILER_MIN];
            write_trailer(&mut plain[7..], pad, 41);
            let trailer = parse_trailer(&plain).unwrap();
            assert_eq!((trailer.payload_len, trailer.next_header), (7, 41));
        }
    }

    #[test]
    fn bad_trailers_are_named() {
        assert_eq!(parse_trailer(&[]), Err(EspError::TooShort));
        assert_eq!(parse_trailer(&[4]), Err(EspError::TooShort));
        assert_eq!(parse_trailer(&[1, 2, 3, 4]), Err(EspError::Padding));
        assert_eq!(parse_trailer(&[9, 1, 3, 2, 4]), Err(EspError::Padding));
        assert_eq!(parse_trailer(&[0, 0, 2, 4]), Err(EspError::Padding));
        assert!(parse_trailer(&[1, 2, 2, 59]).unwrap().is_dummy());
        assert!(!parse_trailer(&[1, 2, 2, 4]).unwrap().is_dummy());
        assert_eq!(parse_trailer(&[0, 4]).unwrap().payload_len, 0);
    }

    #[test]
    fn a_packet_too_short_or_cut_is_no_esp() {
        let packet = [7; MIN_LEN + 1];
        let header = parse_packet(&packet[..MIN_LEN]).unwrap();
        assert_eq!(
            (header.spi, header.seq_lo, header.iv),
            (0x0707_0707, 0x0707_0707, [7; 8])
        );
        assert_eq!(parse_packet(&packet), Err(EspError::Unaligned));
        for len in 0..MIN_LEN {
            assert_eq!(parse_packet(&packet[..len]), Err(EspError::TooShort));
        }
    }
}
