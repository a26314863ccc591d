//! A job to seal in the making: what is copied, what is sealed, and what leaves behind which headers.

use esprit_crypto::Op;
use esprit_ipsec::encap::OuterTemplate;
use esprit_ipsec::esp;
use esprit_ipsec::sad::Mode;
use esprit_packet::SharedBuf;
use esprit_packet::parse::{Net, Parsed};
use esprit_packet::segment::Segment;
use smallvec::SmallVec;

use crate::group::Group;
use crate::l2;
use crate::sa::OutSa;

/// What is known of a job while its packets are sealed.
#[derive(Debug, Default)]
pub struct Sealing {
    pub(crate) groups: SmallVec<[Group; 2]>,
    pub(crate) packets: u32,
}

impl Sealing {
    /// How many packets.
    pub(crate) fn packets(&self) -> u64 {
        u64::from(self.packets)
    }
}

/// A job in the making: packets of one SA, gathered from one batch of frames.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) sa: u32,
    pub(crate) member: u32,
    pub(crate) frames: SmallVec<[SharedBuf; 4]>,
    pub(crate) headers: Vec<u8>,
    pub(crate) ops: Vec<Op>,
    pub(crate) meta: Sealing,
    pub(crate) dst: u32,
    pub(crate) segments: Vec<Segment>,
    /// Packets that it is to hold, as the engines stand.
    pub(crate) limit: usize,
}

/// What all segments of a frame have in common on their way into ESP.
pub(crate) struct Wrapping {
    spi: u32,
    esn: bool,
    salt: [u8; 4],
    /// Bytes of a segment's headers that are not sealed: in transport mode the IP header
    /// becomes the outer one.
    skip: usize,
    next_header: u8,
}

impl Wrapping {
    pub(crate) fn of(sa: &OutSa, parsed: &Parsed) -> Self {
        let (skip, next_header) = match sa.spec.mode {
            Mode::Tunnel if matches!(parsed.net, Net::Ipv6) => (0, esp::NEXT_HEADER_IPV6),
            Mode::Tunnel => (0, esp::NEXT_HEADER_IPV4),
            Mode::Transport => (usize::from(parsed.l4 - parsed.l3), parsed.protocol),
        };
        Self {
            spi: sa.spec.spi,
            esn: sa.spec.esn,
            salt: sa.salt,
            skip,
            next_header,
        }
    }
}

impl Draft {
    /// What comes next leaves behind these headers: with the packets before it, where they do too.
    pub(crate) fn begin(&mut self, member: u32, eth: l2::Header, outer: OuterTemplate) {
        let joins = self.meta.groups.last().is_some_and(|group| {
            group.member == member && group.eth == eth && group.outer.joins(&outer)
        });
        if !joins {
            self.meta.groups.push(Group::new(member, eth, outer));
        }
    }

    /// Adds one numbered segment of the last frame to the job: what is copied, what is sealed, what
    /// leaves where.
    pub(crate) fn add(&mut self, wrapping: &Wrapping, segment: &Segment, seq: u64) {
        let head = segment.head.start as usize + wrapping.skip..segment.head.end as usize;
        // The prefix stands before the plaintext, over what is no longer needed.
        let prefix = head.start - esp::PREFIX_LEN..head.start;
        if let Some(out) = self.headers[prefix.clone()].first_chunk_mut() {
            esp::write_prefix(out, wrapping.spi, seq);
        }
        let plain = head.len() + segment.body.len();
        let tail = head.end..head.end + esp::trailer_len(plain);
        let pad = esp::pad_len(plain);
        esp::write_trailer(&mut self.headers[tail.clone()], pad, wrapping.next_header);
        let (aad, aad_len) = esp::aad(wrapping.spi, seq, wrapping.esn);
        let len = esp::sealed_len(plain) as u32;
        self.ops.push(Op {
            nonce: esp::nonce(wrapping.salt, esp::iv(seq)),
            aad,
            aad_len,
            long_aad: (0, 0),
            frame: (self.frames.len() - 1) as u16,
            prefix: (prefix.start as u32, prefix.end as u32),
            head: (head.start as u32, head.end as u32),
            tail: (tail.start as u32, tail.end as u32),
            body: (segment.body.start, segment.body.end),
            dst: self.dst,
        });
        if let Some(group) = self.meta.groups.last_mut()
            && !group.join(self.dst, len)
        {
            let mut next = group.another();
            next.join(self.dst, len);
            self.meta.groups.push(next);
        }
        self.meta.packets += 1;
        self.dst += len;
    }
}
