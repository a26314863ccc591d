//! Joining: what the host gets is what the peer's stack handed to its NIC, and nothing that was
//! never sent.

use esprit_packet::coalesce::{Coalescer, MAX_FLOWS, MAX_SEGMENTS};
use esprit_packet::parse::{Parsed, parse_packet};
use esprit_packet::vnet_hdr::{DATA_VALID, NEEDS_CSUM};
use esprit_packet::{Pool, Slice, TxFrame, VnetHdr};
use proptest::prelude::*;

use crate::build::{ACK, CWR, ECE, FIN, PSH, RST, SYN, Spec, URG, any_spec};

/// Joins packets as one batch: all lie in buffers of one pool, behind bytes of others.
fn join(packets: &[Vec<u8>]) -> Vec<TxFrame> {
    join_within(packets, 65_535)
}

fn join_within(packets: &[Vec<u8>], max_bytes: usize) -> Vec<TxFrame> {
    let pool = Pool::new(packets.len(), packets.len());
    let mut coalescer = Coalescer::new(max_bytes);
    let mut out = Vec::new();
    for packet in packets {
        push(&mut coalescer, &pool, &ethernet(packet), packet, &mut out);
    }
    coalescer.flush(&mut out);
    let ended = out.len();
    coalescer.flush(&mut out);
    assert_eq!(out.len(), ended, "a second flush finds nothing");
    out
}

fn push(
    coalescer: &mut Coalescer,
    pool: &Pool,
    eth: &[u8; 14],
    packet: &[u8],
    out: &mut Vec<TxFrame>,
) {
    let mut buf = pool.get(packet.len() + 8).unwrap();
    buf.append(&[0xa5; 5]);
    buf.append(packet);
    buf.append(&[0xa5; 3]);
    let buf = buf.share();
    let slice = Slice {
        buf: &buf,
        start: 5,
        end: 5 + packet.len() as u32,
    };
    match coalescer.push_next(eth, slice, out) {
        Some(len) => assert_eq!(len as usize, packet.len()),
        None => coalescer.push(eth, slice, &parse_packet(packet).unwrap(), out),
    }
}

fn ethernet(packet: &[u8]) -> [u8; 14] {
    let spec = Spec {
        v6: packet[0] >> 4 == 6,
        ..Spec::default()
    };
    spec.ethernet(&[]).try_into().unwrap()
}

/// The layer-3 packets within frames, without their Ethernet headers.
fn packets(frames: &[TxFrame]) -> Vec<Vec<u8>> {
    frames
        .iter()
        .map(|frame| frame.to_vec()[14..].to_vec())
        .collect()
}

