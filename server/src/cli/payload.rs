//! Bytes that a flag gives as a text, or names a file of.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// The result to store.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(super) struct ResultArgs {
    /// The result to store and replay, as a text
    #[arg(long, value_name = "TEXT")]
    result: Option<String>,

    /// The result to store and replay: the bytes of this file, or of standard input for `-`
    #[arg(long, value_name = "FILE|-")]
    result_file: Option<PathBuf>,
}

impl ResultArgs {
    /// Whether one was given.
    pub fn is_given(&self) -> bool {
        self.result.is_some() || self.result_file.is_some()
    }

    /// The bytes; none when nothing was given, because an empty result is a result.
    pub fn read(self) -> Result<Bytes, String> {
        match (self.result, self.result_file) {
            (Some(text), _) => Ok(text.into()),
            (None, Some(path)) => read(&path).map(Bytes::from),
            (None, None) => Ok(Bytes::new()),
        }
    }
}

/// Whether `path` means standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The whole of a file, or of standard input for `-`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = if is_stdin(path) {
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))
}
