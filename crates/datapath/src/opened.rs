//! The end of the journey in: opened packets, in the order of their arrival.
//!
//! ```text
//! handle_opened   ICV -> replay commit -> trailer -> inner packet -> inbound policy
//!                 -> coalesce -> virtual NIC
//! ```
//!
//! Segments of one TCP flow in a row are a [`Run`]: what is known of the first holds for all.

use esprit_crypto::JobInput;
use esprit_ipsec::sad::Mode;
use esprit_ipsec::spd::Action;
use esprit_ipsec::{encap, esp, ids::PolicyId};
use esprit_packet::parse::{Net, Parsed, parse_packet};
use esprit_packet::{Body, SharedBuf, Slice, TxFrame, VnetHdr};
use smallvec::SmallVec;

use crate::drops::{LastDrop, Trail, Way, headers};
use crate::inbound::{Opening, Packet, replayed};
use crate::l2;
use crate::sa::{InSa, Ready};
use crate::team::Team;
use crate::verdict::DropReason;
use crate::worker::Worker;

/// Packets of one TCP flow in a row, or a single packet. Policies see the same in all of them, so
/// neither headers nor policies are read again.
#[derive(Debug)]
struct Run {
    /// Where the first begins in the job's output.
    start: u32,
    /// What the first is; the others in all but their end.
    parsed: Parsed,
    /// The policy that matched.
    policy: Option<u32>,
    /// It is the one that the SA is for, and says protect.
    allowed: bool,
    /// Packets that may go up, and their bytes.
    packets: u64,
    bytes: u64,
}

/// A packet that was opened and may go up.
#[derive(Debug)]
struct Accepted {
    /// Which of the job's frames it came in, and where that frame's layer 3 begins.
    frame: u16,
    l3: u16,
    /// Its run.
    run: u16,
    /// Where it lies in the job's output.
    start: u32,
    end: u32,
}

/// What is found in a job's output, kept from job to job for its memory.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    runs: Vec<Run>,
    accepted: Vec<Accepted>,
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
        let opened = &mut self.opened;
        opened.runs.clear();
        opened.accepted.clear();
        for (n, packet) in ready.meta.packets.iter().enumerate() {
            let Some(outer) = input.frames.get(usize::from(packet.frame)) else {
                continue;
            };
            let checked = if ready.bad_icv >> n & 1 == 1 {
                Err(DropReason::Icv)
            } else {
                let committed = sa.replay.commit(packet.seq).map_err(replayed);
                committed.and_then(|()| opened.look(sa, team, packet, outer.data(), dst.data_mut()))
            };
            if let Err(reason) = checked {
                sa.drops.count(reason, 1);
                // What policy refuses was read; before that only the outer packet is known.
                let run = opened.runs.last();
                let run = run.filter(|_| reason == DropReason::InboundPolicy);
                let parsed = match run {
                    Some(run) => Some(run.parsed),
                    None => headers(outer.data()),
                };
                let trail = Trail {
                    policy: run.map_or(sa.spec.policy, |run| run.policy),
                    sa: Some(sa_id),
                    member: Some(ready.meta.member),
                    engine: Some(ready.engine),
                };
                let drop = LastDrop::new(self.now, Way::In, reason, parsed.as_ref(), trail, 1);
                team.last_drop = Some(drop);
            }
        }
        for run in &opened.runs {
            if let Some(policy) = run.policy.and_then(|id| team.policies.get_mut(&id)) {
                policy.traffic.count(run.packets, run.bytes);
            }
        }
        opened.go_up(team, &input, &dst.share());
        self.spares.give(input, ready.meta.packets);
    }
}

