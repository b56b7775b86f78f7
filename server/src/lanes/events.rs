//! What became of a key that an operator wants to know of: counted, and said in one line.

use opentelemetry::trace::TraceId;

use super::job::Job;
use crate::{
    key::{
        KeyId, Record, Span, State, Timestamp,
        transition::{ClaimReply, Command, Decision, Outcome, Reply},
    },
    telemetry::{Seen, Telemetry},
};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A lapsed lease was taken over.
    TookOver,
    /// A settlement came after the lease had lapsed, and before anybody took over.
    WasLate,
    /// A claim was settled, so long after it was made.
    Handled(Span),
    /// The attempts are used up.
    Died,
    /// The holder said that nobody knows.
    BecameUncertain,
}

/// What happens if `after` takes the place of `before` at `now`, by this command.
pub(super) fn of_change(
    command: &Command,
    before: &Record,
    after: &Record,
    now: Timestamp,
) -> Vec<Event> {
    let is_lapsed = matches!(before.state, State::InProgress { lease_until } if lease_until <= now);
    // What somebody has found out hours after it became uncertain is no handling.
    let was_held = matches!(before.state, State::InProgress { .. });
    let mut events = Vec::new();
    match command {
        Command::Claim(_) if is_lapsed && after.attempt > before.attempt => {
            events.push(Event::TookOver);
        }
        Command::Complete(_) | Command::Fail(_) if was_held => {
            events.push(Event::Handled(before.claimed_at.until(now)));
            if is_lapsed {
                events.push(Event::WasLate);
            }
        }
        _ => {}
    }
    match after.state {
        State::Dead { .. } => events.push(Event::Died),
        State::Uncertain { .. } => events.push(Event::BecameUncertain),
        _ => {}
    }
    events
}

/// Where an event comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// The trace of the call, if it is sampled.
    pub sampled: Option<TraceId>,
    /// The trace of the claim that it is about, sampled or not.
    pub claim: Option<TraceId>,
}

impl Event {
    /// Counts it and says it.
    pub fn tell(self, telemetry: &Telemetry, id: &KeyId, source: Source) {
        let series = telemetry.series(id.namespace());
        if let Some(series) = series.as_deref() {
            let trace = source.sampled;
            match self {
                Self::Handled(took) => series.handled(took, trace),
                Self::TookOver => series.taken_over(trace),
                Self::WasLate => series.was_late(trace),
                Self::Died => series.died(trace),
                Self::BecameUncertain => series.became_uncertain(trace),
            }
        }
        macro_rules! line {
            ($say:ident, $message:literal) => {
                tracing::$say!(
                    namespace = id.namespace().as_str(),
                    key = telemetry.show(id),
                    trace_id = source.claim.or(source.sampled).map(tracing::field::display),
                    $message
                )
            };
        }
        match self {
            Self::Handled(_) => {}
            Self::TookOver => line!(info, "a lapsed lease was taken over"),
            Self::WasLate => line!(info, "settled after its lease had lapsed"),
            Self::Died => line!(warn, "a dead letter: its attempts are used up"),
            Self::BecameUncertain => line!(
                warn,
                "uncertain: its holder does not know whether the work was done"
            ),
        }
    }
}

/// Shows the call's span the claim that it met, and counts what was replayed.
pub(super) fn note(
    telemetry: &Telemetry,
    job: &Job,
    standing: Option<&Record>,
    decision: &Decision,
    now: Timestamp,
) {
    let live = standing.filter(|record| !record.is_forgotten(now));
    let span = job.span.as_deref();
    match decision {
        Decision::Answer(answer) => {
            let Some(record) = live else { return };
            if let Some(span) = span {
                let is_own = answer.is_ok() && job.command.is_of_a_holder();
                span.saw(if is_own {
                    Seen::own(record)
                } else {
                    Seen::from(record)
                });
            }
            if let Ok(Reply::Claim(ClaimReply::Standing(outcome))) = answer
                && is_settled(outcome)
                && let Some(settled) = record.settled()
                && let Some(series) = telemetry.series(job.id.namespace())
            {
                series.replayed(
                    settled.at.until(now),
                    settled.at.until(settled.expires_at),
                    job.trace(),
                );
            }
        }
        Decision::Replace { record, reply } => {
            let Some(span) = span else { return };
            match reply {
                Reply::Claim(ClaimReply::Claimed(_)) => {
                    span.took_over(Seen::own(record), live.map(Seen::from));
                }
                Reply::Claim(ClaimReply::Standing(_)) => span.saw(Seen::from(&**record)),
                _ => span.saw(Seen::own(record)),
            }
        }
        Decision::Insert(_) => {}
    }
}

fn is_settled(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Completed { .. } | Outcome::Failed { .. } | Outcome::Dead { .. }
    )
}
