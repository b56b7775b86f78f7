//! The SQL of both engines: twins, and never without the namespace.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::layers::files;

/// Statements that one engine alone needs: the embedded store takes the time, and asks whether it
/// can write, without SQL of ours, and has one way only to insert.
const ONLY_POSTGRES: [&str; 4] = ["insert_all.sql", "insert_one.sql", "now.sql", "ready.sql"];

/// And the other way round: the embedded store reads the floor once for a whole batch of inserts, and
/// keeps its index of keys itself.
const ONLY_SQLITE: [&str; 8] = [
    "fence_floor.sql",
    "find_record.sql",
    "index_record.sql",
    "index_state.sql",
    "is_record.sql",
    "set_indexed_below.sql",
    "unindex_record.sql",
    "unindexed.sql",
];

/// What deals with rows of a bucket by their address, whatever their keys.
const BY_ADDRESS: [&str; 2] = ["delete_expired.sql", "postpone.sql"];

/// What keeps the index, which goes from digests to records and knows no names.
const OF_THE_INDEX: [&str; 3] = ["index_state.sql", "is_record.sql", "unindexed.sql"];

/// What counts keys, whosesoever they are, and tells none of them.
const COUNTS: [&str; 2] = ["census.sql", "census_turn.sql"];

/// What the purge asks before it knows any keys.
const OF_NO_KEY: [&str; 1] = ["due.sql"];

fn engine(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../server/src/store")
        .join(name)
}

fn names(name: &str) -> BTreeSet<String> {
    let files = files(&engine(name).join("sql"), "sql");
    files
        .iter()
        .map(|it| it.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// Every statement of both engines: where it is, and its text without comments.
fn statements() -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for name in ["postgres", "sqlite"] {
        for path in files(&engine(name).join("sql"), "sql") {
            let text = fs::read_to_string(&path).expect("a text");
            let lines = text
                .lines()
                .map(|line| line.split("--").next().unwrap_or_default());
            all.push((path, lines.collect::<Vec<_>>().join("\n")));
        }
    }
    all
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|it| it == word)
}

#[test]
fn every_statement_has_a_twin_on_the_other_engine() {
    let mut postgres = names("postgres");
    for name in ONLY_POSTGRES {
        assert!(postgres.remove(name), "{name} is no exception any more");
    }
    let mut sqlite = names("sqlite");
    for name in ONLY_SQLITE {
        assert!(sqlite.remove(name), "{name} is no exception any more");
    }
    assert_eq!(postgres, sqlite);
}

#[test]
fn every_migration_has_a_twin_on_the_other_engine() {
    let of = |name: &str| -> BTreeSet<_> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../migrations")
            .join(name);
        files(&dir, "sql")
            .iter()
            .map(|it| it.file_name().unwrap().to_owned())
            .collect()
    };
    assert_eq!(of("postgres"), of("sqlite"));
    assert!(!of("postgres").is_empty());
}

#[test]
fn every_statement_says_what_it_does_and_what_guards_it() {
    for name in ["postgres", "sqlite"] {
        for path in files(&engine(name).join("sql"), "sql") {
            let text = fs::read_to_string(&path).expect("a text");
            assert!(text.starts_with("-- "), "{}", path.display());
            assert!(text.contains("\n-- Guard: "), "{}", path.display());
        }
    }
}

#[test]
fn every_statement_on_records_is_about_keys_of_a_namespace() {
    let mut on_records = BTreeSet::new();
    for (path, sql) in statements() {
        if !has_word(&sql, "records") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bare: String = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        if OF_THE_INDEX.contains(&name.as_str()) || COUNTS.contains(&name.as_str()) {
            continue;
        }
        let is_postgres = path.iter().any(|part| part == "postgres");
        if name == "insert_if_absent.sql" || name == "insert_one.sql" {
            if is_postgres {
                // The primary key is what holds it back.
                let columns = "INTO records ( bucket, digest, namespace, key,";
                assert!(bare.contains(columns), "{bare}");
                assert!(bare.contains("ON CONFLICT DO NOTHING"), "{bare}");
            } else {
                // The caller has asked the index, in the same transaction.
                let columns = "INTO records ( id, digest, namespace, key,";
                assert!(bare.contains(columns), "{bare}");
            }
        } else {
            let by_address = is_postgres && BY_ADDRESS.contains(&name.as_str());
            if is_postgres && !by_address {
                let by_bucket = [
                    "r.bucket = b.bucket",
                    "r.bucket = ANY (ARRAY[b.bucket])",
                    "r.bucket = $2",
                ];
                let bucket = by_bucket.iter().any(|it| bare.contains(it));
                assert!(bucket, "{} names no bucket", path.display());
            }
            if by_address {
                assert!(bare.contains("r.ctid = d.address"), "{bare}");
            } else if !OF_NO_KEY.contains(&name.as_str()) {
                // The digest finds the key, or the id that the index has for it. Both names are
                // compared as well, so that whoever shared its digest would not be taken for it.
                let found_by = if is_postgres { "digest" } else { "id" };
                for column in [found_by, "namespace", "key"] {
                    let is_compared =
                        [format!("r.{column} = b.{column}"), format!(" {column} = ?")];
                    assert!(
                        is_compared.iter().any(|it| bare.contains(it)),
                        "{} does not compare the {column}",
                        path.display()
                    );
                }
            }
        }
        on_records.insert(name);
    }
    let all = [
        "compare_and_swap.sql",
        "complete_if_held.sql",
        "delete_expired.sql",
        "due.sql",
        "insert_if_absent.sql",
        "insert_one.sql",
        "load.sql",
        "postpone.sql",
    ];
    assert_eq!(on_records.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn every_statement_is_used_and_none_on_our_tables_is_written_in_rust() {
    for name in ["postgres", "sqlite"] {
        let sources: String = files(&engine(name), "rs")
            .into_iter()
            .filter(|path| {
                path.parent()
                    .is_none_or(|parent| !parent.ends_with("tests"))
            })
            .map(|path| fs::read_to_string(path).expect("a text"))
            .collect();
        for statement in names(name) {
            let used = sources.contains(&format!("include_str!(\"sql/{statement}\")"));
            assert!(used, "{name}/{statement} is used nowhere");
        }
        for verb in ["FROM", "INTO", "UPDATE", "JOIN", "TABLE"] {
            for table in [
                "records",
                "key_index",
                "policies",
                "namespaces",
                "sweeps",
                "fence_floor",
            ] {
                let written = sources.contains(&format!("{verb} {table}"));
                assert!(!written, "{name} has {verb} {table} in Rust");
            }
        }
    }
}
