//! The replay window against the shared sequences, and against a set that remembers everything.

use std::collections::HashSet;
use std::path::PathBuf;

use esprit_ipsec::replay::{MAX_WIDTH, ReplayDrop, ReplayWindow};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Sequence {
    name: String,
    window: u32,
    esn: bool,
    start_top: u64,
    events: Vec<(u64, bool)>,
}

/// One packet through the window as the data path takes it: what it shows is 32 bits; with a
/// wrongly inferred upper half its ICV would not verify.
fn accept(window: &mut ReplayWindow, seq: u64) -> bool {
    let lo = (seq & 0xffff_ffff) as u32;
    window.check(lo) == Ok(seq) && window.commit(seq).is_ok()
}

/// The folder of cases: `ESPRIT_VECTORS`, or `../shared/vectors` beside the repository.
fn vectors() -> Option<PathBuf> {
    let named = std::env::var_os("ESPRIT_VECTORS").map(PathBuf::from);
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    // A relative name is meant from the repository's root, where make and cargo are called.
    let folder = PathBuf::from(root).join(named.unwrap_or_else(|| "../shared/vectors".into()));
    folder.is_dir().then_some(folder)
}

#[test]
fn every_shared_sequence_has_the_demanded_verdicts() {
    let Some(folder) = vectors() else {
        assert!(
            std::env::var_os("ESPRIT_CI").is_none(),
            "no folder of vectors on CI"
        );
        eprintln!("skipped: no folder of vectors; name one with ESPRIT_VECTORS");
        return;
    };
    let text = std::fs::read_to_string(folder.join("replay.json")).unwrap();
    let sequences: Vec<Sequence> = serde_json::from_str(&text).unwrap();
    let mut events = 0;
    for sequence in sequences {
        let mut window = ReplayWindow::new(sequence.window, sequence.esn, sequence.start_top);
        for (at, &(seq, accepted)) in sequence.events.iter().enumerate() {
            assert_eq!(
                accept(&mut window, seq),
                accepted,
                "{}, event {at}: {seq:#x}",
                sequence.name
            );
            events += 1;
        }
    }
    assert!(events > 0, "replay.json holds no events");
}

/// The rule of RFC 4303 section 3.4.3 by plain memory.
struct Oracle {
    width: u64,
    top: u64,
    seen: HashSet<u64>,
}

impl Oracle {
    fn accept(&mut self, seq: u64) -> bool {
        let fits = seq > 0 && (seq > self.top || self.top - seq < self.width);
        let new = fits && self.seen.insert(seq);
        if new {
            self.top = self.top.max(seq);
        }
        new
    }
}

/// Numbers around a moving top: steps forward of all sizes, and looks back.
fn walk() -> impl Strategy<Value = Vec<(bool, u32)>> {
    prop::collection::vec(
        (
            any::<bool>(),
            prop_oneof![0..4_u32, 0..200_u32, 0..3 * MAX_WIDTH],
        ),
        1..400,
    )
}

proptest! {
    #[test]
    fn it_accepts_what_a_perfect_memory_accepts(
        width in 32..=MAX_WIDTH,
        esn: bool,
        start in prop_oneof![Just(0), Just(0xffff_ff00_u64), Just(0x2_ffff_f000)],
        steps in walk(),
    ) {
        let start = if esn { start } else { start & 0xffff_0000 };
        let mut window = ReplayWindow::new(width, esn, start);
        let mut oracle = Oracle { width: window.width(), top: start, seen: HashSet::new() };
        // What lies below the start counts as seen.
        oracle.seen.extend((start.saturating_sub(u64::from(MAX_WIDTH))..=start).filter(|&s| s > 0));
        for (forward, by) in steps {
            let by = u64::from(by);
            let seq = if forward { oracle.top + by } else { oracle.top.saturating_sub(by) };
            if !esn && seq > u64::from(u32::MAX) {
                continue;
            }
            let expected = oracle.accept(seq);
            prop_assert_eq!(accept(&mut window, seq), expected, "seq {:#x}", seq);
            prop_assert_eq!(window.top(), oracle.top);
        }
    }

    #[test]
    fn never_twice_in_any_order(
        width in prop_oneof![Just(32_u32), Just(64), Just(96), Just(1024)],
        mut seqs in prop::collection::vec(1..3000_u64, 1..500),
    ) {
        let mut window = ReplayWindow::new(width, true, 0);
        let mut accepted = HashSet::new();
        seqs.extend_from_within(..);
        for seq in seqs {
            if accept(&mut window, seq) {
                prop_assert!(accepted.insert(seq), "{} twice", seq);
            }
        }
    }

    #[test]
    fn in_order_every_one_is_accepted_once(width in 32..=MAX_WIDTH, start in 0..u64::from(u32::MAX), n in 1..300_u64) {
        let mut window = ReplayWindow::new(width, true, start);
        for seq in start + 1..=start + n {
            prop_assert!(accept(&mut window, seq));
            prop_assert_eq!(window.commit(seq), Err(ReplayDrop::Duplicate));
        }
    }
}

