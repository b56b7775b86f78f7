//! Where the many keys are: in Postgres, or in the embedded store.

use std::path::Path;

use tempfile::TempDir;

use super::Lines;
use crate::{
    Outcome, bench::Bench, deletes::Deletes, fill::Fill, machine, postgres::MANY, server::Server,
};

/// A store of its own, with many keys.
pub enum Place {
    /// The database that is meant for them.
    Postgres,
    /// A directory, which goes with this value.
    Embedded(TempDir),
}

impl Place {
    /// What its figures begin with.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Postgres => "Postgres",
            Self::Embedded(_) => "embedded",
        }
    }

    /// A server on it that tells of its purge, where nobody else does.
    pub fn serve(&self, bench: &Bench) -> Outcome<Server> {
        match self {
            Self::Postgres => bench.semel_on(MANY, &[]),
            Self::Embedded(dir) => bench.semel_embedded_telling(dir.path()),
        }
    }

    /// Deletes of that server's.
    pub fn deletes(&self, bench: &Bench, server: &Server) -> Outcome<Deletes> {
        match self {
            Self::Postgres => Deletes::in_postgres(&bench.postgres, MANY),
            Self::Embedded(_) => Ok(Deletes::told_by(server)),
        }
    }

    /// Ends the server, so that what it leaves behind is all there is.
    pub fn leave(&self, bench: &Bench, server: Server) -> Outcome<()> {
        server.stop()?;
        match self {
            Self::Postgres => bench.postgres.wait_until_left(MANY),
            Self::Embedded(_) => Ok(()),
        }
    }

    /// Vacuums, now rather than by itself in the middle of the next run.
    pub fn settle(&self, bench: &Bench) -> Outcome<()> {
        if let Self::Postgres = self {
            bench.postgres.run(MANY, "VACUUM (ANALYZE) records")?;
        }
        bench.postgres.settle()
    }

    /// Fills keys in while no server runs on it.
    pub fn fill(&self, bench: &mut Bench, fill: &Fill) -> Outcome<()> {
        match self {
            Self::Postgres => bench.fill(MANY, fill),
            Self::Embedded(dir) => bench.fill_embedded(dir.path(), fill),
        }
    }

    /// Bytes of each of its `keys`, while no server runs on it.
    pub fn space(&self, bench: &Bench, keys: u64, lines: &mut Lines) -> Outcome<()> {
        match self {
            Self::Postgres => table_space(bench, MANY, "Postgres: a live key", lines),
            Self::Embedded(dir) => file_space(dir.path(), keys, lines),
        }
    }
}

fn file_space(dir: &Path, keys: u64, lines: &mut Lines) -> Outcome<()> {
    let each = machine::dir_bytes(dir)? as f64 / keys as f64;
    lines.put("embedded: a live key on disk: the file", each, "B");
    Ok(())
}

/// Bytes of each row of `records`, by where they are.
pub fn table_space(bench: &Bench, database: &str, of: &str, lines: &mut Lines) -> Outcome<()> {
    let sql = "SELECT (SELECT count(*) FROM records), \
               pg_relation_size(oid), \
               coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0), \
               (SELECT sum(pg_relation_size(indexrelid))::bigint FROM pg_index \
                WHERE indrelid = c.oid AND indisprimary), \
               (SELECT sum(pg_relation_size(indexrelid))::bigint FROM pg_index \
                WHERE indrelid = c.oid AND NOT indisprimary), \
               pg_total_relation_size(oid) \
               FROM pg_class AS c WHERE oid = 'records'::regclass";
    let [rows, table, toast, primary, other, all] = bench.postgres.numbers(database, sql)?;
    for (part, bytes) in [
        ("the table", table),
        ("TOAST", toast),
        ("the primary key", primary),
        ("other indexes", other),
        ("everything", all),
    ] {
        let each = bytes as f64 / rows.max(1) as f64;
        lines.put(format!("{of} on disk: {part}"), each, "B");
    }
    Ok(())
}
