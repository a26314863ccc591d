//! Reading and writing of big-endian fields at proved or checked offsets, and the Internet
//! checksum of an IPv4 header.

/// The 16-bit field at `at`, where there is one.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at.checked_add(2)?)
        .map(|b| u16::from_be_bytes([b[0], b[1]]))
}

/// The 32-bit field at `at`, where there is one.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at.checked_add(4)?)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// Writes a 16-bit field at an offset that the caller has proved.
pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Writes a 32-bit field at an offset that the caller has proved.
pub(crate) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Folds a sum of 16-bit words into one, in ones' complement (RFC 1071).
pub(crate) const fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of the 16-bit words of `bytes`, an odd last byte padded with zero; not folded.
/// For headers: 2^16 words would be the most that a u32 holds.
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    let pairs = bytes.chunks_exact(2);
    let odd = pairs
        .remainder()
        .first()
        .map_or(0, |&last| u32::from(last) << 8);
    pairs
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum::<u32>()
        + odd
}

/// Offset of the checksum in an IPv4 header.
const IPV4_CHECKSUM: usize = 10;

/// Computes and writes the checksum of an IPv4 header, options included (RFC 791).
pub(crate) fn finish_ipv4(header: &mut [u8]) {
    put16(header, IPV4_CHECKSUM, 0);
    let checksum = !fold(sum(header));
    put16(header, IPV4_CHECKSUM, checksum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_beyond_the_end_are_none() {
        assert_eq!(u16_at(&[1, 2, 3], 1), Some(0x0203));
        assert_eq!(u16_at(&[1, 2, 3], 2), None);
        assert_eq!(u32_at(&[1, 2, 3], 0), None);
        assert_eq!(u32_at(&[], usize::MAX), None);
    }

    #[test]
    fn a_finished_header_sums_to_ones() {
        // RFC 1071's promise to the receiver: the sum over header and checksum is all ones.
        let mut header = [0xa5; 24];
        header[0] = 0x46;
        finish_ipv4(&mut header);
        assert_eq!(fold(sum(&header)), 0xffff);
    }
}
