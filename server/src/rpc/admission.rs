//! How many commands the server takes on at once, over all connections.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Two budgets, so that settlements outrank claims under overload: one for callers (Claim,
/// Lookup), one for holders (Complete, Fail, Extend, Checkpoint).
#[derive(Debug, Clone)]
pub struct Admission {
    /// Of Claim and Lookup.
    pub callers: Arc<Semaphore>,
    /// Of Complete, Fail, Extend and Checkpoint.
    pub holders: Arc<Semaphore>,
}

impl Admission {
    /// Takes on up to `calls` of callers, and as many of holders.
    pub fn new(calls: usize) -> Self {
        Self {
            callers: Arc::new(Semaphore::new(calls)),
            holders: Arc::new(Semaphore::new(calls)),
        }
    }
}
