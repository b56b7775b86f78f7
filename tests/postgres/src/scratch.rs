//! The directory of one cluster, and who owns it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use tempfile::TempDir;

use crate::account::Account;
use crate::{Binaries, Error};

/// A Unix socket's path may be about 100 bytes long in all, and ours adds some 40.
const LONGEST_PARENT: usize = 60;

/// A fresh directory for one cluster, readable by its owner alone.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: TempDir,
    /// Whom the server must run as, where we are root.
    account: Option<Account>,
}

impl Scratch {
    /// Whoever creates one has it minded at once: until then a kill leaves it behind.
    pub(crate) fn create() -> Result<Self, Error> {
        let account = Account::needed()?;
        let mut parent = std::env::temp_dir();
        if !suits(&parent, account.is_some())? {
            parent = "/tmp".into();
        }
        let dir = tempfile::Builder::new()
            .prefix("semel-postgres-")
            .tempdir_in(&parent)
            .map_err(Error::at("create a directory in", &parent))?;
        if let Some(account) = &account {
            give(dir.path(), account)?;
        }
        Ok(Self { dir, account })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// `binaries`, or a copy of them in here where the server's user cannot reach them,
    /// for example because root keeps the project in its home directory.
    pub(crate) fn reachable(&self, binaries: Binaries) -> Result<Binaries, Error> {
        let Some(account) = &self.account else {
            return Ok(binaries);
        };
        let Err(unreachable) = account.can_execute(&binaries.dir().join("postgres")) else {
            return Ok(binaries);
        };
        let Some(root) = binaries.movable_root() else {
            return Err(unreachable);
        };
        let copy = self.path().join("postgres");
        copy_tree(root, &copy, account)?;
        Ok(binaries.moved_to(&copy))
    }
}

/// Whether a cluster can live, and be removed by the user it runs as, in `parent`.
fn suits(parent: &Path, we_are_root: bool) -> Result<bool, Error> {
    let mode = fs::metadata(parent)
        .map_err(Error::at("look at", parent))?
        .permissions()
        .mode();
    let open_to_all = mode & 0o003 == 0o003;
    Ok(parent.as_os_str().len() <= LONGEST_PARENT && (open_to_all || !we_are_root))
}

fn give(path: &Path, account: &Account) -> Result<(), Error> {
    chown(path, Some(account.uid), Some(account.gid)).map_err(Error::at("hand over", path))
}

/// Copies what is needed to run, and hands it to `account`. Links are followed.
fn copy_tree(from: &Path, to: &Path, account: &Account) -> Result<(), Error> {
    fs::create_dir(to).map_err(Error::at("create", to))?;
    give(to, account)?;
    for entry in fs::read_dir(from).map_err(Error::at("list", from))? {
        let entry = entry.map_err(Error::at("list", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &target, account)?;
        } else {
            fs::copy(&source, &target).map_err(Error::at("copy", &source))?;
            give(&target, account)?;
        }
    }
    Ok(())
}
