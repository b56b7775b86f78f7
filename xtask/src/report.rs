//! Adding up what cargo's test runners said at their ends.

use std::fmt;

/// What one run of one target's tests came to, or all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) fn ran(self) -> u64 {
        self.passed + self.failed
    }

    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut parts = counts.split("; ");
        let mut count = |name: &str| {
            let number = parts.next()?.strip_suffix(name)?;
            number.trim_end().parse().ok()
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            skipped: count("ignored")?,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// What has been read so far of the output of `cargo test`.
#[derive(Debug, Default)]
pub(crate) struct Report {
    results: Vec<(String, Counts)>,
    /// The target whose tests run now.
    running: Option<String>,
}

impl Report {
    /// Takes in one line, without colours.
    pub(crate) fn see(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(target) = heading(line) {
            self.running = Some(target);
        } else if let Some(counts) = Counts::parse(line) {
            // Editions and merging may split one target's doc tests into several runs.
            let target = match (&self.running, self.results.last()) {
                (Some(target), _) => target.clone(),
                (None, Some((previous, _))) => previous.clone(),
                (None, None) => "tests".to_owned(),
            };
            self.results.push((target, counts));
            self.running = None;
        } else if line.contains("error: test failed, to rerun pass")
            || line.contains("error: doctest failed, to rerun pass")
        {
            // A runner that crashed or was killed counts nothing. It counts as one.
            if let Some(target) = self.running.take() {
                let crashed = Counts {
                    failed: 1,
                    ..Counts::default()
                };
                self.results.push((format!("{target} (crashed)"), crashed));
            }
        }
    }

    /// All targets together.
    pub(crate) fn total(&self) -> Counts {
        self.results
            .iter()
            .fold(Counts::default(), |sum, (_, counts)| Counts {
                passed: sum.passed + counts.passed,
                failed: sum.failed + counts.failed,
                skipped: sum.skipped + counts.skipped,
            })
    }

    /// Every target that has tests, with what they came to.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&str, Counts)> {
        self.results
            .iter()
            .filter(|(_, counts)| *counts != Counts::default())
            .map(|(target, counts)| (target.as_str(), *counts))
    }
}

/// The target that one of cargo's headings announces:
/// `     Running tests/fault.rs (target/debug/deps/fault-0123456789abcdef)` or
/// `   Doc-tests semel_client`.
fn heading(line: &str) -> Option<String> {
    let line = line.strip_prefix(' ')?.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name} (doc tests)"));
    }
    let (source, program) = line.strip_prefix("Running ")?.split_once(" (")?;
    let program = program.strip_suffix(')')?;
    // Many crates have a src/lib.rs; the program is named after its crate.
    let name = program.rsplit(['/', '\\']).next()?;
    let name = name.rsplit_once('-').map_or(name, |(name, _hash)| name);
    let source = source.strip_prefix("unittests ").unwrap_or(source);
    Some(format!("{name} ({source})"))
}

#[cfg(test)]
mod tests {
    use super::{Counts, Report};

    fn report(output: &str) -> Report {
        let mut report = Report::default();
        output.lines().for_each(|line| report.see(line));
        report
    }

    #[test]
    fn results_are_named_after_their_targets_and_summed() {
        let report = report(
            "     Running unittests src/lib.rs (target/debug/deps/semel_server-01ab)\n\
             \n\
             running 2 tests\n\
             test key::first ... ok\n\
             test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
             \u{20}    Running tests/empty.rs (target/debug/deps/empty-01ab)\n\
             test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             \u{20}  Doc-tests semel_client\n\
             test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n",
        );
        let targets: Vec<_> = report.targets().map(|(target, _)| target).collect();
        assert_eq!(
            targets,
            ["semel_server (src/lib.rs)", "semel_client (doc tests)"]
        );
        assert_eq!(report.total().to_string(), "5 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_runner_that_ends_without_a_result_has_failed() {
        let report = report(
            "     Running tests/fault.rs (target/debug/deps/fault-01ab)\n\
             running 1 test\n\
             error: test failed, to rerun pass `-p semel-tests --test fault`\n",
        );
        assert_eq!(report.total().failed, 1);
        assert_eq!(report.total().ran(), 1);
    }

    #[test]
    fn a_failure_that_was_counted_is_not_counted_twice() {
        let report = report(
            "     Running tests/fault.rs (target/debug/deps/fault-01ab)\n\
             test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n\
             error: test failed, to rerun pass `-p semel-tests --test fault`\n",
        );
        assert_eq!(report.total().failed, 1);
    }

    #[test]
    fn what_a_test_prints_is_not_taken_for_a_result() {
        for line in [
            "test result: fine",
            "  test result: ok. 1 passed; 0 failed; 0 ignored",
        ] {
            assert_eq!(Counts::parse(line), None, "{line}");
        }
    }
}
