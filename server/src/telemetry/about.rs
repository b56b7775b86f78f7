//! A command, as far as it is told of.

use super::{
    spans::Origin,
    words::{SettlementKind, What},
};
use crate::key::{
    Token,
    transition::{Command, Failure},
};

/// What is told of a command beside its answer.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// What is asked.
    pub what: What,
    /// What a holder came with.
    pub token: Option<Token>,
    /// Where it comes from.
    pub origin: Origin,
}

impl About {
    /// What is told of `command`.
    pub fn of(command: &Command, origin: Origin) -> Self {
        let (what, token) = match command {
            Command::Claim(_) => (What::Claim, None),
            Command::Lookup => (What::Lookup, None),
            Command::Complete(complete) => (
                What::Settlement(SettlementKind::Complete),
                Some(&complete.token),
            ),
            Command::Fail(fail) => {
                let kind = match fail.failure {
                    Failure::Retryable { .. } => SettlementKind::FailRetryable,
                    Failure::Terminal { .. } => SettlementKind::FailTerminal,
                    Failure::Unknown => SettlementKind::FailUnknown,
                };
                (What::Settlement(kind), Some(&fail.token))
            }
            Command::Extend(extend) => (What::Extend, Some(&extend.token)),
            Command::Checkpoint { token, .. } => (What::Checkpoint, Some(token)),
        };
        Self {
            what,
            token: token.copied(),
            origin,
        }
    }
}
