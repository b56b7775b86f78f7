//! Every command is told of once, where it is answered: counted, shown to its span, and said in the
//! log: at debug, but for refusals that somebody may want to look into.

use tonic::Code;
use tracing::Level;

use super::status;
use crate::{
    key::{
        KeyId,
        transition::{ClaimReply, Outcome, Refusal, Reply},
    },
    lanes::LaneError,
    telemetry::{About, ClaimResult, SettlementResult, Telemetry, What},
};

/// What a command came to.
type Answer<'a> = Result<&'a Reply, &'a LaneError>;

/// Tells of a command's answer. Its span is not ended.
pub(super) fn tell(telemetry: &Telemetry, id: &KeyId, about: &About, answer: Answer<'_>) {
    let trace = about.origin.exemplar();
    match about.what {
        What::Claim => {
            if let Some(series) = telemetry.series(id.namespace()) {
                series.claimed(claim_result(answer), trace);
            }
        }
        What::Settlement(kind) => {
            if let Some(series) = telemetry.series(id.namespace()) {
                series.settled(kind, settlement_result(answer), trace);
            }
        }
        _ => {}
    }
    if let Some(span) = &about.origin.span {
        span.answered(word(answer), about.token);
    }
    say(telemetry, id, about, answer);
}

/// Tells of a command whose caller did not wait for its answer. A lane may carry it out all the same, and
/// tells then what became of the key.
pub(super) fn abandoned(telemetry: &Telemetry, id: &KeyId, about: &About) {
    const ABANDONED: &str = ClaimResult::Abandoned.as_str();
    let trace = about.origin.exemplar();
    if let Some(series) = telemetry.series(id.namespace()) {
        match about.what {
            What::Claim => series.claimed(ClaimResult::Abandoned, trace),
            What::Settlement(kind) => series.settled(kind, SettlementResult::Abandoned, trace),
            _ => {}
        }
    }
    if let Some(span) = &about.origin.span {
        span.answered(ABANDONED, about.token);
    }
    tracing::debug!(
        namespace = id.namespace().as_str(),
        key = telemetry.show(id),
        call = about.what.as_str(),
        outcome = ABANDONED,
        trace_id = about.origin.trace_id().map(tracing::field::display),
        "its caller did not wait"
    );
}

/// A single call until it is told of: one that is dropped before has been abandoned.
pub(super) struct Untold<'t> {
    telemetry: &'t Telemetry,
    id: KeyId,
    about: About,
    is_told: bool,
}

impl<'t> Untold<'t> {
    pub fn new(telemetry: &'t Telemetry, id: &KeyId, about: About) -> Self {
        Self {
            telemetry,
            id: id.clone(),
            about,
            is_told: false,
        }
    }

    pub fn tell(mut self, answer: Answer<'_>) {
        self.is_told = true;
        tell(self.telemetry, &self.id, &self.about, answer);
    }
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            abandoned(self.telemetry, &self.id, &self.about);
        }
    }
}

/// The code that a command's answer has, or would have as that of a single call.
pub(super) fn code(answer: Answer<'_>) -> Code {
    answer.map_or_else(status::code_of_lane, |_| Code::Ok)
}

fn say(telemetry: &Telemetry, id: &KeyId, about: &About, answer: Answer<'_>) {
    // Two levels, because the level of a line is a part of its place in the code.
    macro_rules! line {
        ($level:expr, $message:literal) => {
            tracing::event!(
                $level,
                namespace = id.namespace().as_str(),
                key = telemetry.show(id),
                call = about.what.as_str(),
                outcome = word(answer),
                trace_id = about.origin.trace_id().map(tracing::field::display),
                $message
            )
        };
    }
    let is_a_conflict = matches!(
        answer,
        Err(LaneError::Refused(
            Refusal::LeaseLost { .. }
                | Refusal::ResultConflict { .. }
                | Refusal::AlreadySettled { .. }
                | Refusal::HoldLimitReached { .. }
        ))
    );
    if is_a_conflict {
        line!(Level::INFO, "refused");
    } else if tracing::enabled!(Level::DEBUG) {
        match answer {
            Ok(_) => line!(Level::DEBUG, "answered"),
            Err(_) => line!(Level::DEBUG, "not carried out"),
        }
    }
}

/// What an answer is called in spans and log lines.
fn word(answer: Answer<'_>) -> &'static str {
    match answer {
        Ok(Reply::Claim(ClaimReply::Claimed(_))) => "claimed",
        Ok(
            Reply::Claim(ClaimReply::Standing(outcome))
            | Reply::Fail { outcome, .. }
            | Reply::Lookup { outcome, .. },
        ) => standing(outcome).as_str(),
        Ok(Reply::Complete { .. }) => "completed",
        Ok(Reply::Extend { .. }) => "extended",
        Ok(Reply::Checkpoint) => "saved",
        Err(LaneError::Refused(refusal)) => match refusal {
            Refusal::Invalid(_) => "invalid",
            Refusal::FingerprintMismatch { .. } => "fingerprint_mismatch",
            Refusal::EventTooOld => "event_too_old",
            Refusal::Superseded { .. } => "superseded",
            Refusal::LeaseLost { .. } => "lease_lost",
            Refusal::ResultConflict { .. } => "result_conflict",
            Refusal::AlreadySettled { .. } => "already_settled",
            Refusal::HoldLimitReached { .. } => "hold_limit_reached",
            Refusal::KeyNotFound => "key_not_found",
        },
        Err(LaneError::QueueFull) => "overloaded",
        Err(_) => "unavailable",
    }
}

fn standing(outcome: &Outcome) -> ClaimResult {
    match outcome {
        Outcome::InProgress { .. } => ClaimResult::InProgress,
        Outcome::BackingOff { .. } => ClaimResult::BackingOff,
        Outcome::Completed { .. } => ClaimResult::Completed,
        Outcome::Failed { .. } => ClaimResult::Failed,
        Outcome::Dead { .. } => ClaimResult::Dead,
        Outcome::Uncertain { .. } => ClaimResult::Uncertain,
    }
}

fn claim_result(answer: Answer<'_>) -> ClaimResult {
    match answer {
        Ok(Reply::Claim(ClaimReply::Standing(outcome))) => standing(outcome),
        Ok(_) => ClaimResult::Claimed,
        Err(LaneError::Refused(refusal)) => match refusal {
            Refusal::FingerprintMismatch { .. } => ClaimResult::FingerprintMismatch,
            Refusal::EventTooOld => ClaimResult::EventTooOld,
            Refusal::Superseded { .. } => ClaimResult::Superseded,
            _ => ClaimResult::Invalid,
        },
        Err(LaneError::QueueFull) => ClaimResult::Overloaded,
        Err(_) => ClaimResult::Unavailable,
    }
}

fn settlement_result(answer: Answer<'_>) -> SettlementResult {
    match answer {
        Ok(Reply::Complete { repeat: true, .. } | Reply::Fail { repeat: true, .. }) => {
            SettlementResult::Repeat
        }
        Ok(_) => SettlementResult::Recorded,
        Err(LaneError::Refused(refusal)) => match refusal {
            Refusal::LeaseLost { .. } | Refusal::Superseded { .. } => SettlementResult::LeaseLost,
            Refusal::ResultConflict { .. } => SettlementResult::ResultConflict,
            Refusal::AlreadySettled { .. } => SettlementResult::AlreadySettled,
            Refusal::KeyNotFound => SettlementResult::KeyNotFound,
            _ => SettlementResult::Invalid,
        },
        Err(LaneError::QueueFull) => SettlementResult::Overloaded,
        Err(_) => SettlementResult::Unavailable,
    }
}
