//! What the headers of all segments of a joined packet have in common, compared at one stroke.

use zerocopy::FromBytes;

use crate::body::Slice;
use crate::checksum::Sum;
use crate::header::{Ipv4, Ipv6, Tcp};

/// Words of the longest headers: IPv6, and TCP with all its options.
const WORDS: usize = (Ipv6::LEN + 60) / 8 + 1;

/// What a segment says for itself.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    /// Bytes of headers, and of payload.
    pub(super) header: usize,
    pub(super) len: usize,
    /// Sequence number.
    pub(super) seq: u32,
    /// Identification of an IPv4 packet; zero of an IPv6 packet, which has none.
    pub(super) id: u16,
    /// FIN and PSH.
    pub(super) flags: u8,
}

impl Facts {
    /// Nothing is joined behind FIN or PSH.
    pub(super) const fn ends(self) -> bool {
        self.flags != 0
    }

    /// Where the packet ends.
    pub(super) const fn end(self) -> usize {
        self.header + self.len
    }

    /// The payload in `packet`, of which these are the facts.
    pub(super) fn payload(self, packet: Slice<'_>) -> Slice<'_> {
        let start = packet.start + self.header as u32;
        Slice {
            start,
            end: start + self.len as u32,
            ..packet
        }
    }
}

/// Eight bytes that all have, where the mask is set.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    bytes: u64,
    mask: u64,
}

impl Word {
    fn of(bytes: [u8; 8], mask: [u8; 8]) -> Self {
        let mask = u64::from_ne_bytes(mask);
        let bytes = u64::from_ne_bytes(bytes) & mask;
        Self { bytes, mask }
    }

    /// The bits in which these bytes differ.
    fn differ(self, bytes: [u8; 8]) -> u64 {
        u64::from_ne_bytes(bytes) & self.mask ^ self.bytes
    }
}

/// The headers of a flow's first segment, from layer 3 on, less all in which segments may differ: number,
/// length, identification, checksums, FIN and PSH.
#[derive(Clone, Debug)]
pub(super) struct Likeness {
    /// Whole words from the start; the last one ends where the headers do, and may overlap.
    words: [Word; WORDS],
    last: Word,
    /// Bytes of headers, and where layer 4 begins.
    header: usize,
    l4: usize,
    /// Identifications say nothing: IPv6 has none, and where DF is set they may all be zero (RFC 6864
    /// section 4.1).
    unnumbered: bool,
    /// Sum of the IPv4 header less length, identification and checksum.
    network: Sum,
    /// Sum of TCP's pseudo-header less the length.
    pseudo: Sum,
}

impl Likeness {
    /// Of headers that were parsed: IPv4 without options or IPv6 without extension headers, and TCP. `None`
    /// where they are not.
    pub(super) fn of(headers: &[u8], ipv4: bool, pseudo: Sum) -> Option<Self> {
        let l4 = if ipv4 { Ipv4::LEN } else { Ipv6::LEN };
        let mut masks = [0xff_u8; WORDS * 8];
        let mask = masks.get_mut(..headers.len())?;
        let (network, transport) = mask.split_at_mut_checked(l4)?;
        let (mut unnumbered, mut sum) = (true, Sum::default());
        if let Ok(mask) = Ipv4::mut_from_bytes(network) {
            let (ip, _) = Ipv4::ref_from_prefix(headers).ok()?;
            mask.total_len.set(0);
            mask.id.set(0);
            mask.checksum.set(0);
            unnumbered = ip.fragment.get() & Ipv4::DF != 0 && ip.id.get() == 0;
            sum = sum
                .add(&headers[..l4])
                .word(!ip.total_len.get())
                .word(!ip.id.get())
                .word(!ip.checksum.get());
        } else {
            let (mask, _) = Ipv6::mut_from_prefix(network).ok()?;
            mask.payload_len.set(0);
        }
        let (tcp, _) = Tcp::mut_from_prefix(transport).ok()?;
        tcp.seq.set(0);
        tcp.flags = !(Tcp::PSH | Tcp::FIN);
        tcp.checksum.set(0);

        let mut words = [Word::default(); WORDS];
        let whole = headers.as_chunks().0.iter().zip(mask.as_chunks().0);
        for (word, (&bytes, &mask)) in words.iter_mut().zip(whole) {
            *word = Word::of(bytes, mask);
        }
        Some(Self {
            words,
            last: Word::of(*headers.last_chunk()?, *mask.last_chunk()?),
            header: headers.len(),
            l4,
            unnumbered,
            network: sum,
            pseudo,
        })
    }

    /// Whether these headers, as many bytes as the first's, are like them.
    #[inline]
    fn holds(&self, headers: &[u8]) -> bool {
        let (whole, _) = headers.as_chunks();
        let words = self.words.iter().zip(whole);
        let differ = words.fold(0, |differ, (word, &bytes)| differ | word.differ(bytes));
        let last = headers.last_chunk().map(|&bytes| self.last.differ(bytes));
        last == Some(0) && differ == 0
    }

    /// What a packet says for itself, where it is like the first and has data. Its TCP checksum is yet to
    /// be looked at.
    #[inline]
    pub(super) fn read(&self, packet: &[u8]) -> Option<Facts> {
        let headers = packet.get(..self.header)?;
        if !self.holds(headers) {
            return None;
        }
        let (network, transport) = headers.split_at(self.l4);
        let (tcp, _) = Tcp::ref_from_prefix(transport).ok()?;
        let end = if let Ok(ip) = Ipv4::ref_from_bytes(network) {
            let sum = self.network.word(ip.total_len.get()).word(ip.id.get());
            if sum.word(ip.checksum.get()).finish() != 0 {
                return None;
            }
            usize::from(ip.total_len.get())
        } else {
            let (ip, _) = Ipv6::ref_from_prefix(network).ok()?;
            Ipv6::LEN + usize::from(ip.payload_len.get())
        };
        let data = self.header < end && end <= packet.len();
        data.then(|| self.facts(headers, tcp, end))
    }

    /// What a packet with these headers says for itself, which ends at `end`.
    #[inline]
    pub(super) fn facts(&self, headers: &[u8], tcp: &Tcp, end: usize) -> Facts {
        Facts {
            header: self.header,
            len: end - self.header,
            seq: tcp.seq.get(),
            id: match Ipv4::ref_from_bytes(&headers[..self.l4]) {
                Ok(ip) => ip.id.get(),
                Err(_) => 0,
            },
            flags: tcp.flags & (Tcp::PSH | Tcp::FIN),
        }
    }

    /// Whether an identification follows one before it as it will when the joined packet is cut.
    #[inline]
    pub(super) const fn follows(&self, id: u16, next: u16) -> bool {
        id == next || (self.unnumbered && id == 0)
    }

    /// Whether the checksum of a packet is right that is like the first and ends at `end`.
    #[inline]
    pub(super) fn transport_checksum_ok(&self, packet: &[u8], end: usize) -> bool {
        packet.get(self.l4..end).is_some_and(|segment| {
            let sum = self.pseudo.word(segment.len() as u16).add(segment);
            sum.finish() == 0
        })
    }

    /// Length of the layer 3 header.
    pub(super) const fn l3_len(&self) -> usize {
        self.l4
    }
}
