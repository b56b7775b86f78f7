//! The configuration file, as written.

use std::{fs, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use toml::Table;

use super::{
    Problem,
    section::{Section, boolean, bound, duration, table, text},
};

/// Most namespaces with metrics of their own: each has some twenty series, and a few more of every kind
/// of answer that it has had.
const MOST_LABELS: usize = 300;

/// Shorter ones would count all the time.
const LEAST_CENSUS_INTERVAL: Duration = Duration::from_millis(10);

/// What the file says. `None` where it says nothing.
#[derive(Debug, Default)]
pub(super) struct File {
    pub listen: Option<SocketAddr>,
    pub http_listen: Option<Option<SocketAddr>>,
    pub show_keys: Option<bool>,
    pub metrics: Option<bool>,
    pub max_metric_namespaces: Option<usize>,
    pub census_interval: Option<Duration>,
    pub allow_plaintext: Option<bool>,
    pub data_dir: Option<PathBuf>,
    pub database_url: Option<String>,
    pub lanes: Option<usize>,
    pub migrate: Option<bool>,
    pub drain: Option<Duration>,
    pub max_calls: Option<usize>,
    pub max_connections: Option<usize>,
    pub max_waiters: Option<usize>,
    pub max_queue: Option<usize>,
    pub max_batch: Option<usize>,
    pub purge_interval: Option<Duration>,
    pub defaults: Table,
    pub namespaces: Table,
}

/// Reads the file. A file that cannot be read, or is no TOML, is one problem and says nothing.
pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> File {
    let place = path.display().to_string();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem {
                place,
                problem: format!("cannot be read: {error}"),
            });
            return File::default();
        }
    };
    match text.parse::<Table>() {
        Ok(table) => from_table(table, problems),
        Err(error) => {
            problems.push(Problem {
                place,
                // Not the error itself: it quotes the line, which may hold a password.
                problem: format!(
                    "is not TOML: line {}: {}",
                    line(&text, &error),
                    error.message()
                ),
            });
            File::default()
        }
    }
}

/// The line that a parser's error is about, from 1.
fn line(text: &str, error: &toml::de::Error) -> usize {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.bytes().take(start);
    before.filter(|byte| *byte == b'\n').count() + 1
}

fn from_table(root: Table, problems: &mut Vec<Problem>) -> File {
    let mut section = Section::new("", root, problems);
    let file = File {
        listen: section.take("listen", |value| parse_address(&text(value)?)),
        http_listen: section.take("http_listen", |value| parse_address_or_off(&text(value)?)),
        show_keys: section.take("show_keys", boolean),
        metrics: section.take("metrics", boolean),
        max_metric_namespaces: section.take("max_metric_namespaces", bound(MOST_LABELS)),
        census_interval: section.take("census_interval", |value| {
            let interval = duration(value)?;
            if !interval.is_zero() && interval < LEAST_CENSUS_INTERVAL {
                let least = humantime::format_duration(LEAST_CENSUS_INTERVAL);
                return Err(format!(
                    "must be 0s, which turns it off, or at least {least}"
                ));
            }
            Ok(interval)
        }),
        allow_plaintext: section.take("allow_plaintext", boolean),
        data_dir: section.take("data_dir", text).map(PathBuf::from),
        database_url: section.take("database_url", text),
        lanes: section.take("lanes", bound(64)),
        migrate: section.take("migrate", boolean),
        drain: section.take("drain", duration),
        max_calls: section.take("max_calls", bound(1_000_000)),
        max_connections: section.take("max_connections", bound(100_000)),
        max_waiters: section.take("max_waiters", bound(1_000_000)),
        max_queue: section.take("max_queue", bound(100_000)),
        max_batch: section.take("max_batch", bound(4_096)),
        purge_interval: section.take("purge_interval", duration),
        defaults: section.take("defaults", table).unwrap_or_default(),
        namespaces: section.take("namespaces", table).unwrap_or_default(),
    };
    section.finish();
    file
}

/// An address to listen on, or `off`.
pub(super) fn parse_address_or_off(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let or_off = |problem: String| format!("{problem}; or off");
    parse_address(text).map(Some).map_err(or_off)
}

/// An address to listen on.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("must be an IP address and a port, such as 127.0.0.1:7420, is {text:?}")
    })
}
