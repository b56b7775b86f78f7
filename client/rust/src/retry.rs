//! Sends one call until it is answered: same bytes, same attempt id, another connection.
//!
//! Every RPC of Semel may be sent again with the same effect, so the only question is which
//! failures say "no answer" and which say "the answer is no". See [`judge`]. How one try is sent is
//! not decided here: see [`Connection::send`].

use std::error::Error as _;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::connection::{Connection, Way};
use crate::error::Error;
use crate::rpc::Rpc;
use crate::session;
use crate::trace::Trace;

/// A call that was on this many streams when they ended goes alone from then on: it may be what
/// ends them, and is not to take others down with it again.
const LOST_STREAMS: u32 = 2;

/// How long a call may go on, and how its tries are spread over that time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// When to give up.
    pub(crate) deadline: Instant,
    /// The longest that one try may take, so that a hung connection costs one try, not the call.
    pub(crate) try_timeout: Duration,
    /// How far apart tries are.
    pub(crate) backoff: Backoff,
    /// How tries go over their connections.
    pub(crate) way: Way,
}

/// The moment `duration` after `start`, at most a year: what callers ask for, or a server grants,
/// must not overflow the clock.
pub(crate) fn after(start: Instant, duration: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    start + duration.min(YEAR)
}

/// Exponential backoff with full jitter: each wait is random between zero and a bound that
/// doubles, so that callers that failed together do not come back together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// The bound of the first wait.
    pub(crate) initial: Duration,
    /// The bound that no wait passes.
    pub(crate) longest: Duration,
}

impl Backoff {
    /// The wait after the `tries`-th try failed. `at_least` is the server's word (RetryInfo) and
    /// is a lower bound: jitter comes on top of it.
    fn wait(&self, tries: u32, at_least: Option<Duration>) -> Duration {
        let factor = 2u32.saturating_pow(tries.saturating_sub(1));
        let bound = self.initial.saturating_mul(factor).min(self.longest);
        let jitter = rand::random_range(Duration::ZERO..=bound);
        at_least.unwrap_or_default().saturating_add(jitter)
    }
}

/// An answer, and when the try that it answers was sent.
pub(crate) struct Answered<T> {
    pub(crate) answer: T,
    pub(crate) sent: Instant,
}

/// Sends `request` until it is answered for good or the plan's deadline passes.
///
/// # Errors
/// The settled error; or, when time ran out, what the last try failed with.
pub(crate) async fn send_until_answered<'a, R: Rpc>(
    next_connection: impl Fn() -> &'a Connection,
    request: &R,
    trace: Option<&Trace>,
    mut plan: Plan,
) -> Result<Answered<R::Answer>, Error> {
    let mut tries = 0;
    let mut lost_streams = 0;
    let mut way = plan.way;
    let mut last_error = Error::DeadlineExceeded;
    loop {
        // Before the command waits for its turn on a session, so that no lease is overestimated.
        let sent = Instant::now();
        let left = plan.deadline.saturating_duration_since(sent);
        if left.is_zero() {
            return Err(last_error);
        }
        tries += 1;
        let until = sent + left.min(plan.try_timeout);
        let attempt = next_connection().send(request, trace, way, until);
        let (error, at_least) = match timeout_at(until, attempt).await {
            Ok(Ok(answer)) => return Ok(Answered { answer, sent }),
            Ok(Err(status)) => {
                lost_streams += u32::from(session::was_lost(&status));
                match judge(status) {
                    Verdict::Settled(error) => return Err(error),
                    Verdict::NoAnswer { error, at_least } => (error, at_least),
                }
            }
            Err(_) => (Error::DeadlineExceeded, None),
        };
        // What was not answered in time is not left to a session that may be held up as a whole.
        if lost_streams >= LOST_STREAMS || matches!(error, Error::DeadlineExceeded) {
            plan.way = Way::Alone;
        }
        way = match (&error, way) {
            // A session has no room for a large answer while others are not read; a call alone needs
            // none. But where it is a queue that is full, it is a session that waits its turn.
            (Error::ResourceExhausted { .. }, Way::Any) => Way::Alone,
            _ => plan.way,
        };
        let wait = plan.backoff.wait(tries, at_least);
        let left = plan.deadline.saturating_duration_since(Instant::now());
        tracing::debug!(rpc = R::NAME, tries, ?wait, ?left, %error, "no answer yet");
        // A wait that reaches the deadline would only delay the bad news.
        if wait >= left {
            return Err(error);
        }
        last_error = error;
        tokio::time::sleep(wait).await;
    }
}

/// What a status says about the call.
enum Verdict {
    /// The server decided; asking again would be answered the same.
    Settled(Error),
    /// Nothing was decided, or the decision got lost: ask again.
    NoAnswer {
        error: Error,
        at_least: Option<Duration>,
    },
}

