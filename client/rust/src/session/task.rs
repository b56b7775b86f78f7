//! The life of one connection's session, from its first command to its last caller.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::client::Grpc;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use super::command::{Command, Unanswered};
use super::open::{self, NotOpened, Remedy, Rest};
use super::stream::{End, Running};
use super::{Limits, Phase, State, WithoutSession};

/// Owns the queue and, while there is one, the stream.
pub(super) struct Task {
    pub(super) grpc: Grpc<Channel>,
    pub(super) authorization: Option<AsciiMetadataValue>,
    pub(super) queued: mpsc::Receiver<Command>,
    pub(super) state: Arc<State>,
    pub(super) limits: Limits,
    pub(super) without: WithoutSession,
}

/// Nobody can send a command any more.
struct ClientsGone;

impl Task {
    /// Opens a stream when there is something to send, runs it, and again; until the last client
    /// is dropped. Each attempt is for a try of a caller, so that the callers' backoff is this
    /// task's as well.
    pub(super) async fn run(mut self) {
        let mut first = self.next_command().await;
        let mut broken_attempts = 0;
        while let Ok(command) = first {
            first = match self.open().await {
                Ok(opened) => {
                    broken_attempts = 0;
                    self.state.set(Phase::Open);
                    let running = Running::new(opened, self.limits.silence);
                    let end = running.run(command, &mut self.queued).await;
                    self.state.set(Phase::Closed);
                    match end {
                        End::ClientsGone => Err(ClientsGone),
                        End::Stream(unsent) => {
                            self.refuse_queued(&unsent);
                            self.next_command().await
                        }
                        End::Mute => {
                            self.recover(None, NotOpened::Silent, &mut broken_attempts)
                                .await
                        }
                    }
                }
                Err(why) => {
                    tracing::debug!(?why, "a session did not open");
                    self.recover(command, why, &mut broken_attempts).await
                }
            }
        }
    }

    async fn open(&mut self) -> Result<open::Opened, NotOpened> {
        open::open(
            &mut self.grpc,
            self.authorization.as_ref(),
            self.limits.open,
        )
        .await
    }

    /// Waits for a command that somebody still waits for.
    async fn next_command(&mut self) -> Result<Option<Command>, ClientsGone> {
        loop {
            let command = self.queued.recv().await.ok_or(ClientsGone)?;
            if !command.reply.is_abandoned() {
                return Ok(Some(command));
            }
        }
    }

    /// Tells those who wait why they do in vain, and waits for the reason to try again: a command,
    /// or, after a rest, a nudge.
    async fn recover(
        &mut self,
        waiting: Option<Command>,
        why: NotOpened,
        broken_attempts: &mut u32,
    ) -> Result<Option<Command>, ClientsGone> {
        if why.broke_off() {
            *broken_attempts += 1;
        } else {
            *broken_attempts = 0;
        }
        let remedy = match self.without {
            WithoutSession::Fail => Remedy::Tell(why.into_status()),
            WithoutSession::GoAlone => why.remedy(*broken_attempts),
        };
        match remedy {
            Remedy::Tell(status) => {
                self.state.set(Phase::Closed);
                self.refuse(waiting, &Unanswered::Failed(status));
                self.next_command().await
            }
            Remedy::GoAlone(rest) => {
                let rest = match rest {
                    Rest::Refused => self.limits.refused,
                    Rest::Doubtful => self.limits.doubtful,
                };
                tracing::info!(?rest, "there is no session to be had; calls go alone");
                self.state.set(Phase::Resting);
                self.refuse(waiting, &Unanswered::GoAlone);
                self.rest(rest).await?;
                Ok(None)
            }
        }
    }

    fn refuse(&mut self, first: Option<Command>, why: &Unanswered) {
        if let Some(first) = first {
            first.reply.refuse(why.clone());
        }
        self.refuse_queued(why);
    }

    /// A stream is a matter of the commands that were there when it failed. Those that come while
    /// these are told so have waited to get in, and are told the same.
    fn refuse_queued(&mut self, why: &Unanswered) {
        while let Ok(command) = self.queued.try_recv() {
            command.reply.refuse(why.clone());
        }
    }

    /// Lets calls go alone for `rest`, and on until one of them asks for another attempt.
    async fn rest(&mut self, rest: Duration) -> Result<(), ClientsGone> {
        let state = self.state.clone();
        let rested = async {
            sleep(rest).await;
            state.set(Phase::Rested);
            state.again.notified().await;
        };
        tokio::pin!(rested);
        loop {
            tokio::select! {
                () = &mut rested => return Ok(()),
                // From callers that had not seen yet that there is no session.
                late = self.queued.recv() => match late {
                    Some(late) => late.reply.refuse(Unanswered::GoAlone),
                    None => return Err(ClientsGone),
                },
            }
        }
    }
}
