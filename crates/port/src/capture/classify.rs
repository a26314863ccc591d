//! What an eavesdropper takes a frame for. Written apart from the parser of the data path, so
//! that a fault there is not shared by who judges it.

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ESP, native or in UDP 4500.
    Esp,
    /// IKE: UDP 500, or UDP 4500 with the non-ESP marker, or a NAT keepalive (RFC 3948).
    Ike,
    /// ARP.
    Arp,
    /// ICMPv6 of neighbour discovery, router solicitation to redirect (RFC 4861), or of multicast
    /// listeners (RFC 3810).
    Neighbour,
    /// Any other IP: plaintext.
    Plain,
    /// Not IP.
    Other,
}

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

const UDP: u8 = 17;
const ESP: u8 = 50;
const ICMPV6: u8 = 58;
/// Hop-by-hop options, routing, destination options: all `next, length in 8 bytes less one`.
const EXTENSIONS: [u8; 3] = [0, 43, 60];

const PORT_IKE: u16 = 500;
const PORT_NAT_T: u16 = 4500;

/// What `frame` is, from its Ethernet header on; what is cut short counts as plain.
pub fn classify(frame: &[u8]) -> Kind {
    let mut at = 12;
    let mut ethertype = half(frame, at);
    while ethertype.is_some_and(|kind| VLAN.contains(&kind)) {
        at += 4;
        ethertype = half(frame, at);
    }
    let packet = frame.get(at + 2..).unwrap_or_default();
    match ethertype {
        Some(ARP) => Kind::Arp,
        Some(IPV4) => ipv4(packet).unwrap_or(Kind::Plain),
        Some(IPV6) => ipv6(packet).unwrap_or(Kind::Plain),
        Some(_) | None => Kind::Other,
    }
}

fn ipv4(packet: &[u8]) -> Option<Kind> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    let protocol = *packet.get(9)?;
    // A later fragment has no ports. ESP is told by the protocol in any fragment.
    let first = half(packet, 6)? & 0x1fff == 0;
    transport(protocol, first, packet.get(header..)?)
}

fn ipv6(packet: &[u8]) -> Option<Kind> {
    let mut next = *packet.get(6)?;
    let mut rest = packet.get(40..)?;
    while EXTENSIONS.contains(&next) {
        next = *rest.first()?;
        rest = rest.get(usize::from(*rest.get(1)?) * 8 + 8..)?;
    }
    transport(next, true, rest)
}

fn transport(protocol: u8, first: bool, bytes: &[u8]) -> Option<Kind> {
    match protocol {
        ESP => Some(Kind::Esp),
        UDP if first => {
            let (from, to) = (half(bytes, 0)?, half(bytes, 2)?);
            let payload = bytes.get(8..)?;
            if from == PORT_NAT_T || to == PORT_NAT_T {
                let marked = payload.starts_with(&[0; 4]) || payload == [0xff];
                return Some(if marked { Kind::Ike } else { Kind::Esp });
            }
            Some(if from == PORT_IKE || to == PORT_IKE {
                Kind::Ike
            } else {
                Kind::Plain
            })
        }
        ICMPV6 => match *bytes.first()? {
            133..=137 | 130..=132 | 143 => Some(Kind::Neighbour),
            _ => Some(Kind::Plain),
        },
        _ => Some(Kind::Plain),
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tags: &[u8], ethertype: u16, packet: &[u8]) -> Vec<u8> {
        [&[2; 12], tags, &ethertype.to_be_bytes(), packet].concat()
    }

    fn v4(protocol: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet.extend(rest);
        frame(&[], IPV4, &packet)
    }

    fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[6] = next;
        packet.extend(rest);
        frame(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2], IPV6, &packet)
    }

    fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 4], payload].concat()
    }

    #[test]
    fn esp_is_found_native_and_in_udp() {
        assert_eq!(classify(&v4(ESP, 0, b"spi.")), Kind::Esp);
        assert_eq!(classify(&v4(ESP, 0x2005, b"spi.")), Kind::Esp);
        assert_eq!(classify(&v6(ESP, b"spi.")), Kind::Esp);
        assert_eq!(classify(&v6(60, b"\x32\0aaaaaaspi.")), Kind::Esp);
        assert_eq!(
            classify(&v4(UDP, 0, &udp(4500, 4500, b"\0\0\x01\0"))),
            Kind::Esp
        );
    }

    #[test]
    fn what_is_open_by_rule_is_told_from_plaintext() {
        assert_eq!(classify(&v4(UDP, 0, &udp(500, 500, b"ike"))), Kind::Ike);
        assert_eq!(classify(&v4(UDP, 0, &udp(4500, 4500, &[0; 8]))), Kind::Ike);
        assert_eq!(classify(&v4(UDP, 0, &udp(4500, 4500, &[0xff]))), Kind::Ike);
        assert_eq!(classify(&frame(&[], ARP, &[0; 28])), Kind::Arp);
        assert_eq!(classify(&v6(ICMPV6, &[135, 0, 0, 0])), Kind::Neighbour);
        assert_eq!(classify(&frame(&[], 0x88cc, &[0; 28])), Kind::Other);
    }

    #[test]
    fn everything_else_that_is_ip_is_plaintext() {
        assert_eq!(classify(&v4(6, 0, &[0; 20])), Kind::Plain);
        assert_eq!(classify(&v4(UDP, 0, &udp(53, 5353, b"query"))), Kind::Plain);
        // A later fragment that happens to look like the port.
        assert_eq!(
            classify(&v4(UDP, 0x0003, &udp(4500, 4500, b"data"))),
            Kind::Plain
        );
        assert_eq!(classify(&v6(ICMPV6, &[128, 0, 0, 0])), Kind::Plain);
        assert_eq!(classify(&v4(UDP, 0, &[0; 3])), Kind::Plain);
        assert_eq!(classify(&frame(&[], IPV6, &[0x60])), Kind::Plain);
    }
}
