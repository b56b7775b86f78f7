//! Dependencies inside the server point one way, as `docs/architecture.md` says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each part of the server may name of the others. `app` puts everything together, and the
/// command line is on top of that.
const MAY_NAME: [(&str, &[&str]); 15] = [
    ("key", &[]),
    ("logging", &[]),
    ("telemetry", &["key", "logging"]),
    // Its calls are measured.
    ("store", &["key", "telemetry"]),
    ("policies", &["key", "store"]),
    ("lanes", &["key", "policies", "store", "telemetry"]),
    ("purge", &["store"]),
    ("census", &["key", "policies", "store", "telemetry"]),
    ("health", &[]),
    ("http", &["health", "telemetry"]),
    // Its layers answer with the statuses that rpc builds.
    ("net", &["rpc", "telemetry"]),
    ("rpc", &["key", "lanes", "policies", "telemetry"]),
    ("config", &["key", "lanes", "net", "purge", "telemetry"]),
    (
        "app",
        &[
            "census",
            "config",
            "health",
            "http",
            "key",
            "lanes",
            "net",
            "policies",
            "purge",
            "rpc",
            "store",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "config",
            "key",
            "logging",
            "net",
            "store",
            "telemetry",
        ],
    ),
];

/// Who alone may name a crate.
const ONLY: [(&str, &[&str]); 10] = [
    ("semel_proto", &["rpc", "cli", "app"]),
    ("semel_client", &["cli"]),
    ("tonic", &["rpc", "app", "cli"]),
    ("sqlx", &["store"]),
    ("rusqlite", &["store"]),
    ("clap", &["cli", "logging"]),
    ("hyper", &["http", "net", "rpc", "cli"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry", "logging"]),
    ("tracing_opentelemetry", &["telemetry", "logging"]),
];

/// What the rules must do without: sockets, databases, clocks and chance.
const NOT_IN_KEY: [&str; 13] = [
    "tokio",
    "sqlx",
    "rusqlite",
    "tonic",
    "rand",
    "prost",
    "hyper",
    "axum",
    "tracing",
    "SystemTime",
    "Instant",
    "std::fs",
    "std::net",
];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/src")
}

/// Every file with the extension below `dir`.
pub fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code of each file that is not a test, with its path from `server/src`.
fn code() -> Vec<(PathBuf, String)> {
    let root = sources();
    let mut all = Vec::new();
    for path in files(&root, "rs") {
        let relative = path.strip_prefix(&root).expect("below").to_owned();
        let is_test = |part: &str| matches!(part, "tests" | "tests.rs" | "testing.rs");
        if relative.iter().any(|part| is_test(&part.to_string_lossy())) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a text");
        all.push((relative, without_tests_and_comments(&text)));
    }
    assert!(
        all.len() > 50,
        "the sources are somewhere else: {}",
        all.len()
    );
    all
}

fn without_tests_and_comments(text: &str) -> String {
    // Test modules stand at the end of their files.
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines();
    let code = lines.map(|line| line.split("//").next().unwrap_or_default());
    code.collect::<Vec<_>>().join("\n")
}

/// The top-level part that a file belongs to.
fn part(path: &Path) -> String {
    let first = path.iter().next().expect("a name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// How many modules deep a file is: `key/mod.rs` and `purge.rs` are one deep.
fn depth(path: &Path) -> usize {
    let names = path.iter().count();
    names - usize::from(path.ends_with("mod.rs"))
}

/// The top-level modules that the code names, by `crate::` or by as many `super::` as lead there.
fn named(code: &str, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let roots = ["crate::".to_owned(), "super::".repeat(depth)];
    for root in roots {
        for (at, _) in code.match_indices(&root) {
            // One more `super` in front would lead to somewhere else.
            if root.starts_with("super") && code[..at].ends_with("super::") {
                continue;
            }
            let rest = &code[at + root.len()..];
            if root.starts_with("super") && rest.starts_with("super::") {
                continue;
            }
            found.extend(heads(rest));
        }
    }
    found.remove("super");
    found
}

/// The first names of a path, or of each path in a group in braces.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let (mut nesting, mut names, mut fresh) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => nesting += 1,
            '}' if nesting == 0 => break,
            '}' => nesting -= 1,
            ',' if nesting == 0 => fresh = true,
            c if fresh && nesting == 0 && !c.is_whitespace() => {
                names.push(name(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

/// Whether the code names a crate, as `name::` at the beginning of a path.
fn names_crate(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

#[test]
fn each_part_names_only_parts_below_it() {
    let may_name: BTreeMap<_, _> = MAY_NAME.into_iter().collect();
    let mut seen = BTreeMap::<String, BTreeSet<String>>::new();
    for (path, code) in code() {
        let own = part(&path);
        if own == "lib" || own == "main" {
            continue;
        }
        let allowed = may_name
            .get(own.as_str())
            .unwrap_or_else(|| panic!("{own} is new here"));
        for other in named(&code, depth(&path)) {
            // Names that are no modules are re-exports and macros of the crate, of which there are
            // none.
            let fine = other == own || allowed.contains(&other.as_str());
            assert!(fine, "{} names {other}", path.display());
            seen.entry(own.clone()).or_default().insert(other);
        }
    }
    // The reading works: it finds what is known to be there.
    for (own, other) in [
        ("lanes", "key"),
        ("rpc", "lanes"),
        ("cli", "app"),
        ("store", "key"),
    ] {
        assert!(seen[own].contains(other), "{seen:?}");
    }
}

#[test]
fn the_rules_do_without_sockets_databases_clocks_and_chance() {
    for (path, code) in code() {
        if part(&path) != "key" {
            continue;
        }
        for word in NOT_IN_KEY {
            let found = code.match_indices(word).any(|(at, _)| {
                let around = [
                    code[..at].chars().next_back(),
                    code[at + word.len()..].chars().next(),
                ];
                around
                    .iter()
                    .flatten()
                    .all(|c| !c.is_alphanumeric() && *c != '_')
            });
            assert!(!found, "{} names {word}", path.display());
        }
    }
}

#[test]
fn only_the_parts_that_need_a_crate_name_it() {
    let mut users = BTreeMap::<&str, BTreeSet<String>>::new();
    for (path, code) in code() {
        for (name, parts) in ONLY {
            if names_crate(&code, name) {
                let own = part(&path);
                assert!(
                    parts.contains(&own.as_str()),
                    "{} names {name}",
                    path.display()
                );
                users.entry(name).or_default().insert(own);
            }
        }
    }
    assert!(users["semel_proto"].contains("rpc") && users["sqlx"].contains("store"));
}

#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let code = "use crate::{\n    key::{Fence, KeyId},\n    store::{SharedStore, sweep::X},\n};\n\
                fn f() { crate::rpc::g(); super::super::net::h(); super::own(); }";
    assert_eq!(
        named(code, 2).into_iter().collect::<Vec<_>>(),
        ["key", "net", "rpc", "store"]
    );
    assert_eq!(
        named("super::config::X", 1).into_iter().collect::<Vec<_>>(),
        ["config"]
    );
    assert!(names_crate("use tonic::Code;", "tonic"));
    assert!(!names_crate("use my_tonic::Code; x::tonic::y", "tonic"));
}
