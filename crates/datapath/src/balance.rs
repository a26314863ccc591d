//! Receive balancing (bonding's RLB): the answers to each peer name the address of one carrying
//! member, so that what peers send is spread too.
//!
//! The host's stack knows the team's one address. Where its ARP requests and replies and its
//! neighbour discovery tell a peer that address, they are made to tell that of a member, chosen
//! by the peer's own. Who was told what is remembered in a bounded table: when a member is lost,
//! its clients are told anew at once; and after a broadcast that names another address (an
//! announcement, or the question to somebody else) all are, a while later.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use esprit_packet::checksum::{Sum, update};
use esprit_packet::header::protocol::ICMPV6;
use esprit_packet::{Time, TxFrame};
use smallvec::SmallVec;

use crate::l2;
use crate::plan::{Mac, Plan, Receive};
use crate::team::Team;
use crate::worker::Worker;

/// Peers that are remembered; the one that was not told for longest goes first. A peer that is
/// forgotten only stays where it was told until its own cache asks again.
const CLIENTS: usize = 256;

/// After a broadcast, clients are told anew so much later, and so once for many of them: they
/// refuse a new address within a second of the last (Linux' `locktime`).
const RETELL: Time = Time::from_millis(1_100);

const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
/// Hardware type Ethernet, protocol IPv4, lengths 6 and 4 (RFC 826).
const ARP_HEAD: [u8; 6] = [0, 1, 8, 0, 6, 4];
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// A peer, and which of our addresses it knows.
#[derive(Clone, Debug)]
struct Client {
    /// Its own Ethernet address, once it was seen.
    mac: Option<Mac>,
    /// The member that it was told.
    member: u32,
    /// When.
    told: Time,
}

/// Who was told what.
#[derive(Debug, Default)]
pub struct Balance {
    /// By our address and the peer's.
    clients: BTreeMap<(IpAddr, IpAddr), Client>,
    /// When all are told anew.
    retell_at: Option<Time>,
}

/// What a frame tells of an address of ours, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tells {
    /// To one peer; its Ethernet address is known where it is answered.
    Peer { ours: IpAddr, peer: IpAddr },
    /// To everybody.
    All,
}

fn v4(frame: &[u8], at: usize) -> Option<Ipv4Addr> {
    frame[..]
        .get(at..at + 4)?
        .first_chunk::<4>()
        .map(|b| Ipv4Addr::from(*b))
}

fn v6(frame: &[u8], at: usize) -> Option<Ipv6Addr> {
    frame[..]
        .get(at..at + 16)?
        .first_chunk::<16>()
        .map(|b| Ipv6Addr::from(*b))
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    frame[..]
        .get(at..at + 2)?
        .first_chunk()
        .map(|b| u16::from_be_bytes(*b))
}

/// What an untagged frame tells, and the places of the address that it tells.
fn tells(frame: &[u8]) -> Option<(Tells, usize)> {
    match word(frame, l2::ADDRESSES)? {
        0x0806 => {
            if frame.get(14..20)? != ARP_HEAD {
                return None;
            }
            let (ours, peer) = (v4(frame, 28)?, v4(frame, 38)?);
            let kind = word(frame, 20)?;
            let tells = if ours == peer || ours.is_unspecified() {
                Tells::All
            } else if kind == ARP_REQUEST || kind == ARP_REPLY {
                let (ours, peer) = (ours.into(), peer.into());
                Tells::Peer { ours, peer }
            } else {
                return None;
            };
            // The sender's hardware address.
            Some((tells, 22))
        }
        l2::IPV6 if frame.get(20) == Some(&ICMPV6) => {
            let kind = *frame.get(54)?;
            let (src, dst, target) = (v6(frame, 22)?, v6(frame, 38)?, v6(frame, 62)?);
            // The source's address in a question, the target's in an answer (RFC 4861 4.6.1);
            // as the host's stack writes them, the only option.
            let (option, tells) = match kind {
                SOLICITATION if !src.is_unspecified() => {
                    let (ours, peer) = (src.into(), target.into());
                    (1, Tells::Peer { ours, peer })
                }
                ADVERTISEMENT if dst.is_multicast() => (2, Tells::All),
                ADVERTISEMENT => {
                    let (ours, peer) = (target.into(), dst.into());
                    (2, Tells::Peer { ours, peer })
                }
                _ => return None,
            };
            (frame.get(78..80)? == [option, 1] && frame.len() >= 86).then_some((tells, 80))
        }
        _ => None,
    }
}

/// Writes another address into what a frame tells; ICMPv6's checksum is mended where it is there.
fn retell(frame: &mut [u8], at: usize, mac: Mac, finished: bool) {
    let icmp = word(frame, l2::ADDRESSES) == Some(l2::IPV6);
    for (n, new) in mac.0.as_chunks::<2>().0.iter().enumerate() {
        let place = at + 2 * n;
        let old = word(frame, place).unwrap_or_default();
        if icmp
            && finished
            && let Some(field) = word(frame, 56)
        {
            let mended = update(field, old, u16::from_be_bytes(*new));
            frame[56..58].copy_from_slice(&mended.to_be_bytes());
        }
        frame[place..place + 2].copy_from_slice(new);
    }
}

