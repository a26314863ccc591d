//! A VLAN tag that the kernel stripped, put back (IEEE 802.1Q, 9.3).

use esprit_packet::vnet_hdr::NEEDS_CSUM;
use esprit_packet::{Buf, VnetHdr};

/// Destination and source address, which stay in front of the tag.
const ADDRESSES: usize = 12;

/// A tag: TPID and TCI.
pub const TAG: usize = 4;

/// What the kernel says beside a frame (`struct tpacket_auxdata`, linux/if_packet.h): the tag's
/// four bytes as they were on the wire.
pub type Tag = [u8; TAG];

/// TP_STATUS_VLAN_VALID and TP_STATUS_VLAN_TPID_VALID (linux/if_packet.h).
const VLAN_VALID: u32 = 1 << 4;
const VLAN_TPID_VALID: u32 = 1 << 6;

/// IEEE 802.1Q C-tag: what a tag without a stated TPID is.
const TPID_CUSTOMER: u16 = 0x8100;

/// The tag that auxiliary data name, if they do.
pub fn tag(aux: &libc::tpacket_auxdata) -> Option<Tag> {
    if aux.tp_status & VLAN_VALID == 0 {
        return None;
    }
    let tpid = match aux.tp_status & VLAN_TPID_VALID {
        0 => TPID_CUSTOMER,
        _ => aux.tp_vlan_tpid,
    };
    let [a, b] = tpid.to_be_bytes();
    let [c, d] = aux.tp_vlan_tci.to_be_bytes();
    Some([a, b, c, d])
}

/// Puts `tag` between the addresses and the rest of the frame in `buf`, which has at least an
/// Ethernet header and four bytes of headroom, and moves what `vnet` says to where it now is.
pub fn insert(buf: &mut Buf, vnet: &mut VnetHdr, tag: Tag) {
    buf.push_front(TAG);
    let data = buf.data_mut();
    data.copy_within(TAG..TAG + ADDRESSES, 0);
    data[ADDRESSES..ADDRESSES + TAG].copy_from_slice(&tag);
    if vnet.flags & NEEDS_CSUM != 0 {
        vnet.csum_start = vnet.csum_start.saturating_add(TAG as u16);
    }
    if vnet.hdr_len != 0 {
        vnet.hdr_len = vnet.hdr_len.saturating_add(TAG as u16);
    }
}

#[cfg(test)]
mod tests {
    use esprit_packet::Pool;
    use esprit_packet::vnet_hdr::GSO_TCPV4;

    use super::*;

    fn aux(status: u32) -> libc::tpacket_auxdata {
        libc::tpacket_auxdata {
            tp_status: status,
            tp_len: 0,
            tp_snaplen: 0,
            tp_mac: 0,
            tp_net: 0,
            tp_vlan_tci: 0x2064,
            tp_vlan_tpid: 0x88a8,
        }
    }

    #[test]
    fn a_tag_is_there_only_when_the_kernel_says_so() {
        assert_eq!(tag(&aux(0)), None);
        assert_eq!(tag(&aux(VLAN_VALID)), Some([0x81, 0x00, 0x20, 0x64]));
        let both = VLAN_VALID | VLAN_TPID_VALID;
        assert_eq!(tag(&aux(both)), Some([0x88, 0xa8, 0x20, 0x64]));
    }

    #[test]
    fn a_tag_put_back_moves_the_checksum_with_the_bytes() {
        let pool = Pool::new(1, 0);
        let mut buf = pool.get(64).unwrap();
        buf.append(b"ddddddssssss\x08\x00payload");
        let mut vnet = VnetHdr {
            flags: NEEDS_CSUM,
            gso_type: GSO_TCPV4,
            hdr_len: 54,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
        };
        insert(&mut buf, &mut vnet, [0x81, 0x00, 0x00, 0x05]);
        assert_eq!(buf.data(), b"ddddddssssss\x81\x00\x00\x05\x08\x00payload");
        assert_eq!(
            (vnet.hdr_len, vnet.csum_start, vnet.csum_offset),
            (58, 38, 16)
        );
        let mut plain = VnetHdr::default();
        insert(&mut buf, &mut plain, [0x88, 0xa8, 0x00, 0x06]);
        assert_eq!(
            buf.data(),
            b"ddddddssssss\x88\xa8\x00\x06\x81\x00\x00\x05\x08\x00payload"
        );
        assert_eq!(plain, VnetHdr::default());
    }
}