impl Opened {
    /// Looks at a packet whose number is its own: what is inside, and what policy says to it.
    fn look(
        &mut self,
        sa: &mut InSa,
        team: &Team,
        packet: &Packet,
        outer: &[u8],
        dst: &mut [u8],
    ) -> Result<(), DropReason> {
        let (start, end, next_header) = inner(sa.spec.mode, packet, outer, dst)?;
        let bytes = &dst[start..end];
        let known = self.runs.last().and_then(|run| {
            let first = dst.get(run.start as usize..)?;
            run.parsed.end_of_next(first, bytes)
        });
        let len = match known {
            Some(len) => len,
            None => {
                let parsed = parse_packet(bytes).map_err(|_| DropReason::InnerMalformed)?;
                let verdict = team.spd.lookup_in(&parsed, bytes);
                let covered = match sa.spec.policy {
                    Some(policy) => verdict.policy == Some(PolicyId(policy)),
                    None => true,
                };
                self.runs.push(Run {
                    start: start as u32,
                    parsed,
                    policy: verdict.policy.map(|id| id.0),
                    allowed: verdict.action == Action::Protect && covered,
                    packets: 0,
                    bytes: 0,
                });
                parsed.end
            }
        };
        let at = self.runs.len() - 1;
        let run = &mut self.runs[at];
        let announced = match (sa.spec.mode, next_header) {
            (Mode::Transport, _) => true,
            (Mode::Tunnel, esp::NEXT_HEADER_IPV4) => matches!(run.parsed.net, Net::Ipv4),
            (Mode::Tunnel, esp::NEXT_HEADER_IPV6) => matches!(run.parsed.net, Net::Ipv6),
            (Mode::Tunnel, _) => false,
        };
        if !announced {
            return Err(DropReason::InnerMalformed);
        }
        if !run.allowed {
            return Err(DropReason::InboundPolicy);
        }
        run.packets += 1;
        run.bytes += u64::from(len);
        sa.traffic.count(1, u64::from(packet.esp_len));
        self.accepted.push(Accepted {
            frame: packet.frame,
            l3: packet.l3,
            run: at as u16,
            start: start as u32,
            end: start as u32 + len,
        });
        Ok(())
    }

    /// Hands what may go up to the team's virtual NIC, behind the Ethernet headers of what it came in.
    fn go_up(&mut self, team: &mut Team, input: &JobInput, opened: &SharedBuf) {
        let mut out = Vec::new();
        let mut eth = (u16::MAX, l2::Header::new());
        let mut before = None;
        for packet in self.accepted.drain(..) {
            let Some(run) = self.runs.get(usize::from(packet.run)) else {
                continue;
            };
            let ethertype = match run.parsed.net {
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
                buf: opened,
                start: packet.start,
                end: packet.end,
            };
            let again = before.replace(packet.run) == Some(packet.run);
            match <&[u8; 14]>::try_from(eth.1.as_slice()) {
                Ok(eth) if again => team.coalescer.push_next(eth, slice, &run.parsed, &mut out),
                Ok(eth) => team.coalescer.push(eth, slice, &run.parsed, &mut out),
                // Tagged: as it is. The tag is part of the frame, not of the packet.
                Err(_) => out.push(TxFrame {
                    vnet: VnetHdr::default(),
                    head: SmallVec::from_slice(&eth.1),
                    body: Body::from(slice),
                }),
            }
        }
        team.up.extend(out);
    }
}

/// The packet inside: where it lies in the output, and what its trailer says that it is.
fn inner(
    mode: Mode,
    packet: &Packet,
    outer: &[u8],
    dst: &mut [u8],
) -> Result<(usize, usize, u8), DropReason> {
    let at = packet.dst as usize;
    let plain_len = packet.esp_len as usize - esp::PREFIX_LEN - esp::ICV_LEN;
    let plain = &mut dst[at..at + plain_len];
    let trailer = esp::parse_trailer(plain).map_err(|_| DropReason::Trailer)?;
    if trailer.is_dummy() {
        return Err(DropReason::Dummy);
    }
    let l3 = usize::from(packet.l3);
    let outer_header = &outer[l3..l3 + usize::from(packet.l3_len)];
    let next_header = trailer.next_header;
    let start = match mode {
        Mode::Tunnel => {
            let inner = &mut plain[..trailer.payload_len];
            encap::decapsulate_ecn(outer_header, inner).map_err(|_| DropReason::Congestion)?;
            at
        }
        Mode::Transport => {
            let start = at - usize::from(packet.l3_len);
            let (header, payload) = (&mut dst[start..at], trailer.payload_len);
            encap::restore_transport(outer_header, header, payload, next_header, packet.nth)
                .map_err(|_| DropReason::InnerMalformed)?;
            start
        }
    };
    Ok((start, at + trailer.payload_len, next_header))
}
