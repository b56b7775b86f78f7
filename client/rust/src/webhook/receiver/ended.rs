//! How a delivery ended, and counting it.

use super::{Settings, standing};
use crate::{
    Error, Run,
    webhook::metrics::{Counter, NAMESPACE, RESULT},
};

/// How a delivery ended: the label `result` of the metric `semel.webhook.deliveries`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The handler ran here, and what it answered is final.
    Handled,
    /// It had been done before, or accepted before.
    Replayed,
    /// Another delivery of it is being handled.
    InProgress,
    /// The last attempt failed, and the next may not start yet.
    BackingOff,
    /// Its signature did not verify.
    Unauthenticated,
    /// It cannot be taken as it is: its body, its key, its principal or its age.
    Invalid,
    /// The key stands for another payload.
    Mismatch,
    /// The attempts are used up.
    Dead,
    /// Nobody knows whether it was done.
    Uncertain,
    /// It could not be taken now: Semel is away, or there is no room.
    Unavailable,
    /// It was answered at once, and is handled afterwards.
    Accepted,
    /// The handler failed, its outcome was not the one that stands, or Semel refused the claim.
    Failed,
}

impl Ended {
    fn as_str(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Replayed => "replayed",
            Self::InProgress => "in_progress",
            Self::BackingOff => "backing_off",
            Self::Unauthenticated => "unauthenticated",
            Self::Invalid => "invalid",
            Self::Mismatch => "mismatch",
            Self::Dead => "dead",
            Self::Uncertain => "uncertain",
            Self::Unavailable => "unavailable",
            Self::Accepted => "accepted",
            Self::Failed => "failed",
        }
    }

    pub fn of_run(run: &Run) -> Self {
        match run {
            Run::Ran { .. } => Self::Handled,
            Run::Failed { .. } => Self::Failed,
            Run::Replayed(_) | Run::ReplayedFailure(_) => Self::Replayed,
            Run::InProgress(_) => Self::InProgress,
            Run::BackingOff(_) => Self::BackingOff,
            Run::Dead(_) => Self::Dead,
            Run::Uncertain(_) => Self::Uncertain,
        }
    }

    pub fn of_error(error: &Error) -> Self {
        match error {
            error if standing::is_away(error) => Self::Unavailable,
            Error::FingerprintMismatch => Self::Mismatch,
            Error::EventTooOld => Self::Invalid,
            // It was, and what it answered is what its sender is told.
            Error::NotRecorded { source, .. } if !standing::is_settled(source) => Self::Handled,
            _ => Self::Failed,
        }
    }
}

/// A delivery that is counted when this is dropped, as what it was last said to have ended as: once,
/// also where its client leaves, or its task panics.
pub(super) struct Count {
    counter: Counter,
    namespace: String,
    ended: Option<Ended>,
}

impl Count {
    /// Of a delivery whose body is yet to come. A client that leaves by then has sent half of it.
    pub fn begun(settings: &Settings) -> Self {
        Self {
            counter: settings.deliveries.clone(),
            namespace: settings.namespace.clone(),
            ended: Some(Ended::Invalid),
        }
    }

    pub fn set(&mut self, ended: Ended) {
        self.ended = Some(ended);
    }

    /// Counts now.
    pub fn end(mut self, ended: Ended) {
        self.set(ended);
    }

    /// It was no delivery.
    pub fn forget(mut self) {
        self.ended = None;
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        if let Some(ended) = self.ended {
            let namespace = std::mem::take(&mut self.namespace);
            let labels = [
                (NAMESPACE, namespace.into()),
                (RESULT, ended.as_str().into()),
            ];
            self.counter.add(labels);
        }
    }
}
