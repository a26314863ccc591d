//! What is said about a file.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Failures of a file that are shown; the rest is a number.
const SHOWN: usize = 20;

/// How a case ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As expected.
    Passed,
    /// Not as expected.
    Failed(String),
    /// It needs an algorithm that does not exist yet; its name.
    Waiting(String),
}

/// The cases of a file, counted.
#[derive(Debug, Default)]
pub struct Report {
    passed: usize,
    failed: Vec<(String, String)>,
    waiting: BTreeMap<String, usize>,
    reasons: BTreeMap<&'static str, usize>,
    /// Replay events that were run.
    pub events: usize,
}

impl Report {
    /// Counts a case.
    pub fn add(&mut self, name: &str, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(why) => self.failed.push((name.to_owned(), why)),
            Outcome::Waiting(algorithm) => *self.waiting.entry(algorithm).or_default() += 1,
        }
    }

    /// Counts the reason for which the data plane dropped a packet as it should.
    pub fn reason(&mut self, reason: Option<&'static str>) {
        if let Some(reason) = reason {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    /// Cases that were run.
    pub fn run(&self) -> usize {
        self.passed + self.failed.len()
    }

    /// Cases that did not end as expected.
    pub fn failures(&self) -> usize {
        self.failed.len()
    }

    /// One line for the file, and indented ones for what needs to be said.
    pub fn text(&self, file: &str) -> String {
        let waiting: usize = self.waiting.values().sum();
        let mut text = format!(
            "{file}: {} cases, {} passed, {} failed, {waiting} waiting for an algorithm that does \
             not exist yet\n",
            self.run() + waiting,
            self.passed,
            self.failed.len(),
        );
        // Writing to a String cannot fail.
        let mut line = |label: &str, what: String| {
            let _ = writeln!(text, "    {label}: {what}");
        };
        if self.events > 0 {
            line("events", self.events.to_string());
        }
        if !self.reasons.is_empty() {
            line("dropped", counted(&self.reasons));
        }
        if waiting > 0 {
            line("waiting", counted(&self.waiting));
        }
        for (name, why) in self.failed.iter().take(SHOWN) {
            line("FAILED", format!("{name}: {why}"));
        }
        if self.failed.len() > SHOWN {
            line("FAILED", format!("and {} more", self.failed.len() - SHOWN));
        }
        text
    }
}

fn counted<K: AsRef<str>>(counts: &BTreeMap<K, usize>) -> String {
    let entries: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{} {count}", name.as_ref()))
        .collect();
    entries.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_line_and_what_needs_to_be_said() {
        let mut report = Report::default();
        report.add("a", Outcome::Passed);
        report.add("b", Outcome::Failed("plaintext differs".into()));
        report.add("c", Outcome::Waiting("aes-cbc".into()));
        report.add("d", Outcome::Waiting("aes-cbc".into()));
        report.reason(Some("icv"));
        assert_eq!(
            report.text("x.json"),
            "x.json: 4 cases, 1 passed, 1 failed, 2 waiting for an algorithm that does not exist \
             yet\n    dropped: icv 1\n    waiting: aes-cbc 2\n    FAILED: b: plaintext differs\n"
        );
        assert_eq!((report.run(), report.failures()), (2, 1));
    }
}
