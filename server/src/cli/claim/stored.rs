//! A run of a command as it is stored with Semel, and replayed.

use std::io;

use serde::{Deserialize, Serialize};

use super::capture::Captured;
use crate::cli::encoding::{from_base64, to_base64};

const VERSION: u32 = 1;

/// How a command ended, and what it said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StoredRun {
    pub exit_code: u8,
    pub stdout: Captured,
    pub stderr: Captured,
}

/// What stored bytes turn out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// A run that can be replayed.
    Run(StoredRun),
    /// A run stored by a later version of this program, in a form that this one does not know.
    Newer,
    /// Something else: the key was settled by another kind of caller.
    Foreign,
}

/// `{"semel_run":1,"exit_code":0,"stdout":{"text":"…"},"stderr":{"base64":"…","cut_bytes":12}}`
#[derive(Serialize, Deserialize)]
struct Stored {
    semel_run: u32,
    exit_code: u8,
    stdout: Stream,
    stderr: Stream,
}

/// Text where it is UTF-8, for people who look it up; else base64.
#[derive(Serialize, Deserialize)]
struct Stream {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    cut_bytes: u64,
}

/// The part that tells a stored run, of whatever version, from anything else.
#[derive(Deserialize)]
struct Version {
    semel_run: u32,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl StoredRun {
    /// The bytes to store: at most `limit`, the outputs cut as far as it takes; but always the
    /// exit code, if need be alone.
    pub fn encode(&self, limit: usize) -> Vec<u8> {
        let mut budget = limit;
        loop {
            let encoded = self.encode_cut(budget);
            if encoded.len() <= limit || budget == 0 {
                return encoded;
            }
            // Escapes and base64 take more room than the bytes they stand for.
            budget -= budget.div_ceil(16);
        }
    }

    /// With at most `budget` bytes of output; each stream is sure of a half, if it needs it.
    fn encode_cut(&self, budget: usize) -> Vec<u8> {
        let (out, err) = (self.stdout.bytes.len(), self.stderr.bytes.len());
        let for_err = err.min((budget / 2).max(budget.saturating_sub(out)));
        let stored = Stored {
            semel_run: VERSION,
            exit_code: self.exit_code,
            stdout: Stream::new(&self.stdout, budget - for_err),
            stderr: Stream::new(&self.stderr, for_err),
        };
        // Numbers and strings: there is nothing in it that JSON could refuse.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Reads what was stored.
    pub fn decode(bytes: &[u8]) -> Decoded {
        match serde_json::from_slice(bytes) {
            Ok(Version { semel_run: VERSION }) => {}
            Ok(Version { semel_run: 0 }) | Err(_) => return Decoded::Foreign,
            Ok(_) => return Decoded::Newer,
        }
        let run = serde_json::from_slice(bytes)
            .ok()
            .and_then(|stored: Stored| {
                Some(Self {
                    exit_code: stored.exit_code,
                    stdout: stored.stdout.read()?,
                    stderr: stored.stderr.read()?,
                })
            });
        run.map_or(Decoded::Foreign, Decoded::Run)
    }

    /// Prints what the command printed, marked where it was cut.
    pub fn replay(&self, stdout: &mut dyn io::Write, stderr: &mut dyn io::Write) -> io::Result<()> {
        self.stdout.replay(stdout).and(self.stderr.replay(stderr))
    }
}

impl Captured {
    fn replay(&self, to: &mut dyn io::Write) -> io::Result<()> {
        to.write_all(&self.bytes)?;
        if self.cut_bytes > 0 {
            writeln!(
                to,
                "\n[semel: cut here; {} more bytes were not kept]",
                self.cut_bytes
            )?;
        }
        to.flush()
    }
}

impl Stream {
    fn new(captured: &Captured, most: usize) -> Self {
        let kept = &captured.bytes[..cut(&captured.bytes, most)];
        let cut_bytes = captured.cut_bytes + (captured.bytes.len() - kept.len()) as u64;
        match str::from_utf8(kept) {
            Ok(text) => Self {
                text: Some(text.to_owned()),
                base64: None,
                cut_bytes,
            },
            Err(_) => Self {
                text: None,
                base64: Some(to_base64(kept)),
                cut_bytes,
            },
        }
    }

    fn read(self) -> Option<Captured> {
        let bytes = match (self.text, self.base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => from_base64(&base64)?,
            _ => return None,
        };
        Some(Captured {
            bytes,
            cut_bytes: self.cut_bytes,
        })
    }
}

/// Where to cut: at `most`, or a little before, so that no character is cut in two and a text
/// stays a text.
fn cut(bytes: &[u8], most: usize) -> usize {
    if bytes.len() <= most {
        // Captured output may itself end in half a character, where the capture was full.
        let broken_off = str::from_utf8(bytes)
            .err()
            .filter(|error| error.error_len().is_none());
        return broken_off.map_or(bytes.len(), |error| error.valid_up_to());
    }
    let starts_one = |&end: &usize| bytes[end] & 0xC0 != 0x80;
    (most.saturating_sub(3)..=most)
        .rev()
        .find(starts_one)
        .unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stdout: impl Into<Vec<u8>>, stderr: impl Into<Vec<u8>>) -> StoredRun {
        StoredRun {
            exit_code: 3,
            stdout: Captured {
                bytes: stdout.into(),
                cut_bytes: 0,
            },
            stderr: Captured {
                bytes: stderr.into(),
                cut_bytes: 0,
            },
        }
    }

    fn decoded(bytes: &[u8]) -> StoredRun {
        match StoredRun::decode(bytes) {
            Decoded::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_run_survives_text_or_not() {
        let run = run("hello\n", [0xFF, 0x00, 0xFE]);
        let encoded = run.encode(1_000);
        let text = str::from_utf8(&encoded).unwrap();
        assert!(text.starts_with(r#"{"semel_run":1,"exit_code":3,"stdout":{"text":"hello\n"}"#));
        assert_eq!(decoded(&encoded), run);
    }

    #[test]
    fn output_that_is_too_large_is_cut_and_says_so() {
        // Control characters take six bytes each in JSON, so the cut has to go below the limit.
        for stdout in [
            "x".repeat(10_000),
            "é".repeat(5_000),
            "\u{1}".repeat(10_000),
        ] {
            let run = run(stdout.clone(), "why");
            let encoded = run.encode(4_000);
            assert!(encoded.len() <= 4_000);
            let cut = decoded(&encoded);
            assert!(stdout.as_bytes().starts_with(&cut.stdout.bytes));
            assert_eq!(cut.stdout.bytes.len() as u64 + cut.stdout.cut_bytes, 10_000);
            assert!(cut.stdout.bytes.len() > 300);
            assert_eq!(cut.stderr, run.stderr);

            let (mut out, mut err) = (Vec::new(), Vec::new());
            cut.replay(&mut out, &mut err).unwrap();
            assert!(
                String::from_utf8(out)
                    .unwrap()
                    .contains("[semel: cut here; ")
            );
            assert_eq!(err, b"why");
        }
    }

    #[test]
    fn a_capture_that_ends_in_half_a_character_stays_a_text() {
        let half = &"aé".as_bytes()[..2];
        let kept = decoded(&run(half, "").encode(1_000)).stdout;
        assert_eq!(
            kept,
            Captured {
                bytes: b"a".to_vec(),
                cut_bytes: 1
            }
        );
    }

    #[test]
    fn no_room_at_all_leaves_the_exit_code() {
        let stored = decoded(&run("out", "err").encode(0));
        assert_eq!((stored.exit_code, stored.stdout.cut_bytes), (3, 3));
        assert!(stored.stdout.bytes.is_empty());
    }

    #[test]
    fn what_others_stored_is_told_from_what_a_later_version_stored() {
        for foreign in ["", "done", "{}", r#"{"semel_run":1}"#, r#"{"exit_code":0}"#] {
            assert_eq!(
                StoredRun::decode(foreign.as_bytes()),
                Decoded::Foreign,
                "{foreign}"
            );
        }
        let newer = br#"{"semel_run":2,"files":[]}"#;
        assert_eq!(StoredRun::decode(newer), Decoded::Newer);
    }
}
