//! The runner itself: it says what it ran, and it does not call a broken folder good.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of its own for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(self, file: &str, text: &str) -> Self {
        std::fs::write(self.0.join(file), text).unwrap();
        self
    }

    fn run(&self) -> (bool, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(env!("CARGO_BIN_EXE_esprit-vectors"))
            .arg(&self.0)
            .output()
            .unwrap();
        let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        (status.success(), text)
    }
}

/// An ICMP packet in a tunnel, captured from Linux 6.1.
const ESP: &str = r#"{"name": "icmp", "alg": "aes-gcm-16",
    "key": "93ce01879290691b1f06be209b3d2f92", "salt": "37c6b9c4", "auth": "none",
    "spi": 65792, "seq": 1, "esn": false, "esn_hi": null, "mode": "tunnel", "udp_encap": false,
    "next_header": 4, "iv": "6303476933b66390", "pad": "0102", "tfc_pad": 0,
    "plain": "4500001c891a4000400156a4ac100101ac1002010801f72900d50000",
    "esp": "4500005458ba40004032cdb90a0100010a01000200010100000000016303476933b663902a238b35f392d82e78712b0e54aa60b9ddc675db1ed29a1d190013510f24dabc568329e24ff48e09013a2e9dd810e3ca",
    "expect": "ok"}"#;

const REPLAY: &str = r#"[{"name": "window", "window": 64, "esn": false, "start_top": 0,
    "events": [[1, true], [1, false], [128, true], [64, false], [65, true]]}]"#;

#[test]
fn good_cases_of_both_shapes_pass_under_any_name() {
    let folder = Folder::new("good")
        .with("a.json", &format!("[{ESP}]"))
        .with("b.json", REPLAY)
        .with("README.md", "no cases");
    let (good, text) = folder.run();
    assert!(good, "{text}");
    assert!(
        text.contains("a.json: 1 cases, 1 passed, 0 failed, 0 waiting"),
        "{text}"
    );
    assert!(
        text.contains("b.json: 1 cases, 1 passed, 0 failed, 0 waiting"),
        "{text}"
    );
}

#[test]
fn a_forged_packet_fails_as_good_and_passes_as_bad() {
    let forged = ESP.replace("e3ca\"", "e3cb\"");
    let (good, text) = Folder::new("forged")
        .with("a.json", &format!("[{forged}]"))
        .run();
    assert!(
        !good && text.contains("FAILED: icmp: open: BadIcv"),
        "{text}"
    );
    let expected = forged.replace(r#""expect": "ok""#, r#""expect": "drop""#);
    let (good, text) = Folder::new("dropped")
        .with("a.json", &format!("[{expected}]"))
        .run();
    assert!(good && text.contains("dropped: icv 1"), "{text}");
}

#[test]
fn a_good_packet_that_should_be_dropped_fails() {
    let case = ESP.replace(r#""expect": "ok""#, r#""expect": "drop""#);
    let (good, text) = Folder::new("opens")
        .with("a.json", &format!("[{case}]"))
        .run();
    assert!(!good && text.contains("FAILED: icmp: it opens"), "{text}");
}

#[test]
fn another_plaintext_or_iv_than_the_case_says_fails() {
    for (from, to, name) in [
        ("00d50000\"", "00d50001\"", "plain"),
        ("\"6303476933b66390\"", "\"6303476933b66391\"", "iv"),
        ("\"pad\": \"0102\"", "\"pad\": \"010203040506\"", "pad"),
    ] {
        let case = ESP.replace(from, to);
        assert_ne!(case, ESP);
        let (good, text) = Folder::new(name).with("a.json", &format!("[{case}]")).run();
        assert!(!good && text.contains("differs"), "{name}: {text}");
    }
}

#[test]
fn wrong_replay_verdicts_fail() {
    let wrong = REPLAY.replace("[65, true]", "[65, false]");
    let (good, text) = Folder::new("replay").with("a.json", &wrong).run();
    assert!(!good && text.contains("event 4"), "{text}");
}

#[test]
fn what_cannot_be_read_is_a_failure() {
    for (name, text) in [
        ("broken", "[{"),
        ("object", "{}"),
        ("empty-list", "[]"),
        ("other", r#"[{"name": "x"}]"#),
        ("incomplete", r#"[{"name": "x", "esp": "00"}]"#),
    ] {
        let folder = Folder::new(name)
            .with("a.json", text)
            .with("b.json", REPLAY);
        let (good, said) = folder.run();
        assert!(
            !good && said.contains("a.json: cannot be read as cases"),
            "{said}"
        );
        assert!(
            said.contains("b.json: 1 cases, 1 passed"),
            "the others still run: {said}"
        );
    }
}

#[test]
fn running_nothing_is_a_failure() {
    let waiting = ESP.replace("aes-gcm-16", "rot13");
    for folder in [
        Folder::new("nothing"),
        Folder::new("waiting").with("a.json", &format!("[{waiting}]")),
    ] {
        let (good, text) = folder.run();
        assert!(!good && text.contains("nothing was run"), "{text}");
    }
    let mut missing = Folder::new("gone");
    missing.0.push("missing");
    let (good, text) = missing.run();
    assert!(!good && text.contains("ESPRIT_VECTORS"), "{text}");
}
