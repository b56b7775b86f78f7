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
        Invalid, Jitter, KeyId,
        transition::{Claim, Command, Reply},
    },
    lanes::{Answers, Lanes, Ticket, Wait},
    policies::Policies,
    rpc::{
        Admission,
        request::{self, ClaimCall},
        service::{answer_by, id_of},
        status,
    },
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
}

impl Reader {
    pub(super) fn new(rpc: &SessionRpc, outbox: Arc<Outbox>, deadline: Option<Instant>) -> Self {
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
        let ticket = Ticket {
            number: request.id,
            window: place,
            budget: permit(budget).await,
        };
        if ticket.number == 0 {
            let invalid = Invalid::new("id", "must not be 0");
            return self.outbox.refuse(ticket, &status::invalid(None, &invalid));
        }
        let traceparent = Some(request.traceparent.as_str()).filter(|text| !text.is_empty());
        let Some(command) = request.command else {
            let invalid = Invalid::new("command", "must be set, to one that this server knows");
            return self.outbox.refuse(ticket, &status::invalid(None, &invalid));
        };
        let checked = match command {
            Wire::Cancel(cancel) => return self.cancel(ticket, cancel.id),
            Wire::Claim(it) => {
                let id = id_of(&it.namespace, &it.key);
                let called =
                    id.and_then(
                        |id| match request::claim(&id, it, traceparent, &self.policies) {
                            Ok(call) => Ok((id, call)),
                            Err(invalid) => Err(status::invalid(Some(&id), &invalid)),
                        },
                    );
                match called {
                    Ok((id, ClaimCall { claim, wait: None })) => Ok((id, Command::Claim(claim))),
                    Ok((
                        id,
                        ClaimCall {
                            claim,
                            wait: Some(wait),
                        },
                    )) => return self.wait(ticket, id, claim, wait).await,
                    Err(status) => Err(status),
                }
            }
            Wire::Lookup(it) => match id_of(&it.namespace, &it.key) {
                Ok(id) if it.include_delivery => return self.look_up_with_delivery(ticket, id),
                id => id.map(|id| (id, Command::Lookup)),
            },
            Wire::Complete(it) => {
                id_of(&it.namespace, &it.key).and_then(|id| checked(id, request::complete(it)))
            }
            Wire::Fail(it) => id_of(&it.namespace, &it.key)
                .and_then(|id| checked(id, request::fail(it, Jitter::new(rand::random())))),
            Wire::Extend(it) => {
                id_of(&it.namespace, &it.key).and_then(|id| checked(id, request::extend(it)))
            }
            Wire::Checkpoint(it) => {
                id_of(&it.namespace, &it.key).and_then(|id| checked(id, request::checkpoint(it)))
            }
        };
        match (checked, room) {
            (Ok((id, command)), None) => {
                self.lanes.submit(id, command, &self.answers, ticket).await;
            }
            (Ok((id, command)), Some(room)) => {
                let answers: Arc<dyn Answers> = Arc::new(Reserved::new(self.outbox.clone(), room));
                self.lanes.submit(id, command, &answers, ticket).await;
            }
            (Err(status), _) => self.outbox.refuse(ticket, &status),
        }
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
    async fn wait(&mut self, ticket: Ticket, id: KeyId, claim: Claim, wait: Duration) {
        let Ok(wait_place) = self.wait_places.clone().try_acquire_owned() else {
            let claim = Command::Claim(claim);
            return self.lanes.submit(id, claim, &self.answers, ticket).await;
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
                answer = lanes.claim_unless(cancelled, id.clone(), claim, Wait { until }) => {
                    match answer.transpose() {
                        Some(answer) => outbox.take(ticket, id, answer.map(Reply::Claim)),
                        None => outbox.refuse(ticket, &status::cancelled(&id)),
                    }
                }
                () = outbox.closed() => {}
            }
        });
    }

    fn look_up_with_delivery(&self, ticket: Ticket, id: KeyId) {
        let (lanes, outbox) = (self.lanes.clone(), self.outbox.clone());
        tokio::spawn(async move {
            let answer = lanes.call_in_turn(id.clone(), Command::Lookup).await;
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

fn checked(id: KeyId, parsed: Result<Command, Invalid>) -> Result<(KeyId, Command), Status> {
    match parsed {
        Ok(command) => Ok((id, command)),
        Err(invalid) => Err(status::invalid(Some(&id), &invalid)),
    }
}
