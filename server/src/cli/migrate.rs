//! `semel migrate`: brings a database's schema up to date.

use super::{Exit, serve};
use crate::{app, config::Config};

/// Bring the database's schema up to date.
///
/// `semel serve` does this by itself unless told --no-migrate. Safe to run while servers run, and
/// from several places at once.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: serve::Place,
}

pub(super) async fn run(args: Args) -> Exit {
    let config = match Config::load(&args.place.overrides()) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("semel: {problems}");
            return Exit::Config;
        }
    };
    match app::migrate_store(&config.store).await {
        Ok(()) => {
            println!("the schema is up to date");
            Exit::Success
        }
        Err(error) => serve::open_failed(&error),
    }
}
