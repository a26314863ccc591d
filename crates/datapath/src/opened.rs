//! The end of the journey in: opened packets, in the order of their arrival.
//!
//! ```text
//! handle_opened   ICV -> replay commit -> trailer
//! go_up           inner packet -> inbound policy -> coalesce -> virtual NIC
//! ```
//!
//! Segments of one TCP flow in a row are a [`Run`]: what the coalescer joins to the one before is not
//! read again, since policies see the same in both.

use esprit_crypto::JobInput;
use esprit_ipsec::sad::Mode;
use esprit_ipsec::spd::Action;
use esprit_ipsec::{encap, esp, ids::PolicyId};
use esprit_packet::parse::{Net, Parsed, parse_packet};
use esprit_packet::{SharedBuf, Slice, Time, TxFrame};

use crate::drops::{LastDrop, Trail, Way, headers};
use crate::inbound::{Opening, Packet, replayed};
use crate::l2;
use crate::plan::Mac;
use crate::sa::{InSa, Ready};
use crate::team::Team;
use crate::verdict::DropReason;
use crate::worker::Worker;

/// A packet whose number is its own, before anybody has looked into it.
#[derive(Debug)]
pub(crate) struct Inner {
    /// Which of the job's frames it came in, and where that frame's layer 3 begins.
    frame: u16,
    l3: u16,
    /// What its trailer says that it is.
    next_header: u8,
    /// Where it lies in the job's output; padding may stand behind it.
    start: u32,
    end: u32,
    /// Bytes of ESP.
    esp_len: u32,
}

/// Packets of one TCP flow in a row, or a single packet: what went up by one policy.
#[derive(Debug, Default)]
struct Run {
    /// What the trailers say.
    next_header: u8,
    /// The policy that let them in.
    policy: Option<u32>,
    packets: u64,
    /// Bytes of the packets, and of ESP.
    bytes: u64,
    sealed: u64,
}

impl Run {
    fn count(&mut self, packet: &Inner, len: u32) {
        self.packets += 1;
        self.bytes += u64::from(len);
        self.sealed += u64::from(packet.esp_len);
    }
}

/// The Ethernet header that packets go up behind: that of the frame that they came in.
struct Behind<'a> {
    input: &'a JobInput,
    team: Mac,
    frame: Option<(u16, u16)>,
    header: l2::Header,
}

impl Behind<'_> {
    /// That of this packet.
    fn of(&mut self, packet: &Inner, ethertype: u16) -> &l2::Header {
        if self.frame != Some((packet.frame, ethertype)) {
            self.frame = Some((packet.frame, ethertype));
            let outer = self.input.frames.get(usize::from(packet.frame));
            let outer = outer.map_or(&[][..], SharedBuf::data);
            self.header = l2::retyped(outer, usize::from(packet.l3), ethertype);
            l2::set_destination(&mut self.header, self.team);
        }
        &self.header
    }
}

/// An opened job of an SA, on its way to its team's host.
struct Delivery<'a> {
    now: Time,
    sa: &'a mut InSa,
    team: &'a mut Team,
    /// Of a packet that none of the policies has seen.
    trail: Trail,
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
        let trail = Trail {
            policy: sa.spec.policy,
            sa: Some(sa_id),
            member: Some(ready.meta.member),
            engine: Some(ready.engine),
        };
        let mut delivery = Delivery {
            now: self.now,
            sa,
            team,
            trail,
        };
        let mut dst = ready.dst;
        self.opened.clear();
        for (n, packet) in ready.meta.packets.iter().enumerate() {
            let Some(outer) = input.frames.get(usize::from(packet.frame)) else {
                continue;
            };
            let genuine = ready.bad_icv >> n & 1 == 0;
            match delivery.accept(packet, genuine, outer.data(), dst.data_mut()) {
                Ok(inner) => self.opened.push(inner),
                Err(reason) => delivery.refuse(reason, outer.data()),
            }
        }
        delivery.go_up(&input, &dst.share(), &self.opened);
        self.spares.give(input, ready.meta.packets);
    }
}

