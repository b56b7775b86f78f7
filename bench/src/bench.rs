//! What runs during a bench, and one run of each kind.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    Outcome,
    args::Args,
    book::Book,
    by_hand::{self, Script},
    fill::{self, Fill},
    goals::{Hindrance, Hindrances},
    load::{Load, Report, Work},
    machine::{self, Machine},
    meter::{Cost, Reading},
    output::grouped,
    plan::Plan,
    postgres::{BY_HAND, Postgres, SEMEL},
    proc, redis,
    server::{self, Server},
};

/// Everything at hand, and the book that is kept.
pub struct Bench {
    pub plan: Plan,
    pub book: Book,
    pub hindrances: Hindrances,
    pub postgres: Postgres,
    pub pgbench: Option<PathBuf>,
    pub redis: Option<redis::Programs>,
    pub machine: Machine,
    semel: PathBuf,
    /// Counts on, so that no two runs use the same keys.
    seed: u64,
}

/// Flags of `semel serve` that say where its keys are.
fn on(url: &str) -> [&str; 2] {
    ["--database-url", url]
}

impl Bench {
    /// Finds the programs and starts Postgres.
    pub fn start(args: &Args) -> Outcome<Self> {
        let semel = match &args.server {
            Some(path) => path.clone(),
            None => server::beside_this_program()?,
        };
        let postgres = Postgres::start()?;
        by_hand::prepare(&postgres)?;
        let redis = redis::Programs::find();
        let machine = Machine::describe(
            postgres.cluster().dir(),
            postgres.version()?,
            redis.as_ref().and_then(redis::Programs::version),
        );
        let mut book = Book::default();
        if machine.file_system.as_deref() == Some("tmpfs") {
            book.note(
                "the data lay in memory (tmpfs), where a commit costs nothing: set TMPDIR to a \
                 directory on a disk for figures that mean anything",
            );
        }
        Ok(Self {
            plan: Plan::new(args),
            book,
            hindrances: Hindrances::new(),
            pgbench: by_hand::find(&postgres),
            redis,
            postgres,
            machine,
            semel,
            seed: u64::from(std::process::id()) << 20,
        })
    }

