//! Reads a stream's commands, checks them and hands them to the lanes.

use std::{collections::HashMap, future::pending, pin::pin, sync::Arc, time::Duration};

use semel_proto::v1::{
    SessionCancelled, SessionRequest, session_request::Command as Wire, session_response::Answer,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    SessionRpc, WAITS, WINDOW,
    outbox::{Outbox, Reserved},
};
use crate::{
    key::{
        Invalid, Jitter,
        transition::{Claim, Command, Refusal, Reply},
    },
    lanes::{Answers, Lanes, Ticket, Wait},
    policies::Policies,
    rpc::{
        Admission,
        request::{self, ClaimCall},
        service::{answer_by, id_of},
        status, told,
    },
    telemetry::{About, Asked, Kind, Origin, SettlementKind, Telemetry, What},
};

/// The reading side of one stream.
pub(super) struct Reader {
    lanes: Arc<Lanes>,
    policies: Arc<Policies>,
    admission: Admission,
    stop: CancellationToken,
    window: Arc<Semaphore>,
    outbox: Arc<Outbox>,
    /// The same, as the lanes know it.
    answers: Arc<dyn Answers>,
    /// Claims that wait, by number; dropping the sender's other half tells that one has ended.
    waits: HashMap<u64, oneshot::Sender<()>>,
    /// Places for more of them.
    wait_places: Arc<Semaphore>,
    deadline: Option<Instant>,
    telemetry: Arc<Telemetry>,
    /// Where the stream comes from.
    origin: Origin,
}

impl Reader {
    pub(super) fn new(
        rpc: &SessionRpc,
        outbox: Arc<Outbox>,
        deadline: Option<Instant>,
        origin: Origin,
    ) -> Self {
        Self {
            lanes: rpc.lanes.clone(),
            policies: rpc.policies.clone(),
            admission: rpc.admission.clone(),
            stop: rpc.stop.clone(),
            window: Arc::new(Semaphore::new(WINDOW as usize)),
            answers: outbox.clone(),
            outbox,
            waits: HashMap::new(),
            wait_places: Arc::new(Semaphore::new(WAITS)),
            deadline,
            telemetry: rpc.telemetry.clone(),
            origin,
        }
    }

