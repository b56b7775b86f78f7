//! The commands on one key in one round: decided one after the other, from the record in hand.

use std::{collections::VecDeque, sync::Arc};

use super::{
    events::{self, Event, Source},
    job::{LaneError, QueuedJob},
};
use crate::{
    key::{
        Fence, KeyId, State, Timestamp,
        transition::{ClaimReply, Command, Decision, Reply, Standing, decide},
    },
    store::{Completed, Swap},
    telemetry::{CallSpan, Seen, Telemetry, trace_id},
};

/// How often one command may find that others changed its key meanwhile.
pub(super) const MOST_TRIES: u32 = 16;

/// The commands on one key, in the order they came.
pub(super) struct Group {
    pub id: KeyId,
    pub first: Option<QueuedJob>,
    /// Behind the first. Nearly always there is none, and so nothing to allocate.
    pub rest: VecDeque<QueuedJob>,
    pub known: Option<Known>,
    pub change: Option<Change>,
}

/// What the round knows of a key: read or written in it.
pub(super) struct Known {
    /// When, by the store's clock.
    pub now: Timestamp,
    pub standing: Option<Standing>,
}

/// What a round makes of a record, before it is written.
pub(super) struct Change {
    /// What the swap must find.
    pub expected_fence: Fence,
    pub expected_revision: i32,
    /// Whether those who wait for the key have to look.
    pub is_settled: bool,
    /// From the first command that changed it: those that only looked have seen the change.
    pub decided: Vec<(QueuedJob, Result<Reply, LaneError>)>,
    /// What is to be told of it once it is written.
    pub events: Vec<(Event, Source)>,
}

impl Group {
    /// The first command on its key.
    pub fn of(job: QueuedJob) -> Self {
        Self {
            id: job.id.clone(),
            first: Some(job),
            rest: VecDeque::new(),
            known: None,
            change: None,
        }
    }

    pub fn head(&self) -> Option<&Command> {
        self.first.as_ref().map(|job| &job.command)
    }

    pub fn head_span(&self) -> std::option::IntoIter<&Arc<CallSpan>> {
        let span = self.first.as_ref().and_then(|job| job.span.as_ref());
        span.into_iter()
    }

    /// Of all that have not been answered.
    pub fn spans(&self) -> impl Iterator<Item = &Arc<CallSpan>> {
        let jobs = self.first.iter().chain(&self.rest);
        jobs.filter_map(|job| job.span.as_ref())
    }

    /// Of those that the change is of.
    pub fn changing_spans(&self) -> impl Iterator<Item = &Arc<CallSpan>> {
        let decided = self.change.iter().flat_map(|change| &change.decided);
        decided.filter_map(|(job, _)| job.span.as_ref())
    }

    /// The head is a Complete, and it was recorded.
    pub fn tell_of_completion(&self, telemetry: &Telemetry, completed: &Completed) {
        let Some(job) = &self.first else { return };
        let Command::Complete(complete) = &job.command else {
            return;
        };
        // A first fence is the time of the claim, but for clocks that went back and for attempts in
        // the same microsecond; the record is not at hand.
        let claimed_at = Timestamp::from_micros(complete.token.fence.as_i64());
        let source = Source {
            sampled: job.trace(),
            claim: job.trace_id,
        };
        // What somebody has found out hours later is no handling.
        if !completed.was_uncertain {
            let took = claimed_at.until(completed.at);
            Event::Handled(took).tell(telemetry, &self.id, source);
        }
        if completed.is_late {
            Event::WasLate.tell(telemetry, &self.id, source);
        }
        if let Some(span) = &job.span {
            span.saw(Seen::by_token(&complete.token, completed.attempt));
        }
    }

    fn take_head(&mut self) -> Option<QueuedJob> {
        let next = self.rest.pop_front();
        std::mem::replace(&mut self.first, next)
    }

    pub fn answer_head(&mut self, answer: Result<Reply, LaneError>) {
        if let Some(job) = self.take_head() {
            job.answer(answer);
        }
    }

    pub fn answer_all(&mut self, error: &LaneError) {
        while self.first.is_some() {
            self.answer_head(Err(error.clone()));
        }
    }

    /// Decides one command after the other. What is decided before the first change is answered at
    /// once, the rest when the change is written.
    pub fn decide_all(&mut self, telemetry: &Telemetry) {
        while let (Some(job), Some(Known { now, standing })) = (&self.first, &mut self.known) {
            let decision = decide(&self.id, &job.command, standing.as_ref(), *now);
            let before = standing.as_ref().map(|standing| &standing.record);
            events::note(telemetry, job, before, &decision, *now);
            match decision {
                Decision::Answer(answer) => self.put_down(answer.map_err(LaneError::Refused)),
                Decision::Replace { record, reply } => {
                    let Some(standing) = standing else {
                        unreachable!("there is nothing to replace");
                    };
                    let change = self.change.get_or_insert_with(|| Change::of(standing));
                    let events = events::of_change(&job.command, &standing.record, &record, *now);
                    if !events.is_empty() {
                        let source = Source {
                            sampled: job.trace(),
                            claim: trace_id(&record.traceparent).or(job.trace_id),
                        };
                        let events = events.into_iter().map(|event| (event, source));
                        change.events.extend(events);
                    }
                    change.is_settled |= !matches!(record.state, State::InProgress { .. });
                    standing.record = *record;
                    if let (Command::Claim(claim), Reply::Claim(ClaimReply::Claimed(_))) =
                        (&job.command, &reply)
                    {
                        // A claim brings the namespace's policy of now.
                        standing.policy = claim.policy.clone();
                    }
                    self.put_down(Ok(reply));
                }
                // It stood a moment ago and is gone, or was never there: the next round inserts.
                Decision::Insert(_) => return self.retry_head(),
            }
        }
    }

    /// Answers the head, or keeps its answer until the change that it has seen is written.
    fn put_down(&mut self, answer: Result<Reply, LaneError>) {
        match &mut self.change {
            None => self.answer_head(answer),
            Some(change) => {
                let next = self.rest.pop_front();
                let job = std::mem::replace(&mut self.first, next);
                change.decided.extend(job.map(|job| (job, answer)));
            }
        }
    }

    pub fn swap(&self) -> Option<Swap<'_>> {
        let change = self.change.as_ref()?;
        Some(Swap {
            id: &self.id,
            expected_fence: change.expected_fence,
            expected_revision: change.expected_revision,
            record: &self.known.as_ref()?.standing.as_ref()?.record,
        })
    }

    /// Somebody else changed the record meanwhile: all that was decided is decided again.
    pub fn lost_swap(&mut self, change: Change) {
        self.known = None;
        if let Some(undecided) = self.first.take() {
            self.rest.push_front(undecided);
        }
        for (job, _) in change.decided.into_iter().rev() {
            self.rest.push_front(job);
        }
        self.first = self.rest.pop_front();
        self.retry_head();
    }

    fn retry_head(&mut self) {
        let Some(job) = &mut self.first else {
            return;
        };
        job.tries += 1;
        if job.tries >= MOST_TRIES {
            self.answer_head(Err(LaneError::Contention));
        }
    }
}

impl Change {
    fn of(standing: &Standing) -> Self {
        Self {
            expected_fence: standing.record.fence,
            expected_revision: standing.record.revision,
            is_settled: false,
            decided: Vec::new(),
            events: Vec::new(),
        }
    }
}
