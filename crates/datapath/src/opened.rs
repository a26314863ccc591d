//! The end of the journey in: opened packets, in the order of their arrival.
//!
//! ```text
//! handle_opened   ICV -> replay commit -> trailer -> inner packet -> inbound policy
//!                 -> coalesce -> virtual NIC
//! ```

use esprit_ipsec::sad::Mode;
use esprit_ipsec::spd::{Action, Verdict};
use esprit_ipsec::{encap, esp, ids::PolicyId};
use esprit_packet::parse::{Net, Parsed, parse_packet};
use esprit_packet::{Slice, TxFrame, VnetHdr};
use smallvec::SmallVec;

use crate::drops::{LastDrop, Trail, Way, headers};
use crate::inbound::{Opening, Packet, replayed};
use crate::l2;
use crate::sa::Ready;
use crate::verdict::DropReason;
use crate::worker::Worker;

/// A packet that was opened and may go up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    /// Which of the job's frames it came in, and where that frame's layer 3 begins.
    frame: u16,
    l3: u16,
    /// Where it begins in the job's output, and what it is.
    start: u32,
    parsed: Parsed,
}

/// The packet of the job that was looked at last. Policies see the same in the next one of its TCP
/// flow, so neither headers nor policies are read again.
struct Last {
    start: u32,
    parsed: Parsed,
    verdict: Verdict,
}

impl Last {
    /// What is known of the packet at `start`, if it is such a one.
    fn next(&self, dst: &[u8], start: usize, end: usize) -> Option<(Parsed, Verdict)> {
        let before = dst.get(self.start as usize..)?;
        let parsed = self.parsed.of_next(before, dst.get(start..end)?)?;
        Some((parsed, self.verdict))
    }
}

impl Worker {
    /// Opened jobs of an SA whose turn has come.
    pub(crate) fn handle_opened(&mut self, sa_id: u32) {
        while let Some(sa) = self.sas.inbound.get_mut(&sa_id)
            && let Some(ready) = sa.release.pop()
        {
            self.deliver(sa_id, ready);
        }
        if let Some(sa) = self.sas.inbound.get(&sa_id)
            && sa.deleted
            && sa.release.is_empty()
        {
            self.sas.inbound.remove(&sa_id);
        }
    }

    fn deliver(&mut self, sa_id: u32, ready: Ready<Opening>) {
        let Some(sa) = self.sas.inbound.get_mut(&sa_id) else {
            return;
        };
        let Some(team) = self.teams.get_mut(&sa.spec.team) else {
            return;
        };
        let Some(input) = ready.meta.input else {
            return;
        };
        let mut dst = ready.dst;
        let accepted = &mut self.accepted;
        accepted.clear();
        let mut last: Option<Last> = None;
        for (n, packet) in ready.meta.packets.iter().enumerate() {
            let Some(outer) = input.frames.get(usize::from(packet.frame)) else {
                continue;
            };
            let checked = if ready.bad_icv >> n & 1 == 1 {
                Err(DropReason::Icv)
            } else {
                sa.replay
                    .commit(packet.seq)
                    .map_err(replayed)
                    .and_then(|()| {
                        inner(
                            sa.spec.mode,
                            packet,
                            outer.data(),
                            dst.data_mut(),
                            last.as_ref(),
                        )
                    })
            };
            let checked = checked.and_then(|(start, parsed, known)| {
                let verdict = known
                    .unwrap_or_else(|| team.spd.lookup_in(&parsed, &dst.data()[start as usize..]));
                last = Some(Last {
                    start,
                    parsed,
                    verdict,
                });
                let covered = match sa.spec.policy {
                    Some(policy) => verdict.policy == Some(PolicyId(policy)),
                    None => true,
                };
                if verdict.action != Action::Protect || !covered {
                    return Err(DropReason::InboundPolicy);
                }
                if let Some(policy) = verdict.policy.and_then(|id| team.policies.get_mut(&id.0)) {
                    policy.traffic.count(1, u64::from(parsed.end));
                }
                Ok((start, parsed))
            });
            match checked {
                Ok((start, parsed)) => {
                    sa.traffic.count(1, u64::from(packet.esp_len));
                    accepted.push(Accepted {
                        frame: packet.frame,
                        l3: packet.l3,
                        start,
                        parsed,
                    });
                }
                Err(reason) => {
                    sa.drops.count(reason, 1);
                    // What policy refuses was read; before that only the outer packet is known.
                    let inner = last.as_ref();
                    let inner = inner.filter(|_| reason == DropReason::InboundPolicy);
                    let parsed = match inner {
                        Some(last) => Some(last.parsed),
                        None => headers(outer.data()),
                    };
                    let policy = match inner {
                        Some(last) => last.verdict.policy.map(|id| id.0),
                        None => sa.spec.policy,
                    };
                    let trail = Trail {
                        policy,
                        sa: Some(sa_id),
                        member: Some(ready.meta.member),
                        engine: Some(ready.engine),
                    };
                    let drop = LastDrop::new(self.now, Way::In, reason, parsed.as_ref(), trail, 1);
                    team.last_drop = Some(drop);
                }
            }
        }
        let opened = dst.share();
        let mut out = Vec::new();
        let mut eth = (u16::MAX, l2::Header::new());
        for packet in accepted.drain(..) {
            let ethertype = match packet.parsed.net {
                Net::Ipv6 => l2::IPV6,
                Net::Ipv4 | Net::Arp | Net::Other(_) | Net::Encapsulated(_) => l2::IPV4,
            };
            // One frame's packets go up behind one Ethernet header, unless they are of two kinds.
            let stale = eth.0 != packet.frame || !eth.1.ends_with(&ethertype.to_be_bytes());
            if stale && let Some(outer) = input.frames.get(usize::from(packet.frame)) {
                let mut header = l2::retyped(outer.data(), usize::from(packet.l3), ethertype);
                l2::set_destination(&mut header, team.mac);
                eth = (packet.frame, header);
            }
            let slice = Slice {
                buf: opened.clone(),
                start: packet.start,
                end: packet.start + packet.parsed.end,
            };
            match <&[u8; 14]>::try_from(eth.1.as_slice()) {
                Ok(eth) => team.coalescer.push(eth, slice, &packet.parsed, &mut out),
                // Tagged: as it is. The tag is part of the frame, not of the packet.
                Err(_) => out.push(TxFrame {
                    vnet: VnetHdr::default(),
                    head: SmallVec::from_slice(&eth.1),
                    body: smallvec::smallvec![slice],
                }),
            }
        }
        team.up.extend(out);
    }
}