    /// Reads until the stream, its deadline or the server ends. The stream's answers end when the
    /// last of what was read is answered, because then nobody has the outbox any more.
    pub(super) async fn run(mut self, mut commands: Streaming<SessionRequest>) {
        let stop = self.stop.clone();
        let outbox = self.outbox.clone();
        let deadline = self.deadline;
        let mut stopped = pin!(stop.cancelled());
        let mut closed = pin!(outbox.closed());
        let mut expired = pin!(async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => pending().await,
            }
        });
        while !stop.is_cancelled() {
            // Asked here too, for a client that always has something to read.
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                outbox.end_with(status::deadline_exceeded());
                break;
            }
            let next = tokio::select! {
                // First what is most often ready: the others are looked at when there is nothing
                // to read.
                biased;
                next = self.next(&mut commands) => next,
                () = &mut stopped => break,
                () = &mut closed => break,
                () = &mut expired => {
                    outbox.end_with(status::deadline_exceeded());
                    break;
                }
            };
            match next {
                // Outside of the select: what was read is not dropped again.
                Ok(Some((place, request))) => self.hand_on(place, request).await,
                Ok(None) => break,
                Err(status) => {
                    outbox.end_with(status::malformed_message(&status).unwrap_or(status));
                    break;
                }
            }
        }
    }

    /// The next command, once there is room for its answer; `None` at the stream's end.
    async fn next(
        &self,
        commands: &mut Streaming<SessionRequest>,
    ) -> Result<Option<(OwnedSemaphorePermit, SessionRequest)>, Status> {
        self.outbox.has_room(|| self.under_way()).await;
        let place = permit(&self.window).await;
        let request = commands.message().await?;
        Ok(request.map(|request| (place, request)))
    }

    /// Commands that have a place of the window and do not wait.
    fn under_way(&self) -> usize {
        let taken = WINDOW as usize - self.window.available_permits();
        taken.saturating_sub(WAITS - self.wait_places.available_permits())
    }

    async fn hand_on(&mut self, place: OwnedSemaphorePermit, request: SessionRequest) {
        // First of all: whoever waits for room takes no place of others.
        let room = self.outbox.reserve(request.command.as_ref()).await;
        let budget = match request.command {
            Some(Wire::Claim(_) | Wire::Lookup(_)) | None => &self.admission.callers,
            Some(_) => &self.admission.holders,
        };
        let mut ticket = Ticket {
            number: request.id,
            window: place,
            budget: permit(budget).await,
            about: About::default(),
        };
        if ticket.number == 0 {
            let invalid = Invalid::new("id", "must not be 0");
            return self.outbox.refuse(ticket, &status::invalid(None, &invalid));
        }
        let sent = Some(request.traceparent.as_str()).filter(|text| !text.is_empty());
        let Some(command) = request.command else {
            let invalid = Invalid::new("command", "must be set, to one that this server knows");
            return self.outbox.refuse(ticket, &status::invalid(None, &invalid));
        };
        if let Wire::Cancel(cancel) = command {
            return self.cancel(ticket, cancel.id);
        }
        let origin = self.origin_of(&command, sent);
        let traceparent = origin.traceparent(sent);
        let (namespace, key) = names(&command);
        let id = match id_of(namespace, key) {
            Ok(id) => id,
            Err(status) => {
                ticket.about.origin = origin;
                return self.outbox.refuse(ticket, &status);
            }
        };
        let mut wait = None;
        let mut with_delivery = false;
        let (what, checked) = match command {
            Wire::Claim(it) => {
                let called = request::claim(&id, it, traceparent, &self.policies);
                let claim = called.map(|ClaimCall { claim, wait: asked }| {
                    wait = asked;
                    Command::Claim(claim)
                });
                (What::Claim, claim)
            }
            Wire::Lookup(it) => {
                with_delivery = it.include_delivery;
                (What::Lookup, Ok(Command::Lookup))
            }
            Wire::Complete(it) => {
                let what = What::Settlement(SettlementKind::Complete);
                (what, request::complete(it))
            }
            Wire::Fail(it) => {
                let what = What::Settlement(request::failure_kind(&it));
                (what, request::fail(it, Jitter::new(rand::random())))
            }
            Wire::Extend(it) => (What::Extend, request::extend(it)),
            Wire::Checkpoint(it) => (What::Checkpoint, request::checkpoint(it)),
            Wire::Cancel(_) => unreachable!("it was taken out above"),
        };
        origin.is_about(&id, || self.telemetry.show(&id));
        let asked = Asked::new(id, &origin);
        let command = match checked {
            Ok(command) => command,
            Err(invalid) => {
                ticket.about = About {
                    what,
                    token: None,
                    origin,
                };
                let refused = Err(Refusal::Invalid(invalid).into());
                return self.outbox.take(ticket, asked.id, refused);
            }
        };
        ticket.about = About::of(&command, origin);
        match (command, wait, room) {
            (Command::Claim(claim), Some(wait), _) => self.wait(ticket, asked, claim, wait).await,
            (Command::Lookup, ..) if with_delivery => self.look_up_with_delivery(ticket, asked),
            (command, _, None) => {
                self.lanes
                    .submit(asked, command, &self.answers, ticket)
                    .await;
            }
            (command, _, Some(room)) => {
                let answers: Arc<dyn Answers> = Arc::new(Reserved::new(self.outbox.clone(), room));
                self.lanes.submit(asked, command, &answers, ticket).await;
            }
        }
    }

    /// Where a command comes from: of a context of its own, or of none. The stream's would put all of
    /// its commands into one trace.
    fn origin_of(&self, command: &Wire, traceparent: Option<&str>) -> Origin {
        let kind = match command {
            Wire::Claim(_) => Kind::Claim,
            Wire::Complete(_) => Kind::Complete,
            Wire::Fail(_) => Kind::Fail,
            Wire::Lookup(_) => Kind::Lookup,
            Wire::Extend(_) => Kind::Extend,
            Wire::Checkpoint(_) => Kind::Checkpoint,
            Wire::Cancel(_) => Kind::Other,
        };
        let declined = match traceparent {
            None => self.origin.declines(),
            Some(_) => None,
        };
        let origin = declined.unwrap_or_else(|| self.telemetry.origin(kind, traceparent, None));
        if let Some(span) = &origin.span {
            span.came_by_session(self.origin.span.as_deref());
        }
        origin
    }

    fn cancel(&mut self, ticket: Ticket, number: u64) {
        if let Some(wait) = self.waits.remove(&number) {
            let _ = wait.send(());
        }
        self.outbox
            .answer(ticket, Answer::Cancelled(SessionCancelled {}));
    }

    /// Waits beside the stream: what comes behind the claim must not wait with it. Where too many
    /// of the stream's claims wait it does not, so that there is room left for what ends the others.
    async fn wait(&mut self, ticket: Ticket, asked: Asked, claim: Claim, wait: Duration) {
        let Ok(wait_place) = self.wait_places.clone().try_acquire_owned() else {
            let claim = Command::Claim(claim);
            return self.lanes.submit(asked, claim, &self.answers, ticket).await;
        };
        let (cancel, cancelled) = oneshot::channel();
        if self.waits.len() >= WINDOW as usize {
            self.waits.retain(|_, wait| !wait.is_closed());
        }
        self.waits.insert(ticket.number, cancel);
        let now = Instant::now();
        let until = self.deadline.map_or(now + wait, |deadline| {
            answer_by(deadline, now).min(now + wait)
        });
        let (lanes, outbox) = (self.lanes.clone(), self.outbox.clone());
        let (telemetry, id) = (self.telemetry.clone(), asked.id.clone());
        tokio::spawn(async move {
            let _wait_place = wait_place;
            let cancelled = async {
                // The other half goes with the reader, and that is no cancellation.
                if cancelled.await.is_err() {
                    pending().await
                }
            };
            tokio::select! {
                biased;
                answer = lanes.claim_unless(cancelled, asked, claim, Wait { until }) => {
                    match answer.transpose() {
                        Some(answer) => outbox.take(ticket, id, answer.map(Reply::Claim)),
                        None => {
                            told::abandoned(&telemetry, &id, &ticket.about);
                            outbox.refuse(ticket, &status::cancelled(&id));
                        }
                    }
                }
                () = outbox.closed() => told::abandoned(&telemetry, &id, &ticket.about),
            }
        });
    }

    fn look_up_with_delivery(&self, ticket: Ticket, asked: Asked) {
        let (lanes, outbox) = (self.lanes.clone(), self.outbox.clone());
        tokio::spawn(async move {
            let id = asked.id.clone();
            let answer = lanes.call_in_turn(asked, Command::Lookup).await;
            outbox.take_with_delivery(ticket, id, answer);
        });
    }
}

/// Waits for a place. The semaphores are never closed.
async fn permit(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    loop {
        if let Ok(place) = places.clone().acquire_owned().await {
            return place;
        }
    }
}

/// The namespace and key that a command names.
fn names(command: &Wire) -> (&str, &str) {
    match command {
        Wire::Claim(it) => (&it.namespace, &it.key),
        Wire::Complete(it) => (&it.namespace, &it.key),
        Wire::Fail(it) => (&it.namespace, &it.key),
        Wire::Lookup(it) => (&it.namespace, &it.key),
        Wire::Extend(it) => (&it.namespace, &it.key),
        Wire::Checkpoint(it) => (&it.namespace, &it.key),
        Wire::Cancel(_) => ("", ""),
    }
}