impl Delivery<'_> {
    /// Accepts the number of a packet that is genuine, and finds what is inside.
    fn accept(
        &mut self,
        packet: &Packet,
        genuine: bool,
        outer: &[u8],
        dst: &mut [u8],
    ) -> Result<Inner, DropReason> {
        if !genuine {
            return Err(DropReason::Icv);
        }
        self.sa.replay.commit(packet.seq).map_err(replayed)?;
        inner(self.sa.spec.mode, packet, outer, dst)
    }

    /// Counts a packet of which only the one outside was read.
    fn refuse(&mut self, reason: DropReason, outer: &[u8]) {
        self.count_drop(reason, headers(outer).as_ref(), self.trail);
    }

    fn count_drop(&mut self, reason: DropReason, parsed: Option<&Parsed>, trail: Trail) {
        self.sa.drops.count(reason, 1);
        let drop = LastDrop::new(self.now, Way::In, reason, parsed, trail, 1);
        self.team.last_drop = Some(drop);
    }

    /// Hands packets to the team's virtual NIC, if policy lets them.
    fn go_up(&mut self, input: &JobInput, opened: &SharedBuf, packets: &[Inner]) {
        let mut out = Vec::new();
        let mut behind = Behind {
            input,
            team: self.team.mac,
            frame: None,
            header: l2::Header::new(),
        };
        let mut run: Option<Run> = None;
        for packet in packets {
            let slice = Slice {
                buf: opened,
                start: packet.start,
                end: packet.end,
            };
            let ethertype = match slice.bytes().first() {
                Some(first) if first >> 4 == 6 => l2::IPV6,
                Some(_) | None => l2::IPV4,
            };
            let eth = behind.of(packet, ethertype);
            let untagged = <&[u8; 14]>::try_from(eth.as_slice()).ok();
            // What was pushed last is the run's: so what is joined to it is of the run.
            if let (Some(run), Some(eth)) = (&mut run, untagged)
                && run.next_header == packet.next_header
                && let Some(len) = self.team.coalescer.push_next(eth, slice, &mut out)
            {
                run.count(packet, len);
                continue;
            }
            let Some((parsed, policy)) = self.admit(input, packet, slice.bytes()) else {
                continue;
            };
            let slice = Slice {
                end: packet.start + parsed.end,
                ..slice
            };
            let mut next = Run {
                next_header: packet.next_header,
                policy,
                ..Run::default()
            };
            next.count(packet, parsed.end);
            self.close(run.replace(next));
            if let Some(eth) = untagged {
                self.team.coalescer.push(eth, slice, &parsed, &mut out);
            } else {
                // As it is. The tag is part of the frame, not of the packet.
                out.push(TxFrame::behind(eth, slice, 0));
                self.close(run.take());
            }
        }
        self.close(run);
        self.team.up.extend(out);
    }

    /// What a packet is, and the policy that lets it in. `None`: none does, which was counted.
    fn admit(
        &mut self,
        input: &JobInput,
        packet: &Inner,
        bytes: &[u8],
    ) -> Option<(Parsed, Option<u32>)> {
        let parsed = match parse_packet(bytes) {
            Ok(parsed) if announced(self.sa.spec.mode, packet.next_header, parsed.net) => parsed,
            Ok(_) | Err(_) => {
                let outer = input.frames.get(usize::from(packet.frame));
                let outer = outer.map_or(&[][..], SharedBuf::data);
                self.refuse(DropReason::InnerMalformed, outer);
                return None;
            }
        };
        let verdict = self.team.spd.lookup_in(&parsed, bytes);
        let policy = verdict.policy.map(|id| id.0);
        let covered = match self.sa.spec.policy {
            Some(policy) => verdict.policy == Some(PolicyId(policy)),
            None => true,
        };
        if verdict.action != Action::Protect || !covered {
            let trail = Trail {
                policy,
                ..self.trail
            };
            self.count_drop(DropReason::InboundPolicy, Some(&parsed), trail);
            return None;
        }
        Some((parsed, policy))
    }

    fn close(&mut self, run: Option<Run>) {
        let Some(run) = run else {
            return;
        };
        self.sa.traffic.count(run.packets, run.sealed);
        let policy = run.policy.and_then(|id| self.team.policies.get_mut(&id));
        if let Some(policy) = policy {
            policy.traffic.count(run.packets, run.bytes);
        }
    }
}

/// Whether a packet is what its trailer says.
const fn announced(mode: Mode, next_header: u8, net: Net) -> bool {
    match (mode, next_header) {
        (Mode::Transport, _) => true,
        (Mode::Tunnel, esp::NEXT_HEADER_IPV4) => matches!(net, Net::Ipv4),
        (Mode::Tunnel, esp::NEXT_HEADER_IPV6) => matches!(net, Net::Ipv6),
        (Mode::Tunnel, _) => false,
    }
}

/// The packet inside.
fn inner(mode: Mode, packet: &Packet, outer: &[u8], dst: &mut [u8]) -> Result<Inner, DropReason> {
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
    Ok(Inner {
        frame: packet.frame,
        l3: packet.l3,
        next_header,
        start: start as u32,
        end: (at + trailer.payload_len) as u32,
        esp_len: packet.esp_len,
    })
}
