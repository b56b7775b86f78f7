//! What an engine has to bring along to be tested.

use std::sync::Arc;

use async_trait::async_trait;
use semel_server::store::{ManualClock, SharedStore};

/// An engine under test.
#[async_trait]
pub trait Engine {
    /// An empty database that no other test uses.
    async fn create() -> Arc<dyn Database>;
}

/// A database that one test has to itself.
#[async_trait]
pub trait Database: Send + Sync + 'static {
    /// A store for one more server on this database. An engine that serves one process only gives
    /// all of its servers the same one.
    async fn open(&self, clock: &ManualClock) -> SharedStore;

    /// What was ever written, as far as the engine can tell: the same text as long as nothing was,
    /// not even a row lock.
    async fn trace(&self) -> String;

    /// Closes every store that was opened.
    async fn close(&self);

    /// Closes everything and removes the database.
    async fn remove(&self);
}