/// The frame that tells `peer` where `ours` is now: an ARP reply or an advertisement, unasked.
fn notice(ours: IpAddr, peer: IpAddr, peer_mac: Mac, mac: Mac) -> Option<SmallVec<[u8; 128]>> {
    let mut frame = SmallVec::new();
    frame.extend_from_slice(&peer_mac.0);
    frame.extend_from_slice(&mac.0);
    match (ours, peer) {
        (IpAddr::V4(ours), IpAddr::V4(peer)) => {
            frame.extend_from_slice(&0x0806_u16.to_be_bytes());
            frame.extend_from_slice(&ARP_HEAD);
            frame.extend_from_slice(&ARP_REPLY.to_be_bytes());
            frame.extend_from_slice(&mac.0);
            frame.extend_from_slice(&ours.octets());
            frame.extend_from_slice(&peer_mac.0);
            frame.extend_from_slice(&peer.octets());
        }
        (IpAddr::V6(ours), IpAddr::V6(peer)) => {
            const LEN: u32 = 32;
            // Override (RFC 4861 section 4.4); not solicited.
            let mut icmp = [0; LEN as usize];
            icmp[0] = ADVERTISEMENT;
            icmp[4] = 0x20;
            icmp[8..24].copy_from_slice(&ours.octets());
            icmp[24..26].copy_from_slice(&[2, 1]);
            icmp[26..32].copy_from_slice(&mac.0);
            let sum = Sum::default()
                .pseudo(ours.into(), peer.into(), ICMPV6, LEN)
                .add(&icmp)
                .finish();
            icmp[2..4].copy_from_slice(&sum.to_be_bytes());
            frame.extend_from_slice(&l2::IPV6.to_be_bytes());
            frame.extend_from_slice(&[0x60, 0, 0, 0, 0, LEN as u8, ICMPV6, 255]);
            frame.extend_from_slice(&ours.octets());
            frame.extend_from_slice(&peer.octets());
            frame.extend_from_slice(&icmp);
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    }
    Some(frame)
}

/// The member that a peer is told: the one of highest weight for it, so that only the clients of
/// a member that goes are moved (rendezvous hashing).
fn choose(peer: IpAddr, members: impl Iterator<Item = u32>) -> Option<u32> {
    let peer = match peer {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            (bits >> 64) as u64 ^ bits as u64
        }
    };
    members.max_by_key(|&member| {
        // The finaliser of splitmix64, as for flows.
        let mut state = peer ^ u64::from(member).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (state ^ state >> 31, member)
    })
}

impl Balance {
    fn remember(&mut self, now: Time, key: (IpAddr, IpAddr), mac: Option<Mac>, member: u32) {
        if !self.clients.contains_key(&key) && self.clients.len() >= CLIENTS {
            let oldest = self.clients.iter().min_by_key(|(_, client)| client.told);
            if let Some(oldest) = oldest.map(|(&key, _)| key) {
                self.clients.remove(&oldest);
            }
        }
        let client = self.clients.entry(key).or_insert(Client {
            mac,
            member,
            told: now,
        });
        client.mac = mac.or(client.mac);
        client.member = member;
        client.told = now;
    }

    /// When clients are to be told anew.
    pub(crate) const fn due(&self) -> Option<Time> {
        self.retell_at
    }

    fn contradicted(&mut self, now: Time) {
        if !self.clients.is_empty() {
            self.retell_at.get_or_insert(now + RETELL);
        }
    }
}

impl Team {
    /// Balances as the Plan in force wants it.
    pub(crate) fn follow_receive(&mut self, plan: &Plan) {
        match plan.receive {
            Receive::Single => self.balance = None,
            Receive::Balance => {
                self.balance.get_or_insert_default();
            }
        }
    }
}

impl Worker {
    /// Lets a frame of the host's (ARP or neighbour discovery) tell a member's address in place
    /// of the team's; answers the member, which is to send it with its own address.
    pub(crate) fn balance(
        &mut self,
        now: Time,
        team: u32,
        frame: &mut [u8],
        finished: bool,
    ) -> Option<u32> {
        self.teams.get(&team)?.balance.as_ref()?;
        let (told, at) = tells(frame)?;
        let Tells::Peer { ours, peer } = told else {
            // It names the team's address; that is right for whoever is no client.
            self.contradict(now, team);
            return None;
        };
        let member = self.share_of(team, peer)?;
        let mac = self.members.get(&member)?.mac;
        let to = l2::destination(frame);
        let balance = self.teams.get_mut(&team)?.balance.as_mut()?;
        let known = (!to.is_group()).then_some(to);
        balance.remember(now, (ours, peer), known, member);
        if to.is_group() {
            // Everybody hears the question, and takes the address of its sender from it.
            balance.contradicted(now);
        }
        retell(frame, at, mac, finished);
        Some(member)
    }

    /// The carrying member that `peer` is to send to.
    fn share_of(&self, team: u32, peer: IpAddr) -> Option<u32> {
        let members = self
            .members
            .values()
            .filter(|m| m.team == team && m.carry && m.accept && m.alive())
            .map(|m| m.id);
        choose(peer, members)
    }

