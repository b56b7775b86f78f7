//! `cargo xtask postgres`: a server to develop against.

use std::thread;

use clap::Args;
use semel_test_postgres::{Binaries, Cluster, Settings};

use crate::failure::Failure;
use crate::step::step;

/// Which server.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct Choice {
    /// Use the pinned PostgreSQL, fetched if need be, even if the machine has one.
    #[arg(long)]
    pinned_postgres: bool,
}

impl Choice {
    pub(crate) fn find(self) -> Result<Binaries, Failure> {
        let binaries = step("find PostgreSQL", || {
            Ok(if self.pinned_postgres {
                Binaries::fetch()?
            } else {
                Binaries::find()?
            })
        })?;
        eprintln!("    {:?}: {}", binaries.origin(), binaries.dir().display());
        Ok(binaries)
    }
}

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    choice: Choice,
    /// The database to make.
    #[arg(long, default_value = "semel")]
    database: String,
}

/// Starts a server and keeps it until this process ends, which is also what stops it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let binaries = options.choice.find()?;
    let cluster = step("start PostgreSQL", || {
        let cluster = Cluster::start_from(binaries, Settings::new())?;
        cluster.create_database(&options.database)?;
        Ok(cluster)
    })?;
    eprintln!("    Its data goes when it ends; Ctrl-C ends it.");
    println!("{}", cluster.url(&options.database));
    loop {
        thread::park();
    }
}
