//! Checkpoint: the holder saves its progress for the next attempt.

use bytes::Bytes;

use super::{
    Decision, Reply, Standing,
    complete::{already_settled, refuse_stranger},
    revised,
};
use crate::key::{Record, State, Token};

pub(super) fn checkpoint(token: &Token, checkpoint: &Bytes, live: &Standing) -> Decision {
    let record = &live.record;
    if let Some(refusal) = refuse_stranger(record, token) {
        return Decision::refuse(refusal);
    }
    match record.state {
        State::InProgress { .. } => {
            let saved = Record {
                checkpoint: Some(checkpoint.clone()),
                ..revised(record)
            };
            Decision::replace(saved, Reply::Checkpoint)
        }
        _ => Decision::refuse(already_settled(record)),
    }
}
