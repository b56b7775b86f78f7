//! An open stream: many commands at once, answered in whatever order.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use semel_proto::v1::SessionResponse;
use tokio::sync::mpsc;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_stream::Stream as _;
use tonic::{Status, Streaming};

use super::command::{Command, Frame, Reply, Unanswered};
use super::ended::{Fate, ended};
use super::open::Opened;
use super::pending::Pending;

#[cfg(test)]
mod tests;

/// Answers that are taken before commands get a turn again.
const ANSWERS_A_TURN: usize = 256;

/// A stream that owes answers is given up when it was silent from one tick to the next this often.
const SILENT_TICKS: u32 = 2;

/// How long the server may take to end its side after this one ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// An open stream, and what is unanswered on it.
pub(super) struct Running {
    answers: Streaming<SessionResponse>,
    frames: mpsc::UnboundedSender<Vec<Frame>>,
    window: usize,
    pending: Pending,
    /// Whose commands could not be sent, because the stream was over by then. Nothing more is sent
    /// from then on, but what the server answered before it ended the stream is read to its end.
    unsent: Vec<Reply>,
    /// Commands of this turn; kept for its allocation.
    batch: Vec<Command>,
    ticks: Interval,
    silent_ticks: u32,
    /// Some command was answered.
    has_answered: bool,
}

/// How a stream ended.
pub(super) enum End {
    /// By itself, because nobody is left who could send a command.
    ClientsGone,
    /// In another way. Its own commands were told; this is for those that were not sent yet.
    Stream(Unanswered),
    /// It was given up because no command was ever answered on it. Its own commands were told.
    Mute,
}

/// Why a stream is not to go on.
enum Stop {
    ClientsGone,
    Silent,
    Failed(&'static str, Option<Status>),
}

impl Running {
    /// A stream that was just opened; see [`super::Limits`] for `silence`.
    pub(super) fn new(opened: Opened, silence: Duration) -> Self {
        let mut ticks = interval_at(Instant::now() + silence, silence);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            answers: opened.answers,
            frames: opened.frames,
            window: opened.window,
            pending: Pending::new(),
            unsent: Vec::new(),
            batch: Vec::new(),
            ticks,
            silent_ticks: 0,
            has_answered: false,
        }
    }

    /// Carries `first` and then whatever is queued, until the stream ends.
    pub(super) async fn run(
        mut self,
        first: Option<Command>,
        queued: &mut mpsc::Receiver<Command>,
    ) -> End {
        self.batch.extend(first);
        self.send();
        let stop = loop {
            // Lets others run when this task has been busy for long.
            consume_budget().await;
            if let Err(stop) = poll_fn(|cx| self.poll_turn(queued, cx)).await {
                break stop;
            }
        };
        match stop {
            Stop::ClientsGone => {
                self.part().await;
                End::ClientsGone
            }
            Stop::Silent => {
                let has_answered = self.has_answered;
                let unsent = self.refuse_all("it was silent for too long", None);
                if has_answered {
                    End::Stream(unsent)
                } else {
                    End::Mute
                }
            }
            Stop::Failed(how, cause) => End::Stream(self.refuse_all(how, cause.as_ref())),
        }
    }

    /// Tells those whose commands are unanswered, and returns what is to be told of commands that
    /// were never on the stream.
    fn refuse_all(mut self, how: &'static str, cause: Option<&Status>) -> Unanswered {
        let (lost, unsent) = (self.pending.len(), self.unsent.len());
        tracing::debug!(how, ?cause, lost, unsent, "a session ended");
        let unanswered = |fate| Unanswered::Failed(ended(fate, how, cause.cloned()));
        self.pending.refuse_all(&unanswered(Fate::Lost));
        for reply in self.unsent {
            reply.refuse(unanswered(Fate::NotSent));
        }
        unanswered(Fate::NotSent)
    }

    /// Takes all the answers that are there, and then all the commands that there is room for.
    /// Pending when there was nothing of either.
    fn poll_turn(
        &mut self,
        queued: &mut mpsc::Receiver<Command>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stop>> {
        let mut was_idle = true;
        for _ in 0..ANSWERS_A_TURN {
            match Pin::new(&mut self.answers).poll_next(cx) {
                Poll::Ready(Some(Ok(answer))) => {
                    was_idle = false;
                    if let Err(malformed) = self.pending.settle(answer) {
                        return Poll::Ready(Err(Stop::Failed(malformed.0, None)));
                    }
                }
                Poll::Ready(Some(Err(status))) => {
                    return Poll::Ready(Err(Stop::Failed("it broke", Some(status))));
                }
                Poll::Ready(None) => {
                    return Poll::Ready(Err(Stop::Failed("the server ended it", None)));
                }
                Poll::Pending => break,
            }
        }
        if !was_idle {
            self.silent_ticks = 0;
            self.has_answered = true;
        }
        let room = self.window - self.pending.len();
        if room > 0 && self.unsent.is_empty() {
            match queued.poll_recv_many(cx, &mut self.batch, room) {
                Poll::Ready(0) => return Poll::Ready(Err(Stop::ClientsGone)),
                Poll::Ready(_) => {
                    was_idle = false;
                    self.send();
                }
                Poll::Pending => {}
            }
        }
        if !was_idle {
            return Poll::Ready(Ok(()));
        }
        self.poll_silence(cx).map(Err)
    }

    /// Numbers the commands of this turn and hands them to HTTP/2 in one piece.
    fn send(&mut self) {
        if self.pending.is_empty() {
            // Nothing was owed until now.
            self.silent_ticks = 0;
        }
        let mut frames = Vec::with_capacity(self.batch.len());
        let commands = self.batch.drain(..);
        frames.extend(commands.filter_map(|command| self.pending.number(command)));
        if frames.is_empty() {
            return;
        }
        if let Err(mpsc::error::SendError(frames)) = self.frames.send(frames) {
            self.unsent = self.pending.withdraw(&frames);
        }
    }

    /// Ready when the stream owes answers, or its end, and has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        while !(self.pending.is_empty() && self.unsent.is_empty()) {
            match self.ticks.poll_tick(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(_) if self.silent_ticks >= SILENT_TICKS => {
                    return Poll::Ready(Stop::Silent);
                }
                Poll::Ready(_) => self.silent_ticks += 1,
            }
        }
        Poll::Pending
    }

    /// Ends this side and waits for the server to end its own, so that the stream ends well.
    async fn part(self) {
        let Self {
            mut answers,
            frames,
            ..
        } = self;
        drop(frames);
        let rest = async { while let Ok(Some(_)) = answers.message().await {} };
        let _ = timeout(FAREWELL, rest).await;
    }
}
