//! The program `semel` that is under test.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use semel_test_postgres::tools::target_dir;

/// Names the program to run instead of building one.
const VARIABLE: &str = "SEMEL_TEST_SERVER_BIN";

/// The program. Found, or built, when first asked for.
pub fn semel() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let program = match env::var_os(VARIABLE) {
            Some(given) if !given.is_empty() => given.into(),
            _ => build(),
        };
        keep(&program)
    })
}

/// Builds the server as this test was built.
fn build() -> PathBuf {
    let target = target_dir();
    let ours = env::current_exe().expect("this program has a path");
    let release = ours.starts_with(target.join("release"));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "-p", "semel-server", "--bin", "semel"])
        .args(release.then_some("--release"))
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the server does not build: {status}");
    let profile = if release { "release" } else { "debug" };
    target.join(profile).join("semel")
}

/// A copy: a server that is restarted has to be the same program, also while somebody builds.
fn keep(program: &Path) -> PathBuf {
    // In the build directory, which has room. Nothing of ours runs at our end, so the next run
    // removes it: it is nobody's once nobody holds its lock.
    static LOCK: OnceLock<File> = OnceLock::new();
    let tmp = target_dir().join("tmp");
    fs::create_dir_all(&tmp).expect("a directory can be made");
    remove_old(&tmp);
    let dir = tmp.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory can be made");
    let lock = File::create(dir.join("lock")).expect("a file can be made");
    lock.lock().expect("a file can be locked");
    let _ = LOCK.set(lock);
    let copy = dir.join("semel");
    fs::copy(program, &copy).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    copy
}

const PREFIX: &str = "end-to-end-";

fn remove_old(tmp: &Path) {
    for entry in fs::read_dir(tmp).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Ok(lock) = File::open(entry.path().join("lock"))
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
