//! Extend: the holder needs more time.

use super::{
    Decision, Refusal, Reply, Standing,
    complete::{already_settled, refuse_stranger},
    revised,
};
use crate::key::{Record, Span, State, Timestamp, Token};

/// The holder asks for a later lease end.
#[derive(Debug, Clone)]
pub struct Extend {
    /// The holder's proof.
    pub token: Token,
    /// The new lease from now on; `None` for the policy's default.
    pub lease: Option<Span>,
}

pub(super) fn extend(extend: &Extend, live: &Standing, now: Timestamp) -> Decision {
    let Standing { record, policy } = live;
    if let Some(refusal) = refuse_stranger(record, &extend.token) {
        return Decision::refuse(refusal);
    }
    let State::InProgress { lease_until } = record.state else {
        return Decision::refuse(already_settled(record));
    };
    let lease = match policy.lease(extend.lease) {
        Ok(lease) => lease,
        Err(invalid) => return Decision::refuse(invalid.into()),
    };
    let hold_until = record.claimed_at + policy.longest_hold();
    if hold_until <= now {
        return Decision::refuse(Refusal::HoldLimitReached {
            current_fence: record.fence,
        });
    }
    // An Extend never shortens a lease, so a late or repeated one does no harm.
    let lease_until = lease_until.max((now + lease).min(hold_until));
    let extended = Record {
        state: State::InProgress { lease_until },
        ..revised(record)
    };
    let reply = Reply::Extend {
        lease: now.until(lease_until),
        hold: now.until(hold_until),
    };
    Decision::replace(extended, reply)
}
