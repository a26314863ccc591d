//! Runs every case of a folder of vectors: ESP packets of other implementations, packets that
//! must be dropped, replay sequences.
//!
//! ```text
//! esprit-vectors [FOLDER]      default: $ESPRIT_VECTORS, else ../shared/vectors
//! ```
//!
//! Each ESP case goes two ways. [`codec`] opens it with the functions of `esprit-ipsec` and an
//! engine's arithmetic, compares the plaintext, and seals that again to the very bytes of the
//! case. [`wire`] gives it as a frame to a member of a whole data plane and looks at what
//! comes out of the virtual NIC, and at the counters. A packet that must be dropped has to be
//! dropped there for a reason that is counted.
//!
//! What a file holds is told by its shape, not by its name. The exit status is 0 if cases were
//! run and none failed; a file that cannot be read as cases is a failure.
#![forbid(unsafe_code)]

mod algorithm;
mod case;
mod codec;
mod replay;
mod report;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::case::{Expect, File};
use crate::report::{Outcome, Report};
use crate::wire::Wire;

fn main() -> ExitCode {
    let folder = std::env::args_os()
        .nth(1)
        .or_else(|| std::env::var_os("ESPRIT_VECTORS"))
        .map_or_else(|| PathBuf::from("../shared/vectors"), PathBuf::from);
    let files = match files(&folder) {
        Ok(files) => files,
        Err(error) => {
            eprintln!(
                "{}: {error}; name another with ESPRIT_VECTORS",
                folder.display()
            );
            return ExitCode::FAILURE;
        }
    };
    let mut wire = match Wire::new() {
        Ok(wire) => wire,
        Err(error) => {
            eprintln!("the data plane does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut good = true;
    let mut run = 0;
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match case::read(&path) {
            Ok(file) => {
                let report = judge(&file, &mut wire);
                print!("{}", report.text(&name));
                good &= report.failures() == 0;
                run += report.run();
            }
            Err(error) => {
                println!("{name}: cannot be read as cases: {error}");
                good = false;
            }
        }
    }
    if run == 0 {
        println!("{}: nothing was run", folder.display());
        good = false;
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The JSON files of a folder, in order of their names.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file()
            && path
                .extension()
                .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Runs every case of a file.
fn judge(file: &File, wire: &mut Wire) -> Report {
    let mut report = Report::default();
    match file {
        File::Replay(sequences) => {
            for sequence in sequences {
                report.events += sequence.events.len();
                report.add(&sequence.name, replay::run(sequence));
            }
        }
        File::Esp(cases) => {
            for case in cases {
                let outcome = match algorithm::of(case) {
                    Err(missing) => Outcome::Waiting(missing),
                    Ok(algorithm) => {
                        let both = match case.expect {
                            Expect::Ok => codec::open_and_seal(case, algorithm)
                                .and_then(|()| wire.delivers(case, algorithm)),
                            Expect::Drop => codec::refuses(case, algorithm)
                                .and_then(|()| wire.drops(case, algorithm)),
                        };
                        match both {
                            Ok(reason) => {
                                report.reason(reason);
                                Outcome::Passed
                            }
                            Err(why) => Outcome::Failed(why),
                        }
                    }
                };
                report.add(&case.name, outcome);
            }
        }
    }
    report
}
