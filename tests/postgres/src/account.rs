//! Whom the server runs as.
//!
//! PostgreSQL refuses to run as root, yet containers and CI machines often are root. Then
//! the server, and the script that minds it, run as an ordinary user that the machine has.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::Error;

/// In order of preference. The user needs an entry in the user database (`initdb` looks
/// its name up), so a bare number will not do.
const CANDIDATES: [&str; 3] = ["postgres", "nobody", "daemon"];

/// A user to run as, where that is not the one we are.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: &'static str,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// The account that the server must run as, where we are root.
    pub(crate) fn needed() -> Result<Option<Self>, Error> {
        // The standard library does not tell who we are.
        if id("-u", None) != Some(0) {
            return Ok(None);
        }
        Self::unprivileged().map(Some)
    }

    fn unprivileged() -> Result<Self, Error> {
        CANDIDATES
            .into_iter()
            .find_map(|name| {
                let (uid, gid) = (id("-u", Some(name))?, id("-g", Some(name))?);
                (uid != 0).then_some(Self { name, uid, gid })
            })
            .ok_or_else(|| Error::NoUnprivilegedUser {
                tried: CANDIDATES.join(", "),
            })
    }

    /// Errs where this account cannot execute `program`, for example because it lies in
    /// the home directory of root.
    pub(crate) fn can_execute(&self, program: &Path) -> Result<(), Error> {
        let mut command = Command::new(program);
        command.arg("--version").current_dir("/");
        run_as(&mut command, Some(self));
        match command.output() {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::Unreachable {
                user: self.name.to_owned(),
                program: program.to_owned(),
                source,
            }),
        }
    }
}

/// Makes `command` run as `account`, or as ourselves where there is none to switch to.
pub(crate) fn run_as(command: &mut Command, account: Option<&Account>) {
    if let Some(account) = account {
        // The standard library drops root's supplementary groups along with the user id.
        command.uid(account.uid).gid(account.gid);
    }
}

/// Asks `id` about a user, or about ourselves: it knows every user database, not only
/// /etc/passwd.
fn id(what: &str, name: Option<&str>) -> Option<u32> {
    let output = Command::new("id").arg(what).args(name).output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
