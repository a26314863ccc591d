//! Replay sequences, through the window that every inbound SA has.

use esprit_ipsec::replay::ReplayWindow;

use crate::case::Sequence;
use crate::report::Outcome;

/// Runs a sequence. Each packet is looked at twice, as the data path does: before and after it
/// is opened. A wrongly inferred upper half is a refusal, since the ICV would not verify.
pub fn run(sequence: &Sequence) -> Outcome {
    let mut window = ReplayWindow::new(sequence.window, sequence.esn, sequence.start_top);
    for (at, &(seq, expected)) in sequence.events.iter().enumerate() {
        let shown = seq as u32;
        let accepted = window.check(shown) == Ok(seq) && window.commit(seq).is_ok();
        if accepted != expected {
            let verb = if expected { "accepted" } else { "refused" };
            return Outcome::Failed(format!("event {at}, number {seq:#x}, must be {verb}"));
        }
    }
    Outcome::Passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_verdict_is_found() {
        let mut sequence = Sequence {
            name: "x".into(),
            window: 64,
            esn: false,
            start_top: 0,
            events: vec![(1, true), (1, false), (100, true), (2, false)],
        };
        assert_eq!(run(&sequence), Outcome::Passed);
        sequence.events.push((100, true));
        assert!(matches!(run(&sequence), Outcome::Failed(why) if why.contains("event 4")));
    }
}
