//! A private PostgreSQL for tests and for development.
//!
//! ```no_run
//! use semel_test_postgres::Cluster;
//!
//! let cluster = Cluster::start()?;
//! cluster.create_database("orders")?;
//! println!("{}", cluster.url("orders"));
//! # Ok::<(), semel_test_postgres::Error>(())
//! ```
//!
//! - [`Binaries`] finds a PostgreSQL on the machine, or fetches a pinned one.
//! - [`Cluster`] runs it in a fresh temporary directory, on a Unix socket and a free
//!   loopback port, with fsync on: a test that checks durability must not be lied to.
//! - [`tools`] fetches what the project needs but a fresh machine lacks, once, whole or
//!   not at all.
//!
//! A cluster lives exactly as long as its owner. The server runs under a small shell
//! script that waits on a pipe which this process holds: whatever ends the process, be it
//! a return, a panic, Ctrl-C or SIGKILL, closes the pipe, and the script stops the server
//! and removes its directory. Nothing relies on a destructor.
//!
//! Unix only, like PostgreSQL's own socket and signals that it leans on. Every call blocks
//! the thread; from async code, use a blocking task.

mod account;
mod binaries;
mod cluster;
mod error;
mod scratch;
mod settings;
pub mod tools;
mod wire;

pub use binaries::{BIN_VARIABLE, Binaries, Origin};
pub use cluster::Cluster;
pub use error::Error;
pub use settings::Settings;
pub use wire::Row;
