//! Answers in a word, as the contract's tables say them.

use semel_server::{
    key::transition::{ClaimGrant, ClaimReply, Outcome, Refusal, Reply},
    lanes::LaneError,
};

/// What a server answers.
pub type Answer = Result<Reply, LaneError>;

/// An answer in a word.
pub fn word(answer: &Answer) -> &'static str {
    match answer {
        Ok(reply) => word_of_reply(reply),
        Err(LaneError::Refused(refusal)) => word_of_refusal(refusal),
        Err(LaneError::QueueFull) => "QUEUE_FULL",
        Err(LaneError::ShuttingDown) => "SHUTTING_DOWN",
        Err(LaneError::StoreUnavailable(_)) => "UNAVAILABLE",
        Err(LaneError::StoreRejected(_)) => "REJECTED",
        Err(LaneError::Contention) => "CONTENTION",
    }
}

fn word_of_reply(reply: &Reply) -> &'static str {
    match reply {
        Reply::Claim(ClaimReply::Claimed(_)) => "claimed",
        Reply::Claim(ClaimReply::Standing(outcome)) | Reply::Lookup { outcome, .. } => {
            word_of(outcome)
        }
        Reply::Complete { repeat: true, .. } | Reply::Fail { repeat: true, .. } => "repeat",
        Reply::Complete { .. } => "stored",
        Reply::Fail { outcome, .. } => word_of(outcome),
        Reply::Extend { .. } => "extended",
        Reply::Checkpoint => "saved",
    }
}

fn word_of_refusal(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Invalid(_) => "INVALID",
        Refusal::FingerprintMismatch { .. } => "FINGERPRINT_MISMATCH",
        Refusal::EventTooOld => "EVENT_TOO_OLD",
        Refusal::Superseded { .. } => "SUPERSEDED",
        Refusal::LeaseLost { .. } => "LEASE_LOST",
        Refusal::ResultConflict { .. } => "RESULT_CONFLICT",
        Refusal::AlreadySettled { .. } => "ALREADY_SETTLED",
        Refusal::HoldLimitReached { .. } => "HOLD_LIMIT_REACHED",
        Refusal::KeyNotFound => "NOT_FOUND",
    }
}

/// What stands, in a word.
pub fn word_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::InProgress { .. } => "in progress",
        Outcome::BackingOff { .. } => "backing off",
        Outcome::Completed { .. } => "completed",
        Outcome::Failed { .. } => "failed",
        Outcome::Dead { .. } => "dead",
        Outcome::Uncertain { .. } => "uncertain",
    }
}

/// The answer to a Claim.
pub fn claim_of(answer: Answer) -> ClaimReply {
    match answer {
        Ok(Reply::Claim(reply)) => reply,
        other => panic!("no answer to a Claim: {other:?}"),
    }
}

/// The grant of a Claim that has to have been granted.
pub fn grant_of(answer: Answer) -> ClaimGrant {
    match answer {
        Ok(Reply::Claim(ClaimReply::Claimed(grant))) => grant,
        other => panic!("not claimed: {other:?}"),
    }
}

/// What stands, as told to a Claim that must not have been granted.
pub fn standing_of(answer: Answer) -> Outcome {
    match answer {
        Ok(Reply::Claim(ClaimReply::Standing(outcome))) => outcome,
        other => panic!("nothing stands in the way: {other:?}"),
    }
}