fn wire(specs: &[Spec]) -> Vec<Vec<u8>> {
    specs.iter().map(Spec::packet).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_super_frame_comes_back(spec in any_spec(1..30_000), size in 500..3000_u16) {
        let spec = Spec { tcp: true, options: false, ..spec };
        let cut = spec.cut(size.into());
        let joined = join(&wire(&cut));
        prop_assert_eq!(joined.len(), 1);
        let (vnet, frame) = if cut.len() > 1 {
            spec.unfinished(&[], Some(size))
        } else {
            let vnet = VnetHdr { flags: DATA_VALID, ..VnetHdr::default() };
            (vnet, [spec.ethernet(&[]), spec.packet()].concat())
        };
        prop_assert_eq!(joined[0].to_vec(), frame);
        prop_assert_eq!(joined[0].vnet, vnet);
        prop_assert_eq!(joined[0].body.pieces(), cut.len(), "one slice per segment, no copy");
    }

    #[test]
    fn datagrams_pass_as_they_are(spec in any_spec(1..20_000), size in 500..3000_usize) {
        let sent = wire(&Spec { tcp: false, ..spec }.cut(size));
        let joined = join(&sent);
        prop_assert_eq!(packets(&joined), sent);
        prop_assert!(joined.iter().all(|frame| frame.vnet == VnetHdr::default()));
    }

    /// Several connections, lost and swapped segments, changes of any field: each
    /// connection's bytes come in the order in which they were pushed.
    #[test]
    fn the_order_within_a_flow_is_kept(
        moves in prop::collection::vec((0..4_u8, 0..12_u8, 1..1500_usize), 1..200),
    ) {
        let mut next = [Spec::default(), Spec::default(), Spec::default(), Spec::default()];
        let mut sent: Vec<Spec> = Vec::new();
        for (flow, change, len) in moves {
            let spec = &mut next[usize::from(flow)];
            spec.host = flow;
            spec.v6 = flow == 3;
            spec.payload = vec![flow * 16 + change; len];
            spec.flags = ACK;
            match change {
                0 => spec.seq = spec.seq.wrapping_sub(2000),
                1 => spec.seq = spec.seq.wrapping_add(2000),
                2 => spec.flags |= PSH,
                3 => spec.ack += 1,
                4 => spec.payload.clear(),
                5 => spec.tos ^= 1,
                _ => {}
            }
            sent.push(spec.clone());
            spec.seq = spec.seq.wrapping_add(spec.payload.len() as u32);
            spec.id = spec.id.wrapping_add(1);
        }
        let joined = packets(&join(&wire(&sent)));
        for flow in 0..4_u8 {
            let mine = |packet: &&Vec<u8>| match packet[0] >> 4 {
                4 => packet[15] == flow && flow != 3,
                _ => flow == 3,
            };
            let stream = |packet: &Vec<u8>| {
                let l4 = if flow == 3 { 40 } else { 20 };
                let seq = &packet[l4 + 4..l4 + 8];
                let seq = u32::from_be_bytes(seq.try_into().unwrap());
                let bytes = packet[l4 + 32..].to_vec();
                bytes
                    .into_iter()
                    .enumerate()
                    .map(move |(n, byte)| (seq.wrapping_add(n as u32), byte))
            };
            let got: Vec<_> = joined.iter().filter(mine).flat_map(stream).collect();
            let expected: Vec<_> = wire(&sent).iter().filter(mine).flat_map(stream).collect();
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_damaged_segment_passes_as_it_is(
        spec in any_spec(3000..9000),
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let spec = Spec { tcp: true, options: false, v6: false, ..spec };
        let mut sent = wire(&spec.cut(1000));
        let which = which.index(sent.len());
        let damaged = &mut sent[which];
        // Behind the IP header; not in the data offset, with which it would not parse.
        let at = 20 + at.index(damaged.len() - 20);
        prop_assume!(at != 32);
        damaged[at] ^= 1 << bit;
        let joined = join(&sent);
        let found = joined.iter().find(|frame| frame.to_vec()[14..] == sent[which][..]);
        // Its receiver sees the damage, and nobody says that it was looked for and not found.
        prop_assert_eq!(found.map(|frame| frame.vnet), Some(VnetHdr::default()));
    }
}

proptest! {
    /// Policies have judged the packet before: what is taken unread differs from it in nothing that
    /// they see.
    #[test]
    fn what_is_taken_unread_is_what_the_packet_before_was(
        spec in any_spec(1..200),
        shorter in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
        cut in 0..30_usize,
    ) {
        let before = spec.packet();
        let mut next = spec.clone();
        next.seq = spec.seq.wrapping_add(spec.payload.len() as u32);
        next.id = spec.id.wrapping_add(1);
        next.payload.truncate(shorter.index(spec.payload.len()) + 1);
        let mut next = next.packet();
        let untouched = changes.is_empty() && cut == 0;
        for (at, byte) in changes {
            let at = at.index(next.len().min(80));
            next[at] = byte;
        }
        next.truncate(next.len() - cut.min(next.len()));

        let pool = Pool::new(2, 2);
        let mut coalescer = Coalescer::new(65_535);
        let mut out = Vec::new();
        let eth = ethernet(&before);
        push(&mut coalescer, &pool, &eth, &before, &mut out);
        let mut buf = pool.get(next.len()).unwrap();
        buf.append(&next);
        let taken = coalescer.push_next(&eth, Slice::whole(&buf.share()), &mut out);
        let parsed = parse_packet(&before).unwrap();
        if let Some(end) = taken {
            prop_assert_eq!(parse_packet(&next), Ok(Parsed { end, ..parsed }));
        }
        let joins = spec.tcp && !spec.options && spec.flags & !(ACK | ECE) == 0 && spec.flags & ACK != 0;
        if untouched {
            prop_assert_eq!(taken.is_some(), joins);
        }
    }
}

/// Two segments that follow each other, the second changed by `change`.
fn pair(first: &Spec, change: impl FnOnce(&mut Spec)) -> Vec<Spec> {
    let mut second = Spec {
        seq: first.seq + first.payload.len() as u32,
        id: first.id + 1,
        ..first.clone()
    };
    change(&mut second);
    vec![first.clone(), second]
}

fn first() -> Spec {
    Spec {
        payload: vec![1; 1000],
        ..Spec::default()
    }
}

#[test]
fn what_follows_and_is_alike_is_joined() {
    let alike: [fn(&mut Spec); 4] = [
        |_| {},
        |spec| spec.flags |= PSH,
        |spec| spec.flags |= FIN,
        |spec| spec.payload.truncate(1),
    ];
    for v6 in [false, true] {
        for change in alike {
            let specs = pair(&Spec { v6, ..first() }, change);
            let joined = join(&wire(&specs));
            assert_eq!(joined.len(), 1, "{:?}", specs[1]);
            assert_eq!(joined[0].vnet.flags, NEEDS_CSUM);
            assert_eq!(joined[0].vnet.gso_size, 1000);
            let flags = joined[0].head[14 + if v6 { 40 } else { 20 } + 13];
            assert_eq!(flags, specs[1].flags);
        }
    }
}

/// What changes, and how.
type Change = (&'static str, fn(&mut Spec));

#[test]
fn what_differs_is_not_joined() {
    let different: [Change; 18] = [
        ("a gap", |spec| spec.seq += 1),
        ("a repetition", |spec| spec.seq -= 1000),
        ("a longer segment", |spec| spec.payload.push(1)),
        ("another acknowledgement", |spec| spec.ack += 1),
        ("another window", |spec| spec.window += 1),
        ("another urgent pointer", |spec| spec.urgent = 1),
        ("another time stamp", |spec| spec.stamp = Some(2)),
        ("no time stamp", |spec| spec.stamp = None),
        ("another TOS or traffic class", |spec| spec.tos = 2),
        ("another TTL or hop limit", |spec| spec.ttl -= 1),
        ("another port", |spec| spec.ports.0 += 1),
        ("another host", |spec| spec.host += 1),
        ("IP options", |spec| spec.options = true),
        ("SYN", |spec| spec.flags |= SYN),
        ("RST", |spec| spec.flags |= RST),
        ("URG", |spec| spec.flags |= URG),
        ("CWR", |spec| spec.flags |= CWR),
        ("no ACK", |spec| spec.flags &= !ACK),
    ];
    for v6 in [false, true] {
        for (what, change) in different {
            let specs = pair(&Spec { v6, ..first() }, change);
            let joined = join(&wire(&specs));
            assert_eq!(packets(&joined), wire(&specs), "{what}");
        }
    }
    let of_ipv4: [Change; 2] = [
        ("another identification", |spec| spec.id += 1),
        ("no DF", |spec| spec.df = false),
    ];
    for (what, change) in of_ipv4 {
        let specs = pair(&first(), change);
        assert_eq!(packets(&join(&wire(&specs))), wire(&specs), "{what}");
    }
}

#[test]
fn a_wrong_header_checksum_is_left_to_the_host() {
    let mut sent = wire(&pair(&first(), |_| {}));
    sent[1][10] ^= 1;
    let joined = join(&sent);
    assert_eq!(packets(&joined), sent);
    let flags: Vec<_> = joined.iter().map(|frame| frame.vnet.flags).collect();
    assert_eq!(flags, [DATA_VALID, 0]);
}

#[test]
fn an_identification_of_zero_is_none_where_df_is_set() {
    for (df, frames) in [(true, 1), (false, 2)] {
        let specs = pair(
            &Spec {
                id: 0,
                df,
                ..first()
            },
            |spec| spec.id = 0,
        );
        assert_eq!(join(&wire(&specs)).len(), frames, "DF {df}");
    }
}

#[test]
fn a_short_segment_push_and_fin_end_a_frame() {
    let ends: [fn(&mut Spec); 3] = [
        |spec| spec.payload.truncate(999),
        |spec| spec.flags |= PSH,
        |spec| spec.flags |= FIN,
    ];
    for end in ends {
        let mut specs = pair(&first(), end);
        let third = pair(&specs[1], |spec| spec.flags = ACK).pop();
        specs.extend(third);
        let joined = packets(&join(&wire(&specs)));
        assert_eq!(joined.len(), 2);
        assert_eq!(joined[1], specs[2].packet());
    }
}

#[test]
fn a_pure_acknowledgement_stays_behind_the_data_before_it() {
    let mut specs = pair(&first(), |_| {});
    let ack = Spec {
        payload: Vec::new(),
        seq: 2001,
        ..first()
    };
    specs.push(ack.clone());
    specs.push(Spec {
        seq: 2001,
        id: 9,
        ..first()
    });
    let joined = packets(&join(&wire(&specs)));
    assert_eq!(joined.len(), 3);
    assert_eq!(joined[0].len(), 52 + 2000);
    assert_eq!(joined[1], ack.packet());
}

#[test]
fn a_fragment_stays_behind_what_its_hosts_sent_before_it() {
    let mut sent = wire(&pair(&first(), |_| {}));
    let mut fragment = first().packet();
    fragment[6..8].copy_from_slice(&[0, 9]);
    sent.push(fragment.clone());
    let other = Spec { host: 9, ..first() };
    sent.insert(0, other.packet());
    let joined = packets(&join(&sent));
    assert_eq!(joined.len(), 3);
    assert_eq!(joined[1], fragment, "not ahead of the pair");
    assert_eq!(joined[2], other.packet(), "which no fragment concerns");
}

#[test]
fn another_ethernet_header_is_another_frame_and_keeps_its_place() {
    let pool = Pool::new(8, 0);
    let mut coalescer = Coalescer::new(65_535);
    let sent = wire(&pair(&first(), |_| {}));
    let mut out = Vec::new();
    let mut eth = ethernet(&sent[0]);
    push(&mut coalescer, &pool, &eth, &sent[0], &mut out);
    eth[5] = 9;
    push(&mut coalescer, &pool, &eth, &sent[1], &mut out);
    coalescer.flush(&mut out);
    assert_eq!(packets(&out), sent);
    assert_eq!(out[1].to_vec()[..14], eth);
}

#[test]
fn joined_packets_have_bounds() {
    let spec = |len: usize| Spec {
        payload: vec![3; len],
        ..Spec::default()
    };
    // In segments.
    let sent = wire(&spec(10 * 2 * MAX_SEGMENTS).cut(10));
    let joined = join(&sent);
    assert_eq!(joined.len(), 2);
    assert!(
        joined
            .iter()
            .all(|frame| frame.body.pieces() == MAX_SEGMENTS)
    );
    // In bytes of the caller's.
    let joined = join_within(&wire(&spec(10_000).cut(1000)), 52 + 4999);
    let lens: Vec<_> = joined.iter().map(|frame| frame.len() - 14).collect();
    assert_eq!(lens, [4052, 4052, 2052]);
    // In what an IPv4 header can say, whatever the caller says.
    let halves = Spec {
        payload: vec![3; 32_742],
        ..Spec::default()
    };
    let sent = wire(&pair(&halves, |_| {}));
    assert_eq!(join_within(&sent, usize::MAX).len(), 2, "65,536 bytes");
    let sent = wire(&pair(&halves, |spec| spec.payload.truncate(32_741)));
    assert_eq!(join_within(&sent, usize::MAX)[0].len(), 14 + 65_535);
}

#[test]
fn more_flows_than_fit_leave_oldest_first() {
    let pool = Pool::new(64, 0);
    let mut coalescer = Coalescer::new(65_535);
    let mut out = Vec::new();
    let flow = |host: u8| Spec { host, ..first() };
    for host in 0..MAX_FLOWS as u8 + 2 {
        let packet = flow(host).packet();
        push(&mut coalescer, &pool, &ethernet(&packet), &packet, &mut out);
    }
    assert_eq!(packets(&out), [flow(0).packet(), flow(1).packet()]);
    coalescer.flush(&mut out);
    assert_eq!(out.len(), MAX_FLOWS + 2);
    drop(out);
    assert_eq!(pool.in_use(), (0, 0), "no buffer is kept");
}