    /// A peer's own address, as it is seen in what it sends.
    pub(crate) fn learn(&mut self, team: u32, frame: &[u8]) {
        let Some(balance) = self.teams.get_mut(&team).and_then(|t| t.balance.as_mut()) else {
            return;
        };
        // Seen from the peer: what it tells is its own.
        if let Some((Tells::Peer { ours, peer }, _)) = tells(frame)
            && let Some(client) = balance.clients.get_mut(&(peer, ours))
        {
            client.mac = Some(l2::source(frame));
        }
    }

    /// Something named the team's address to everybody: clients are told theirs again, soon.
    pub(crate) fn contradict(&mut self, now: Time, team: u32) {
        if let Some(balance) = self.teams.get_mut(&team).and_then(|t| t.balance.as_mut()) {
            balance.contradicted(now);
        }
    }

    /// Tells the clients of members that are lost where to send now; all, where that is due.
    pub(crate) fn retell(&mut self, now: Time, id: u32) {
        let Some(mut balance) = self.teams.get_mut(&id).and_then(|t| t.balance.take()) else {
            return;
        };
        let all = balance.retell_at.is_some_and(|at| at <= now);
        if all {
            balance.retell_at = None;
        }
        for (&(ours, peer), client) in &mut balance.clients {
            let wanted = self.share_of(id, peer);
            let Some(member) = wanted.filter(|&member| all || member != client.member) else {
                continue;
            };
            client.member = member;
            client.told = now;
            let mac = self.members.get(&member).map(|member| member.mac);
            if let (Some(mac), Some(peer_mac)) = (mac, client.mac)
                && let Some(head) = notice(ours, peer, peer_mac, mac)
            {
                let frame = TxFrame {
                    head,
                    ..TxFrame::default()
                };
                self.queue(member, frame);
            }
        }
        if let Some(team) = self.teams.get_mut(&id) {
            team.balance = Some(balance);
        }
    }

    /// Tells clients anew where a broadcast named another address a while ago.
    pub(crate) fn handle_retelling(&mut self, now: Time) {
        let due: SmallVec<[u32; 4]> = self
            .teams
            .values()
            .filter(|team| {
                let due = team.balance.as_ref().and_then(Balance::due);
                due.is_some_and(|at| at <= now)
            })
            .map(|team| team.id)
            .collect();
        for team in due {
            self.retell(now, team);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clients_of_a_lost_member_move() {
        let mut counts = BTreeMap::new();
        for host in 0..1000_u32 {
            let peer = IpAddr::from(Ipv4Addr::from(0x0a00_0000 + host));
            let before = choose(peer, 1..=4).unwrap();
            *counts.entry(before).or_insert(0) += 1;
            let after = choose(peer, [1, 2, 4].into_iter()).unwrap();
            assert!(after == before || before == 3);
        }
        assert!(
            counts.values().all(|&n| (200..300).contains(&n)),
            "{counts:?}"
        );
        assert_eq!(
            choose(IpAddr::from([1, 2, 3, 4]), core::iter::empty()),
            None
        );
    }

    #[test]
    fn a_notice_is_one_that_tells_and_its_checksum_is_right() {
        let (ours, peer) = ("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
        let (from, to) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let mut frame = notice(ours, peer, to, from).unwrap();
        assert_eq!(tells(&frame), Some((Tells::Peer { ours, peer }, 80)));
        let holds = |frame: &[u8]| {
            let sum = Sum::default().pseudo(ours, peer, ICMPV6, 32);
            sum.add(&frame[54..86]).finish() == 0
        };
        assert!(holds(&frame));
        retell(&mut frame, 80, Mac([0xff, 1, 2, 3, 4, 5]), true);
        assert_eq!(frame[80..86], [0xff, 1, 2, 3, 4, 5]);
        assert!(holds(&frame));
        let (ours, peer) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let frame = notice(ours, peer, to, from).unwrap();
        assert_eq!(tells(&frame), Some((Tells::Peer { ours, peer }, 22)));
        assert_eq!(notice(ours, "::1".parse().unwrap(), to, from), None);
    }

    #[test]
    fn no_bytes_make_it_fall_over() {
        let (ours, peer) = ("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
        let frame = notice(ours, peer, Mac([2; 6]), Mac([4; 6])).unwrap();
        for len in 0..frame.len() {
            assert_eq!(tells(&frame[..len]), None, "{len}");
        }
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_goes() {
        let mut balance = Balance::default();
        let ours = IpAddr::from([10, 0, 0, 1]);
        let peer = |n: u32| IpAddr::from(Ipv4Addr::from(n));
        for n in 0..CLIENTS as u32 + 10 {
            balance.remember(Time(u64::from(n)), (ours, peer(n)), None, 1);
        }
        assert_eq!(balance.clients.len(), CLIENTS);
        assert!(!balance.clients.contains_key(&(ours, peer(9))));
        assert!(balance.clients.contains_key(&(ours, peer(10))));
    }
}
