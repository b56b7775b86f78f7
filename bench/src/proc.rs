//! Processor time, memory and written bytes of processes, as Linux tells of them in /proc. Elsewhere there is no
//! telling, and the figures are left out.

use std::fs;

/// The unit of processor times in /proc, which Linux fixes at this for every architecture that
/// Rust's standard library supports (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// A line of /proc/PID/stat.
#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    /// Of the process itself.
    own_s: f64,
    /// Of its children that have ended and were waited for.
    waited_for_s: f64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, and may hold anything.
        let (_, fields) = line.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok();
        // Field 3 of proc(5) is the first here.
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own_s: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            waited_for_s: (ticks(13)? + ticks(14)?) / TICKS_PER_SECOND,
        })
    }

    fn read(pid: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }
}

/// Processor seconds of a process and of all that it waited for.
pub fn processor_s(pid: u32) -> Option<f64> {
    let stat = Stat::read(&pid.to_string())?;
    Some(stat.own_s + stat.waited_for_s)
}

/// Processor seconds of a process, of its children, and of those that have ended. Never decreases
/// as long as the process waits for its children.
pub fn processor_with_children_s(pid: u32) -> Option<f64> {
    let children = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let stat = Stat::read(name.to_str()?)?;
        (stat.parent == pid).then_some(stat.own_s + stat.waited_for_s)
    });
    let children: f64 = children.sum();
    Some(processor_s(pid)? + children)
}

/// Processor seconds of this process's children that have ended.
pub fn ended_children_s() -> Option<f64> {
    Stat::read("self").map(|stat| stat.waited_for_s)
}

/// Bytes that a process has had written to disks, in whole pages.
pub fn written_bytes(pid: u32) -> Option<f64> {
    written(&fs::read_to_string(format!("/proc/{pid}/io")).ok()?)
}

fn written(io: &str) -> Option<f64> {
    let field = |name| io.lines().find_map(|line| line.strip_prefix(name));
    field("write_bytes: ")?.parse().ok()
}

/// Resident memory of a process: now, and the most it ever was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resident {
    pub now_mib: f64,
    pub peak_mib: f64,
}

impl Resident {
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib / 1024.0)
        };
        Some(Self {
            now_mib: field("VmRSS:")?,
            peak_mib: field("VmHWM:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let line = "4711 (a) b (c)) S 42 4711 4711 0 -1 4194560 100 200 0 0 150 50 1000 500 20 0 8 0 99 1 2";
        let expected = Stat {
            parent: 42,
            own_s: 2.0,
            waited_for_s: 15.0,
        };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("4711 (cut"), None);
        assert_eq!(Stat::parse("4711 (cut) S 42 1"), None);
    }

    #[test]
    fn what_was_written_is_not_what_was_only_handed_to_the_system() {
        let io =
            "wchar: 5\nsyscw: 2\nread_bytes: 0\nwrite_bytes: 8192\ncancelled_write_bytes: 4096\n";
        assert_eq!(written(io), Some(8_192.0));
        assert_eq!(written("wchar: 5\n"), None);
    }

    #[test]
    fn memory_is_told_in_mebibytes() {
        let status = "Name:\tsemel\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\nThreads:\t3\n";
        let expected = Resident {
            now_mib: 10.0,
            peak_mib: 20.0,
        };
        assert_eq!(Resident::parse(status), Some(expected));
        // A zombie has none.
        assert_eq!(Resident::parse("Name:\tsemel\n"), None);
    }
}