/// Tells "no answer" from "the answer is no".
///
/// The codes CANCELLED, UNKNOWN, INTERNAL and RESOURCE_EXHAUSTED have two senders: the server,
/// which means it, and this process's own HTTP/2 stack, which uses them for a connection that
/// broke (hyper "operation was canceled", h2 RST_STREAM and GOAWAY, an I/O error). Tonic attaches
/// a *source* error to those it made itself and none to those it read from the wire; that tells
/// the two apart.
fn judge(status: Status) -> Verdict {
    let from_transport = status.source().is_some();
    let at_least = status
        .get_error_details()
        .retry_info()
        .and_then(|info| info.retry_delay);
    let again = match status.code() {
        Code::Unavailable => true,
        // Without RetryInfo it is a limit that waiting does not lift, such as a message's size.
        Code::ResourceExhausted => from_transport || at_least.is_some(),
        // This client never cancels a call that it still awaits: either end ran into the try's
        // timeout (tonic answers that as CANCELLED), or the stream was reset.
        Code::Cancelled | Code::DeadlineExceeded => true,
        Code::Unknown | Code::Internal => from_transport,
        _ => false,
    };
    if !again {
        return Verdict::Settled(Error::from_status(status));
    }
    let unavailable = |what| Error::Unavailable {
        message: format!("{what}: {}", root_cause(&status)),
        reason: String::new(),
        retry_after: None,
    };
    let error = match status.code() {
        Code::Unavailable if session::was_lost(&status) => unavailable("the answer was lost"),
        Code::Unavailable if from_transport => unavailable("no connection"),
        Code::Unavailable | Code::ResourceExhausted => Error::from_status(status),
        Code::DeadlineExceeded => Error::DeadlineExceeded,
        Code::Cancelled if !from_transport || ran_out(&status) => Error::DeadlineExceeded,
        _ => unavailable("the answer was lost"),
    };
    Verdict::NoAnswer { error, at_least }
}

/// What really happened. The outer errors of the transport only say "transport error".
fn root_cause(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Tonic's own timer, which reads the `grpc-timeout` that this try was sent with, fired first.
fn ran_out(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tonic_types::ErrorDetails;

    use super::*;

    fn is_asked_again(status: Status) -> bool {
        matches!(judge(status), Verdict::NoAnswer { .. })
    }

    fn from_transport(code: Code) -> Status {
        let mut status = Status::new(code, "connection reset");
        status.set_source(Arc::new(std::io::Error::other("reset by peer")));
        status
    }

    #[test]
    fn lost_answers_are_asked_again() {
        for code in [
            Code::Unavailable,
            Code::Cancelled,
            Code::Unknown,
            Code::Internal,
            Code::ResourceExhausted,
        ] {
            assert!(is_asked_again(from_transport(code)), "{code:?}");
        }
    }

    #[test]
    fn the_end_of_a_session_is_a_lost_answer_and_keeps_the_servers_word() {
        let delay = Duration::from_millis(70);
        let details = ErrorDetails::with_retry_info(Some(delay));
        let cause = Status::with_error_details(Code::Internal, "going down", details);
        let ended = session::ended_by(cause);
        assert!(session::was_lost(&ended));
        let Verdict::NoAnswer { error, at_least } = judge(ended) else {
            panic!("settled");
        };
        assert_eq!(at_least, Some(delay));
        assert!(error.is_unavailable());
        assert!(error.to_string().contains("answer was lost"), "{error}");
    }

    #[test]
    fn what_the_server_said_is_not_asked_again() {
        for code in [
            Code::Unknown,
            Code::Internal,
            Code::ResourceExhausted,
            Code::Aborted,
            Code::AlreadyExists,
            Code::FailedPrecondition,
            Code::InvalidArgument,
            Code::NotFound,
            Code::PermissionDenied,
            Code::Unauthenticated,
            Code::Unimplemented,
        ] {
            assert!(!is_asked_again(Status::new(code, "no")), "{code:?}");
        }
    }

    #[test]
    fn a_full_queue_with_retry_info_is_asked_again_and_not_before() {
        let delay = Duration::from_millis(700);
        let details = ErrorDetails::with_retry_info(Some(delay));
        let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
        let Verdict::NoAnswer { error, at_least } = judge(status) else {
            panic!("settled");
        };
        assert_eq!(at_least, Some(delay));
        assert_eq!(error.retry_after(), Some(delay));
    }

    #[test]
    fn waits_are_random_below_a_doubling_bound_and_above_the_servers_word() {
        let backoff = Backoff {
            initial: Duration::from_millis(10),
            longest: Duration::from_millis(80),
        };
        for tries in 1..100 {
            let bound = Duration::from_millis(10 * 2u64.saturating_pow(tries - 1).min(8));
            assert!(backoff.wait(tries, None) <= bound);
            let word = Duration::from_secs(3);
            let wait = backoff.wait(tries, Some(word));
            assert!(word <= wait && wait <= word + bound);
        }
    }
}
