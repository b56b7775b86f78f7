//! Says how the command ended: to Semel, and to people.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use semel_client::{Client, Error, FailOutcome, Failure, Guard, Held};

use super::OnFailure;
use super::capture::LARGEST_STORED;
use super::command::Ended;
use super::signals::Stop;
use super::stored::StoredRun;
use crate::cli::{Exit, parse::show_duration, remote::Remote};

/// Recording what a command did is worth more patience than asking whether to run it.
const SETTLE_DEADLINE: Duration = Duration::from_secs(30);

/// Records how the command ended. The guard keeps the lease until that is done.
pub(super) struct Recorder<'a> {
    remote: &'a Remote,
    /// How long to go on trying.
    pub deadline: Duration,
    client: Client,
    held: &'a Held,
    guard: &'a Guard,
}

impl<'a> Recorder<'a> {
    pub fn new(remote: &'a Remote, client: &Client, guard: &'a Guard) -> Self {
        let deadline = SETTLE_DEADLINE.max(remote.timeout);
        Self {
            remote,
            deadline,
            client: client.with_deadline(deadline),
            held: guard.context().held(),
            guard,
        }
    }

    /// Records how the command ended; the code to exit with.
    pub async fn record(&self, ended: &Ended, on_failure: OnFailure) -> Exit {
        let exit = Exit::Code(ended.run.exit_code);
        let how = &ended.how;
        let is_success = ended.run.exit_code == 0;
        match on_failure {
            _ if is_success => {}
            // Somebody stopped it: its status says nothing about the operation.
            _ if ended.stopped.is_some() => {
                self.fail(&Failure::retryable(format!("stopped: {how}")))
                    .await;
                return exit;
            }
            OnFailure::Retry => {
                self.fail(&Failure::retryable(how)).await;
                return exit;
            }
            OnFailure::Complete | OnFailure::Terminal => {}
        }
        let is_terminal = !is_success && on_failure == OnFailure::Terminal;
        let recorded = self
            .store(&ended.run, async |result: Bytes| {
                if is_terminal {
                    let failure = Failure::terminal(how, result);
                    self.client.fail(self.held, &failure).await.map(drop)
                } else {
                    self.client.complete(self.held, result).await.map(drop)
                }
            })
            .await;
        match recorded {
            Ok(()) => exit,
            Err(error) if is_success => self.not_recorded(how, &error).await,
            // Its own code says more than ours would: it failed either way.
            Err(error) => {
                eprintln!("semel: the command failed ({how}), and that could not be recorded:");
                self.remote.failed(self.held.key(), &error);
                exit
            }
        }
    }

    /// Somebody would not wait until the end was recorded.
    pub fn given_up(&self, ended: &Ended, stop: Stop) -> Exit {
        eprintln!(
            "semel: stopped while recording: the command ended with {}, under fence {}, and whether \
             that is recorded under {:?} is not known; `semel lookup` tells",
            ended.how,
            self.guard.fence(),
            self.held.key()
        );
        match ended.run.exit_code {
            0 => Exit::NotRecorded,
            _ => Exit::Code(128 + stop.number()),
        }
    }

    /// Stores the run, cut as far as the namespace's limit makes it necessary. Only the server
    /// knows that limit.
    async fn store(
        &self,
        run: &StoredRun,
        send: impl AsyncFn(Bytes) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut limit = LARGEST_STORED;
        loop {
            let answer = send(run.encode(limit).into()).await;
            match answer {
                Err(Error::InvalidArgument { ref violations, .. })
                    if limit > 0 && violations.iter().any(|it| it.field == "result") =>
                {
                    limit = if limit > 128 { limit / 2 } else { 0 };
                }
                answer => return answer,
            }
        }
    }

    /// Records a failure and says what it made of the key.
    async fn fail(&self, failure: &Failure) {
        let key = self.held.key();
        match self
            .client
            .fail(self.held, failure)
            .await
            .map(|recorded| recorded.outcome)
        {
            Ok(FailOutcome::BackingOff(it)) => eprintln!(
                "semel: {failure}; {key} can be claimed again in {}",
                show_duration(it.retry_after)
            ),
            Ok(FailOutcome::Dead(_)) => {
                eprintln!("semel: {failure}; {key} is dead now: its attempts are used up");
            }
            Ok(FailOutcome::Uncertain(_)) => {
                eprintln!("semel: {failure}; {key} is uncertain until somebody resolves it");
            }
            Ok(_) => {}
            Err(error) => {
                eprintln!("semel: {failure}; that could not be recorded, so the claim will lapse:");
                self.remote.failed(key, &error);
            }
        }
    }

    /// The command could not be started, so nothing was done.
    pub async fn not_started(&self, command: &[OsString], error: &io::Error) -> Exit {
        let program = command.first().map(|word| word.to_string_lossy());
        let program = program.unwrap_or_default();
        self.fail(&Failure::retryable(format!(
            "cannot run {program}: {error}"
        )))
        .await;
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        Exit::Code(if is_missing { 127 } else { 126 })
    }

    /// Nobody can say what the command did.
    pub async fn unknown(&self, what: &str) -> Exit {
        self.fail(&Failure::unknown(what)).await;
        Exit::NotRecorded
    }

    /// The command succeeded, and repeats will not know it.
    async fn not_recorded(&self, how: &str, error: &Error) -> Exit {
        let (key, fence) = (self.held.key(), self.guard.fence());
        let then = match error {
            Error::LeaseLost { .. } | Error::Superseded { .. } => {
                "another caller may have run it as well"
            }
            // Refused for good: without a word the key would lapse, and the command run again.
            Error::InvalidArgument { message, .. } => {
                let failure =
                    Failure::unknown(format!("done, but its result was refused: {message}"));
                self.fail(&failure).await;
                "its result was refused"
            }
            Error::AlreadySettled | Error::ResultConflict => {
                "the key was settled in another way in the meantime"
            }
            _ => "a repeat will run it again once the lease has lapsed",
        };
        eprintln!(
            "semel: THE COMMAND SUCCEEDED ({how}, under fence {fence}) BUT THAT IS NOT \
             RECORDED under {key:?}: {then}. The reason:"
        );
        self.remote.failed(key, error);
        Exit::NotRecorded
    }
}
