//! What everything ran on.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use crate::child;

/// The machine, as far as it tells.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub processor: Option<String>,
    pub processors: usize,
    pub memory_gib: Option<f64>,
    pub kernel: Option<String>,
    /// Of the directory that all data is in.
    pub file_system: Option<String>,
    pub postgres: String,
    pub redis: Option<String>,
    /// What was measured.
    pub commit: Option<String>,
    /// When it began.
    pub date: String,
}

impl Machine {
    pub fn describe(data: &Path, postgres: String, redis: Option<String>) -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        Self {
            processor: read("/proc/cpuinfo").and_then(|text| processor(&text)),
            processors: thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_bytes().map(|bytes| bytes as f64 / f64::from(1 << 30)),
            kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            file_system: read("/proc/mounts").and_then(|mounts| file_system(&mounts, data)),
            postgres,
            redis,
            commit: commit(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }
}

/// All of the machine's memory.
pub fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The bytes of all files in `dir`.
pub fn dir_bytes(dir: &Path) -> io::Result<u64> {
    let sizes = fs::read_dir(dir)?.map(|entry| Ok(entry?.metadata()?.len()));
    sizes.sum()
}

/// Where `program` is on `PATH`.
pub fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

fn processor(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The type of the innermost mount that holds `path`.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(place, _)| path.starts_with(place))
        .max_by_key(|(place, _)| place.len())
        .map(|(_, kind)| kind.to_owned())
}

/// Of the working directory, where that is a checkout; with a `+` where it has changes.
fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let ended = child::run(Command::new("git").args(args), Duration::from_secs(20)).ok()?;
        ended.successful("git").ok()
    };
    let hash = git(&["rev-parse", "--short=12", "HEAD"])?.trim().to_owned();
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { hash } else { hash + "+" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let mounts =
            "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmpdata xfs rw 0 0\n";
        let of = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(of("/tmp/semel").as_deref(), Some("tmpfs"));
        assert_eq!(of("/tmpdata/semel").as_deref(), Some("xfs"));
        assert_eq!(of("/home").as_deref(), Some("ext4"));
    }

    #[test]
    fn the_size_of_a_directory_is_that_of_its_files() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("a", 10), ("b", 5)] {
            fs::write(dir.path().join(name), vec![0; bytes]).unwrap();
        }
        assert_eq!(dir_bytes(dir.path()).unwrap(), 15);
    }

    #[test]
    fn the_processor_is_the_first_that_is_named() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A Fine One @ 3 GHz\nmodel name\t: Other\n";
        assert_eq!(processor(cpuinfo).as_deref(), Some("A Fine One @ 3 GHz"));
        assert_eq!(processor(""), None);
    }
}
