//! What the tests stand on: databases of their own, servers on them, and short words for commands
//! and answers.
//!
//! A [`House`] is one empty database with a first server on it and a clock that stands until the
//! test moves it. [`Engine`] says which database; nothing else in here, and no case, knows.
//!
//! `SEMEL_TEST_DATABASE_URL` names a Postgres, or another engine that speaks its protocol, to use
//! instead of the private one. Each test makes a schema of its own there and drops it at its end.

mod answers;
mod commands;
mod engine;
mod house;
pub mod model;
mod postgres;
mod records;
mod sqlite;
mod suite;

pub use answers::{Answer, claim_of, grant_of, standing_of, word, word_of};
pub use commands::*;
pub use engine::{Database, Engine};
pub use house::{House, Server};
pub use postgres::Postgres;
pub use records::*;
pub use sqlite::Sqlite;
pub use suite::{BOUND, run, run_on, within};

/// The guide's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/webhooks.md")]
struct Webhooks;
