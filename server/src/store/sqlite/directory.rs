//! The data directory: made if missing, and held by one server at a time.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use crate::store::OpenError;

const DATABASE: &str = "semel.db";
const LOCK: &str = "semel.lock";

/// A data directory that is ours while this lives: the system drops the lock with the process,
/// however it ends.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let unusable = |cause: io::Error| OpenError::DataDirectory {
            path: path.into(),
            cause,
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        // Keys and results are nobody else's business.
        #[cfg(unix)]
        builder.mode(0o700);
        builder.create(path).map_err(unusable)?;
        let mut lock = private().open(path.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked {
                    path: path.into(),
                    pid: read_pid(&mut lock),
                });
            }
            Err(TryLockError::Error(cause)) => return Err(unusable(cause)),
        }
        write_pid(&mut lock).map_err(unusable)?;
        let directory = Self {
            path: path.into(),
            _lock: lock,
        };
        // Made here and not by SQLite, which would let others read it; SQLite gives its WAL the
        // same rights.
        private().open(directory.database()).map_err(unusable)?;
        Ok(directory)
    }

    /// The database's file.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }
}

/// Opens a file to write, made if missing, for this user alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    options.mode(0o600);
    options
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// For the message that a second server gets.
fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_by_one_and_says_by_whom() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let held = Directory::take(&path).unwrap();
        let error = Directory::take(&path).unwrap_err();
        assert!(
            matches!(error, OpenError::Locked { pid: Some(pid), .. } if pid == std::process::id())
        );
        assert!(
            error
                .to_string()
                .contains(&format!("(process {})", std::process::id()))
        );
        drop(held);
        Directory::take(&path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_what_is_in_it() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let held = Directory::take(&path).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&held.database()), 0o600);
    }

    #[test]
    fn a_file_in_its_place_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Directory::take(file.path()).unwrap_err();
        assert!(matches!(error, OpenError::DataDirectory { .. }), "{error}");
    }
}
