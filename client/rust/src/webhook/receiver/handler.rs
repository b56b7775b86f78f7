//! Running the handler, and what it says.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header, request::Parts};
use tokio::{sync::Notify, time::sleep};

use super::{
    Body, Finality, Settings, answer,
    body::{self, NoBody},
    problem::Problem,
    service::Handler,
};
use crate::{
    Context, Failure, OnPanic,
    once::{catching_panics, panic_text},
};

/// Longest wait before the next attempt that Semel takes.
const BACKOFF_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A request for the handler.
#[derive(Clone)]
pub(super) struct Call {
    pub parts: Parts,
    pub body: Bytes,
}

impl Call {
    pub fn into_request(self) -> Request<Body> {
        Request::from_parts(self.parts, body::full(self.body))
    }
}

/// A handler and what it is to be asked, once the claim is granted.
#[derive(Clone)]
pub(super) struct Work {
    pub settings: Arc<Settings>,
    pub handler: Handler,
    pub call: Call,
    pub answered: Answered,
}

impl Work {
    /// Runs under the claim, puts down what the handler answered, and says what is to be recorded.
    pub async fn run(mut self, context: Context) -> Result<Bytes, Failure> {
        // Where the handler finds it.
        self.call.parts.extensions.insert(context);
        let settings = self.settings;
        let running = async {
            match self.handler.call(self.call.into_request()).await {
                Ok(response) => judge(response, &settings).await,
                Err(error) => unanswered(failed(), &error.to_string(), &settings),
            }
        };
        let (response, recorded) = catching_panics(running)
            .await
            .unwrap_or_else(|panic| unanswered(panicked(), &panic_text(panic.as_ref()), &settings));
        self.answered.put(response);
        recorded
    }
}

type Judged = (Response<Bytes>, Result<Bytes, Failure>);

/// What the caller is answered, and what is recorded.
async fn judge(response: Response<Body>, settings: &Settings) -> Judged {
    let (parts, body) = response.into_parts();
    let (status, limit_bytes) = (parts.status, settings.answer_limit_bytes);
    if status.is_informational() {
        let error = format!("it answered {status}, which is no answer to a delivery");
        return unanswered(failed(), &error, settings);
    }
    let said = || format!("the handler answered {status}");
    let failure = match (settings.judge)(status) {
        Finality::Final => None,
        Finality::Unknown => Some(Failure::unknown(said())),
        Finality::Retryable => Some(match retry_after(&parts) {
            Some(after) => Failure::retryable_after(said(), after),
            None => Failure::retryable(said()),
        }),
    };
    match (body::whole(body, limit_bytes).await, failure) {
        (Ok(body), Some(failure)) => (Response::from_parts(parts, body), Err(failure)),
        (Ok(body), None) => {
            let response = Response::from_parts(parts, body);
            let stored = answer::store(&response, &settings.replayed);
            (response, Ok(stored))
        }
        (Err(NoBody::TooLong), Some(failure)) => (head_of(&parts), Err(failure)),
        (Err(NoBody::TooLong), None) => {
            tracing::error!(
                limit_bytes,
                "a handler's answer is too long and is replaced"
            );
            (too_large().into_bytes(), Ok(answer::too_large()))
        }
        (Err(NoBody::Broken(error)), _) => {
            let error = format!("its answer broke off: {error}");
            unanswered(failed(), &error, settings)
        }
    }
}

fn unanswered(problem: Problem, error: &str, settings: &Settings) -> Judged {
    tracing::error!(error, "a handler failed");
    let failure = match settings.on_panic {
        OnPanic::Unknown => Failure::unknown(error),
        OnPanic::Retryable => Failure::retryable(error),
    };
    (problem.into_bytes(), Err(failure))
}

/// A failure without its body, nor what was said of it.
fn head_of(parts: &http::response::Parts) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = parts.status;
    if let Some(after) = parts.headers.get(header::RETRY_AFTER) {
        let after = after.clone();
        response.headers_mut().insert(header::RETRY_AFTER, after);
    }
    response
}

/// In seconds, within what Semel takes; a date is left to the namespace's backoff.
fn retry_after(parts: &http::response::Parts) -> Option<Duration> {
    let seconds = parts.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let after = Duration::from_secs(seconds.parse().ok()?);
    Some(after.min(BACKOFF_MAX))
}

/// What the handler answered here, for the caller of this delivery.
#[derive(Clone, Default)]
pub(super) struct Answered {
    response: Arc<Mutex<Option<Response<Bytes>>>>,
    is_there: Arc<Notify>,
}

impl Answered {
    fn put(&self, response: Response<Bytes>) {
        *self.lock() = Some(response);
        self.is_there.notify_one();
    }

    pub fn take(&self) -> Option<Response<Body>> {
        let response = self.lock().take();
        response.map(|response| response.map(body::full))
    }

    /// The answer, when it has been there for so long without being taken.
    pub async fn since(&self, long: Duration) -> Response<Body> {
        loop {
            self.is_there.notified().await;
            sleep(long).await;
            if let Some(answer) = self.take() {
                return answer;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Response<Bytes>>> {
        self.response.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn failed() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "handler-failed",
        "The handler failed",
        "the handler gave no answer",
    )
}

pub(super) fn panicked() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "handler-panicked",
        "The handler panicked",
        "the handler panicked",
    )
}

/// Of an answer that is longer than the receiver or the namespace keeps.
pub(super) fn too_large() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "answer-too-large",
        "The answer is too large to be kept",
        "the work was done, but its answer is too large to be kept",
    )
}
