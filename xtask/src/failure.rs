//! Why a command did not succeed, in a sentence for whoever ran it.

use std::fmt;

/// A sentence about what went wrong. Nothing reacts to one kind differently from another,
/// so there are no kinds.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<semel_test_postgres::Error> for Failure {
    fn from(error: semel_test_postgres::Error) -> Self {
        Self(error.to_string())
    }
}