    /// Keeps these measures from being judged, unless one of their runs has failed already.
    pub fn skip(&mut self, measures: &[&'static str], why: &str) {
        for id in measures {
            let why = Hindrance::Skipped(why.to_owned());
            self.hindrances.entry(id).or_insert(why);
        }
    }

    /// A seed that no other run has.
    pub fn next_seed(&mut self) -> u64 {
        self.seed += 1;
        self.seed
    }

    /// A directory beside Postgres's, and so on the same disk.
    pub fn data_dir(&self) -> Outcome<TempDir> {
        let beside = self.postgres.cluster().dir().parent();
        let dir = tempfile::Builder::new()
            .prefix("semel-bench-")
            .tempdir_in(beside.unwrap_or(Path::new("/tmp")))?;
        Ok(dir)
    }

    /// Semel on one of our databases.
    pub fn semel_on(&self, database: &str, more: &[&str]) -> Outcome<Server> {
        let url = self.postgres.url(database);
        Server::semel(&self.semel, &[&on(&url), more].concat())
    }

    /// Semel on a file in `dir`.
    pub fn semel_embedded(&self, dir: &Path) -> Outcome<Server> {
        Server::semel(&self.semel, &["--data-dir", &dir.display().to_string()])
    }

    /// Semel on a file in `dir`, telling what it purges: nobody else can look into the file.
    pub fn semel_embedded_telling(&self, dir: &Path) -> Outcome<Server> {
        let arguments = ["--data-dir", &dir.display().to_string()];
        Server::semel_telling_of_its_purge(&self.semel, &arguments)
    }

    /// Fills keys in and vacuums, now rather than by itself in the middle of a later run.
    pub fn fill(&mut self, database: &str, fill: &Fill) -> Outcome<()> {
        self.filling(fill, |bench| {
            fill::into_postgres(&bench.postgres, database, fill)
        })?;
        self.postgres.run(database, "VACUUM (ANALYZE) records")
    }

    /// Fills keys into the file in `dir`, which no server has meanwhile.
    pub fn fill_embedded(&mut self, dir: &Path, fill: &Fill) -> Outcome<()> {
        self.filling(fill, |bench| {
            fill::into_directory(bench.postgres.runtime(), dir, fill)
        })
    }

    fn filling(
        &mut self,
        fill: &Fill,
        run: impl FnOnce(&Self) -> Outcome<Duration>,
    ) -> Outcome<()> {
        let how = if fill.age.is_zero() {
            "live"
        } else {
            "expired"
        };
        eprintln!("  filling in {} {how} keys", grouped(fill.keys as f64));
        let took_s = run(self)?.as_secs_f64();
        eprintln!("    took {took_s:.0} s");
        let what = format!("fill of {how} keys");
        self.book
            .put_run(&what, json!({"keys": fill.keys, "took_s": took_s}));
        Ok(())
    }

    /// A load on a server that is running.
    pub fn load(
        &mut self,
        what: &str,
        server: &Server,
        load: &Load,
        tick: impl FnMut() -> Outcome<()>,
    ) -> Outcome<Report> {
        let seed = load.seed().unwrap_or_else(|| self.next_seed());
        let what = format!("{what}: {load}");
        let report = load
            .run(&self.semel, &server.url(), seed, tick)
            .map_err(|error| format!("{what}: {error}"))?;
        let Report {
            rate,
            p50_us,
            p99_us,
            ..
        } = report;
        eprintln!("  {what}: {rate:.0}/s, p50 {p50_us:.0} µs, p99 {p99_us:.0} µs");
        self.book.put_run(&what, &report.raw);
        Ok(report)
    }

    /// Has the keys completed that a load replays, by a load of its own, so that what that costs is not
    /// counted as the cost of replays; and gives back the load that is left.
    pub fn prepared(&mut self, what: &str, server: &Server, load: &Load) -> Outcome<Load> {
        if load.work() != Work::Replays {
            return Ok(load.clone());
        }
        let (preparation, load) = load.clone().prepared_apart(self.next_seed());
        self.load(what, server, &preparation, || Ok(()))?;
        Ok(load)
    }

    /// A load on Semel on Postgres, both fresh: an emptied table, a new server. What an operation
    /// costs is put down as the cost `of` such, if that has a name.
    pub fn on_postgres(
        &mut self,
        load: &Load,
        of: impl Into<Option<&'static str>>,
    ) -> Outcome<Report> {
        self.on_postgres_as(load, of, "Semel on Postgres", &[], &[])
    }

    /// The same on a Semel with these arguments and variables.
    pub fn on_postgres_as(
        &mut self,
        load: &Load,
        of: impl Into<Option<&'static str>>,
        what: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Outcome<Report> {
        self.postgres.settle()?;
        let url = self.postgres.url(SEMEL);
        let arguments = [&on(&url), arguments].concat();
        let server = Server::semel_with(&self.semel, &arguments, variables)?;
        let load = &self.prepared(what, &server, load)?;
        if load.work() == Work::Replays {
            // Of what the preparation changed. By itself it would come at some time within the run.
            self.postgres.run(SEMEL, "VACUUM (ANALYZE) records")?;
        }
        let before = Reading::take(Some(&server), Some(&self.postgres))?;
        let report = self.load(what, &server, load, || Ok(()))?;
        let after = Reading::take(Some(&server), Some(&self.postgres))?;
        drop(server);
        self.postgres.wait_until_left(SEMEL)?;
        let Some(of) = of.into() else {
            return Ok(report);
        };
        if load.work() == Work::Replays {
            // They leave no rows to share it out over.
            let cost = before.until(&after, done_in_all(load, &report));
            self.book.put_cost(of, cost);
        } else {
            self.put_cost_by_rows(of, (SEMEL, "records"), &before, &after)?;
        }
        Ok(report)
    }

    /// A load on Semel with a fresh embedded store.
    pub fn embedded(&mut self, load: &Load, of: &'static str) -> Outcome<Report> {
        self.postgres.settle()?;
        let dir = self.data_dir()?;
        let server = self.semel_embedded(dir.path())?;
        let before = Reading::take(Some(&server), None)?;
        let written_before = proc::written_bytes(server.pid());
        let report = self.load("Semel embedded", &server, load, || Ok(()))?;
        let after = Reading::take(Some(&server), None)?;
        let written = proc::written_bytes(server.pid());
        // Until then a part of the keys is in the log alone, and what is there twice is counted twice.
        server.stop()?;
        let operations = done_in_all(load, &report);
        let cost = Cost {
            written_bytes: written
                .zip(written_before)
                .map(|(after, before)| (after - before) / operations),
            disk_bytes: Some(machine::dir_bytes(dir.path())? as f64 / operations),
            ..before.until(&after, operations)
        };
        self.book.put_cost(of, cost);
        Ok(report)
    }

    /// A load on the server that does nothing.
    pub fn noop(&mut self, load: &Load, of: &'static str) -> Outcome<Report> {
        let what = "no-op server";
        self.postgres.settle()?;
        let server = Server::noop()?;
        let load = &self.prepared(what, &server, load)?;
        let before = Reading::take(Some(&server), None)?;
        let report = self.load(what, &server, load, || Ok(()))?;
        let after = Reading::take(Some(&server), None)?;
        let cost = before.until(&after, done_in_all(load, &report));
        self.book.put_cost(of, cost);
        Ok(report)
    }

    /// The work by hand, on an emptied table, as fast as it goes.
    pub fn by_hand(
        &mut self,
        script: Script,
        clients: u64,
        of: Option<&'static str>,
    ) -> Outcome<by_hand::Run> {
        let job = self.job_by_hand(script, clients);
        self.postgres.settle()?;
        let before = Reading::take(None, Some(&self.postgres))?;
        let run = self.run_by_hand(&job)?;
        let after = Reading::take(None, Some(&self.postgres))?;
        if let Some(of) = of {
            self.put_cost_by_rows(of, (BY_HAND, "claims"), &before, &after)?;
        }
        Ok(run)
    }

    /// The work by hand by one client, on an emptied table, each latency written down.
    pub fn by_hand_with_latencies(&mut self, script: Script) -> Outcome<by_hand::Run> {
        let job = by_hand::Job {
            logs: true,
            ..self.job_by_hand(script, 1)
        };
        self.postgres.settle()?;
        self.run_by_hand(&job)
    }

    fn job_by_hand(&self, script: Script, clients: u64) -> by_hand::Job {
        by_hand::Job {
            script,
            clients,
            length: self.plan.length,
            warm_up: self.plan.warm_up,
            logs: false,
        }
    }

    fn run_by_hand(&mut self, job: &by_hand::Job) -> Outcome<by_hand::Run> {
        let pgbench = self.pgbench.clone().ok_or("there is no pgbench")?;
        let run = by_hand::run(&pgbench, &self.postgres, job)?;
        let p50 = run.p50_us.map(|p50| format!(", p50 {p50:.0} µs"));
        let what = format!("pgbench: {:?}, {} clients", job.script, job.clients);
        eprintln!("  {what}: {:.0}/s{}", run.rate, p50.unwrap_or_default());
        self.book.put_run(
            &what,
            json!({"rate": run.rate, "p50_us": run.p50_us, "output": run.output}),
        );
        Ok(run)
    }

    /// Shares out what was spent over the rows that are there now, warming up included; also their
    /// space on disk.
    fn put_cost_by_rows(
        &mut self,
        of: &'static str,
        (database, table): (&str, &str),
        before: &Reading,
        after: &Reading,
    ) -> Outcome<()> {
        let sql = format!("SELECT count(*), pg_total_relation_size('{table}') FROM {table}");
        let [rows, disk_bytes] = self.postgres.numbers(database, &sql)?;
        let rows = rows.max(1) as f64;
        let cost = Cost {
            disk_bytes: Some(disk_bytes as f64 / rows),
            ..before.until(after, rows)
        };
        self.book.put_cost(of, cost);
        Ok(())
    }
}

/// Operations of a run with those while it warmed up, at the rate of the rest.
fn done_in_all(load: &Load, report: &Report) -> f64 {
    let measured_s = load.length().as_secs_f64();
    report.operations * load.whole_length().as_secs_f64() / measured_s
}