#[test]
fn nothing_moves_before_the_commit() {
    let mut window = ReplayWindow::new(64, false, 0);
    assert_eq!(window.check(1000), Ok(1000));
    assert_eq!(window.check(1000), Ok(1000));
    assert_eq!((window.top(), window.check(1)), (0, Ok(1)));
    window.commit(1000).unwrap();
    assert_eq!(window.check(1), Err(ReplayDrop::TooOld));
}

#[test]
fn two_copies_in_flight_give_one_packet() {
    // Both passed the first check; engines gave them back one after the other.
    let mut window = ReplayWindow::new(64, false, 0);
    let (first, second) = (window.check(7).unwrap(), window.check(7).unwrap());
    assert_eq!(window.commit(first), Ok(()));
    assert_eq!(window.commit(second), Err(ReplayDrop::Duplicate));
    // And one that the window passed while it was being opened.
    let slow = window.check(8).unwrap();
    window.commit(500).unwrap();
    assert_eq!(window.commit(slow), Err(ReplayDrop::TooOld));
}

#[test]
fn below_the_first_subspace_there_is_none() {
    // Case B with an upper half of 0: Th - 1 does not exist.
    let window = ReplayWindow::new(64, true, 5);
    assert_eq!(window.check(0xffff_fff0), Err(ReplayDrop::TooOld));
    assert_eq!(window.check(6), Ok(6));
    // And above the last one there is none either.
    let window = ReplayWindow::new(64, true, u64::MAX - 1);
    assert_eq!(window.check(u32::MAX), Ok(u64::MAX));
    assert_eq!(window.check(5), Err(ReplayDrop::TooOld));
}

#[test]
fn number_zero_is_none_without_esn_and_a_number_with_it() {
    assert_eq!(
        ReplayWindow::new(32, false, 0).check(0),
        Err(ReplayDrop::Zero)
    );
    let mut window = ReplayWindow::new(32, true, 0xffff_ffff);
    assert_eq!(window.check(0), Ok(1 << 32));
    assert_eq!(window.commit(1 << 32), Ok(()));
}

#[test]
fn what_came_before_a_restart_cannot_be_replayed() {
    let mut window = ReplayWindow::new(64, false, 100);
    assert_eq!(window.check(100), Err(ReplayDrop::Duplicate));
    assert_eq!(window.check(37), Err(ReplayDrop::Duplicate));
    assert_eq!(window.check(36), Err(ReplayDrop::TooOld));
    for seq in [103, 101, 102, 130, 129] {
        assert_eq!(window.commit(seq), Ok(()), "{seq}");
    }
}

#[test]
fn widths_are_rounded_into_their_range() {
    for (asked, esn, got) in [
        (0, false, 0),
        (0, true, 32),
        (1, false, 32),
        (33, false, 64),
        (8192, true, 8192),
        (u32::MAX, false, 8192),
    ] {
        assert_eq!(ReplayWindow::new(asked, esn, 0).width(), got, "{asked}");
    }
    // 8192 bits and the words around them: a few pages for a thousand SAs at most.
    assert!(ReplayWindow::new(8192, true, 0).bytes() <= 2048 + 64);
}

#[test]
fn without_a_window_everything_passes() {
    let mut window = ReplayWindow::new(0, false, 0);
    for seq in [0, 5, 5, 4, u64::from(u32::MAX), 1] {
        assert!(accept(&mut window, seq), "{seq}");
    }
}
