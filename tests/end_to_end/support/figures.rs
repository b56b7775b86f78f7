//! Lines for whoever reads the run, also where it passes: the test runner swallows what
//! `println!` says.

use std::io::Write as _;

/// What a test did, in numbers.
pub fn figure(test: &str, text: &str) {
    say(&format!("figures of {test}: {text}"));
}

/// A test that could not do its work.
pub fn skipped(reason: &str) {
    say(&format!("SKIPPED: {reason}"));
}

fn say(line: &str) {
    // In one write, so that lines of tests that run side by side do not mix.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
