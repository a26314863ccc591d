//! Peers that ask where to send: each flow of such a source as it begins, after which it follows
//! every answer. What the host's stack answers names the team's one address; with `receive =
//! "balance"` the worker makes it name a member's, and tells anew who was told a member that is lost.

use super::{NEXT_HOP, Simulation};
use crate::traffic::FlowSpec;

/// Ethernet header and an ARP packet of IPv4 over Ethernet (RFC 826).
const ARP: usize = 14 + 28;
/// EtherType ARP; hardware type Ethernet, protocol IPv4, lengths 6 and 4; a reply.
const REPLY: [u8; 10] = [8, 6, 0, 1, 8, 0, 6, 4, 0, 2];

/// An answer: `ours` is at `own`, for `peer`.
fn reply(own: [u8; 6], ours: [u8; 4], peer: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ARP);
    frame.extend_from_slice(&NEXT_HOP);
    frame.extend_from_slice(&own);
    frame.extend_from_slice(&REPLY);
    frame.extend_from_slice(&own);
    frame.extend_from_slice(&ours);
    frame.extend_from_slice(&NEXT_HOP);
    frame.extend_from_slice(&peer);
    frame
}

impl Simulation {
    /// A flow's peer has asked for our address, and the host's stack answers.
    pub(super) fn answer(&mut self, team: u32, flow: &FlowSpec) {
        let own = self.team_macs.get(&team).copied().unwrap_or_default().0;
        if let Some(host) = self.wires.hosts.get_mut(&team)
            && host.down.len() < self.config.host_queue
        {
            host.down
                .push_back(reply(own, flow.dst.octets(), flow.src.octets()));
        }
        // The answer is no packet of a flow, and is dropped like one where nobody can send it.
        self.announces = true;
        self.wake_at(self.now);
    }

    /// Takes in what an answer on a wire says.
    pub(super) fn told(&mut self, frame: &[u8]) {
        let is_reply = frame.get(12..22) == Some(&REPLY);
        if let (true, Some(own), Some(ours), Some(peer)) = (
            is_reply,
            frame.get(22..).and_then(<[u8]>::first_chunk::<6>),
            frame.get(28..).and_then(<[u8]>::first_chunk::<4>),
            frame.get(38..).and_then(<[u8]>::first_chunk::<4>),
        ) {
            self.neighbours
                .insert(((*ours).into(), (*peer).into()), *own);
        }
    }

    /// Where a flow's peer sends: to the member that it is pinned to, or where it was told.
    pub(super) fn destination(&self, flow: &FlowSpec) -> Option<[u8; 6]> {
        let pinned = flow.via.and_then(|via| {
            let mut members = self.member_macs.iter();
            members.find(|(_, (id, _))| *id == via)
        });
        let told = self.neighbours.get(&(flow.dst, flow.src)).copied();
        pinned.map(|(&mac, _)| mac).or(told)
    }
}
