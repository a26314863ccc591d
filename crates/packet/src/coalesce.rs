//! TCP segments joined again before they go to the host: the reverse of `segment.rs`.
//!
//! The rules are those of the kernel's own receive offload (linux/net/ipv4/tcp_offload.c,
//! tcp_gro_receive): joined is only what cutting the result again gives back as it was.
//! Checksums are verified first, since the joined frame gets a new one. The payload is not
//! copied: the frame's body is a list of slices.
//!
//! Packets of one flow leave in the order in which they came; of different flows, they may not.

mod candidate;
mod flow;
mod likeness;

use crate::body::Slice;
use crate::flow::FlowKey;
use crate::frame::TxFrame;
use crate::header::{Ethernet, protocol};
use crate::parse::{Fragment, Parsed};
use crate::vnet_hdr::DATA_VALID;

use candidate::Candidate;
use flow::Flow;
use likeness::Facts;

/// Segments in one frame at most: what 64 KiB hold of segments of 1 KiB.
pub const MAX_SEGMENTS: usize = 64;

/// Flows open at once; the oldest makes room. A batch of 64 frames rarely holds more.
pub const MAX_FLOWS: usize = 16;

/// Joins TCP segments of one batch.
#[derive(Debug)]
pub struct Coalescer {
    max_bytes: usize,
    flows: Vec<Flow>,
    /// Which of them took the packet that was pushed last, if one did and is still open.
    last: Option<usize>,
}

impl Coalescer {
    /// Joined packets grow to at most `max_bytes` from layer 3 on, and never beyond what the
    /// length fields of IP can say.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes: max_bytes.min(usize::from(u16::MAX)),
            flows: Vec::with_capacity(MAX_FLOWS),
            last: None,
        }
    }

    /// Takes a packet from its IP header on, of which `parse_packet` made `parsed`, that goes
    /// up behind `eth`. Appends the frames that this completes to `out`.
    pub fn push(
        &mut self,
        eth: &[u8; Ethernet::LEN],
        packet: Slice<'_>,
        parsed: &Parsed,
        out: &mut Vec<TxFrame>,
    ) {
        self.last = None;
        if parsed.protocol != protocol::TCP && parsed.fragment == Fragment::Whole {
            out.push(TxFrame::behind(eth, packet, 0));
            return;
        }
        let key = FlowKey::of(parsed);
        if let Some(at) = self.flows.iter().position(|flow| flow.key == key) {
            if let Some(facts) = self.flows[at].next(eth, packet.bytes(), self.max_bytes) {
                self.join(at, packet, facts, out);
                return;
            }
            out.push(self.flows.remove(at).finish());
        }
        let Some(candidate) = Candidate::of(packet.bytes(), parsed) else {
            self.finish_related(&key, parsed.fragment, out);
            out.push(TxFrame::behind(eth, packet, 0));
            return;
        };
        if candidate.facts.ends() {
            out.push(TxFrame::behind(eth, packet, DATA_VALID));
            return;
        }
        let flow = Flow::new(eth, key, &candidate, packet);
        if self.flows.len() == MAX_FLOWS {
            out.push(self.flows.remove(0).finish());
        }
        self.last = Some(self.flows.len());
        self.flows.push(flow);
    }

    /// Takes a packet, of which nothing is known but that it begins with an IP header, where it is the
    /// next of the flow that took the last one, and answers its length. `None`: it may be anything;
    /// it was not taken, and is to be parsed and pushed.
    ///
    /// What it answers a length for has the addresses, ports and protocol of the packet before: a policy
    /// says the same to both.
    #[inline]
    pub fn push_next(
        &mut self,
        eth: &[u8; Ethernet::LEN],
        packet: Slice<'_>,
        out: &mut Vec<TxFrame>,
    ) -> Option<u32> {
        let at = self.last?;
        let facts = self.flows[at].next(eth, packet.bytes(), self.max_bytes)?;
        self.join(at, packet, facts, out);
        Some(facts.end() as u32)
    }

    /// Joins a packet to a flow whose next it is.
    #[inline]
    fn join(&mut self, at: usize, packet: Slice<'_>, facts: Facts, out: &mut Vec<TxFrame>) {
        let complete = self.flows[at].join(packet, facts);
        self.last = (!complete).then_some(at);
        if complete {
            out.push(self.flows.remove(at).finish());
        }
    }

    /// Packets that are open.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.flows.iter().map(Flow::packets).sum()
    }

    /// Ends the batch: all that is open goes to `out`, the oldest flow first.
    pub fn flush(&mut self, out: &mut Vec<TxFrame>) {
        self.last = None;
        out.extend(self.flows.drain(..).map(Flow::finish));
    }

    /// Finishes what a packet that cannot be joined must not overtake: its own flow, and where
    /// it is a fragment and so does not tell its flow, all between its addresses.
    fn finish_related(&mut self, key: &FlowKey, fragment: Fragment, out: &mut Vec<TxFrame>) {
        while let Some(at) = self.flows.iter().position(|flow| match fragment {
            Fragment::Whole => flow.key == *key,
            Fragment::First | Fragment::Later => flow.key.src == key.src && flow.key.dst == key.dst,
        }) {
            out.push(self.flows.remove(at).finish());
        }
    }
}