/// The packet inside: where it begins in the output, what it is, and what policies say to it where
/// that is known already.
fn inner(
    mode: Mode,
    packet: &Packet,
    outer: &[u8],
    dst: &mut [u8],
    last: Option<&Last>,
) -> Result<(u32, Parsed, Option<Verdict>), DropReason> {
    let at = packet.dst as usize;
    let plain_len = packet.esp_len as usize - esp::PREFIX_LEN - esp::ICV_LEN;
    let plain = &mut dst[at..at + plain_len];
    let trailer = esp::parse_trailer(plain).map_err(|_| DropReason::Trailer)?;
    if trailer.is_dummy() {
        return Err(DropReason::Dummy);
    }
    let l3 = usize::from(packet.l3);
    let outer_header = &outer[l3..l3 + usize::from(packet.l3_len)];
    let start = match mode {
        Mode::Tunnel => {
            let inner = &mut plain[..trailer.payload_len];
            encap::decapsulate_ecn(outer_header, inner).map_err(|_| DropReason::Congestion)?;
            at
        }
        Mode::Transport => {
            let start = at - usize::from(packet.l3_len);
            let (header, payload) = (&mut dst[start..at], trailer.payload_len);
            let next_header = trailer.next_header;
            encap::restore_transport(outer_header, header, payload, next_header, packet.nth)
                .map_err(|_| DropReason::InnerMalformed)?;
            start
        }
    };
    let end = at + trailer.payload_len;
    let (parsed, verdict) = match last.and_then(|last| last.next(dst, start, end)) {
        Some((parsed, verdict)) => (parsed, Some(verdict)),
        None => {
            let parsed = parse_packet(&dst[start..end]);
            (parsed.map_err(|_| DropReason::InnerMalformed)?, None)
        }
    };
    let announced = match (mode, trailer.next_header) {
        (Mode::Transport, _) => true,
        (Mode::Tunnel, esp::NEXT_HEADER_IPV4) => matches!(parsed.net, Net::Ipv4),
        (Mode::Tunnel, esp::NEXT_HEADER_IPV6) => matches!(parsed.net, Net::Ipv6),
        (Mode::Tunnel, _) => false,
    };
    if !announced {
        return Err(DropReason::InnerMalformed);
    }
    Ok((start as u32, parsed, verdict))
}
