//! Ethernet headers, as the data path writes them.

use smallvec::SmallVec;

use crate::plan::Mac;

/// Destination and source, 6 bytes each.
pub const ADDRESSES: usize = 12;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// An Ethernet header with at most two VLAN tags: 14 + 8 bytes.
pub type Header = SmallVec<[u8; 22]>;

/// The destination address of a frame that parsed.
#[must_use]
pub fn destination(frame: &[u8]) -> Mac {
    address(frame, 0)
}

/// The source address of a frame that parsed.
#[must_use]
pub fn source(frame: &[u8]) -> Mac {
    address(frame, 6)
}

fn address(frame: &[u8], at: usize) -> Mac {
    let mut mac = [0; 6];
    if let Some(bytes) = frame.get(at..at + 6) {
        mac.copy_from_slice(bytes);
    }
    Mac(mac)
}

/// Writes the source address into a frame.
pub fn set_source(frame: &mut [u8], mac: Mac) {
    if let Some(bytes) = frame.get_mut(6..ADDRESSES) {
        bytes.copy_from_slice(&mac.0);
    }
}

/// Writes the destination address into a frame.
pub fn set_destination(frame: &mut [u8], mac: Mac) {
    if let Some(bytes) = frame.get_mut(..6) {
        bytes.copy_from_slice(&mac.0);
    }
}

/// The header of `frame` up to its layer 3 at `l3`, VLAN tags included, with another
/// EtherType.
#[must_use]
pub fn retyped(frame: &[u8], l3: usize, ethertype: u16) -> Header {
    let mut header = Header::from_slice(frame.get(..l3).unwrap_or_default());
    let at = header.len().saturating_sub(2);
    if let Some(bytes) = header.get_mut(at..) {
        bytes.copy_from_slice(&ethertype.to_be_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_stay_where_the_type_changes() {
        let mut frame = vec![0xaa; 12];
        frame.extend_from_slice(&[0x81, 0x00, 0x00, 0x64, 0x08, 0x00, 0x45]);
        let header = retyped(&frame, 18, IPV6);
        assert_eq!(header[12..], [0x81, 0x00, 0x00, 0x64, 0x86, 0xdd]);
        set_source(&mut frame, Mac([1; 6]));
        set_destination(&mut frame, Mac([2; 6]));
        assert_eq!(
            (source(&frame), destination(&frame)),
            (Mac([1; 6]), Mac([2; 6]))
        );
    }
}
