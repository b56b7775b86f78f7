//! What can go wrong with a store.

/// A failed store call.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is away, or went away before it answered: what was written may stand or not.
    #[error("the store is unavailable, or went away before it answered: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store refused the statement and rolled it back. One item may be to blame, so the others
    /// are worth sending again without it.
    #[error("the store refused the statement: {0}")]
    Rejected(#[source] Box<dyn std::error::Error + Send + Sync>),
}
