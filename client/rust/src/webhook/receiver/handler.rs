//! Running the handler, and what it says.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use tower::{BoxError, Service, ServiceExt as _};

use super::{
    Body, Finality, Settings, answer,
    body::{self, NoBody},
    problem::Problem,
};
use crate::{Context, Failure};

/// A request for the handler.
#[derive(Clone)]
pub(super) struct Call {
    pub parts: Parts,
    pub body: Bytes,
}

/// A handler and what it is to be asked, once the claim is granted.
#[derive(Clone)]
pub(super) struct Work<S> {
    pub settings: Arc<Settings>,
    pub handler: S,
    pub call: Call,
    pub answered: Answered,
}

impl<S> Work<S> {
    /// Runs under the claim, puts down what the handler answered, and says what is to be recorded.
    pub async fn run<R>(self, context: Context) -> Result<Bytes, Failure>
    where
        S: Service<Request<Body>, Response = Response<R>>,
        S::Error: Into<BoxError>,
        R: http_body::Body,
        R::Error: Into<BoxError>,
    {
        let limit_bytes = self.settings.answer_limit_bytes;
        let answer = self
            .call
            .within(context)
            .run(self.handler, limit_bytes)
            .await;
        self.answered.put(answer, &self.settings)
    }
}

/// How a call of the handler ended.
pub(super) enum Answer {
    Whole(Response<Bytes>),
    /// The work is done, but what it says is too long to be kept.
    TooLong(Problem),
    /// It did not answer.
    Failed(String, Problem),
}

impl Call {
    /// The call, made under a claim, which the handler finds among the request's extensions.
    fn within(mut self, context: Context) -> Self {
        self.parts.extensions.insert(context);
        self
    }

    pub async fn run<S, R>(self, handler: S, answer_limit_bytes: usize) -> Answer
    where
        S: Service<Request<Body>, Response = Response<R>>,
        S::Error: Into<BoxError>,
        R: http_body::Body,
        R::Error: Into<BoxError>,
    {
        let request = Request::from_parts(self.parts, Full::new(self.body));
        let response = match handler.oneshot(request).await {
            Ok(response) => response,
            Err(error) => return Answer::failed(error.into().to_string()),
        };
        let (parts, body) = response.into_parts();
        match body::whole(body, answer_limit_bytes).await {
            Ok(body) => Answer::Whole(Response::from_parts(parts, body)),
            Err(NoBody::TooLong) => Answer::TooLong(too_long(answer_limit_bytes)),
            Err(NoBody::Broken(error)) => Answer::failed(format!("its answer broke off: {error}")),
        }
    }
}

impl Answer {
    fn failed(error: String) -> Self {
        let problem = Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "handler-failed",
            "The handler failed",
            "the handler gave no answer",
        );
        Self::Failed(error, problem)
    }

    pub fn into_response(self) -> Response<Bytes> {
        match self {
            Self::Whole(response) => response,
            Self::TooLong(problem) | Self::Failed(_, problem) => problem.into_bytes(),
        }
    }
}

/// What the handler answered here, for the caller of this delivery.
#[derive(Clone, Default)]
pub(super) struct Answered(Arc<Mutex<Option<Response<Bytes>>>>);

/// What is recorded of an answer that is too large for the namespace.
pub(super) fn refused() -> Bytes {
    let problem = Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "answer-too-large",
        "The answer is too large to be kept",
        "the work was done, but its answer is larger than the namespace's results may be",
    );
    answer::store(&problem.into_bytes(), &[header::CONTENT_TYPE])
}

impl Answered {
    /// Puts an answer down, and says what is to be recorded for it.
    fn put(&self, answer: Answer, settings: &Settings) -> Result<Bytes, Failure> {
        let (recorded, response) = match answer {
            Answer::Failed(ref error, _) => {
                (Err(Failure::retryable(error)), answer.into_response())
            }
            Answer::TooLong(problem) => {
                tracing::error!("a handler's answer is too long and is replaced");
                let response = problem.into_bytes();
                (Ok(answer::store(&response, &settings.replayed)), response)
            }
            Answer::Whole(response) => (record(&response, settings), response),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
        recorded
    }

    pub fn take(&self) -> Option<Response<Body>> {
        let mut answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answered.take().map(|response| response.map(Full::new))
    }
}

fn record(response: &Response<Bytes>, settings: &Settings) -> Result<Bytes, Failure> {
    let status = response.status();
    let said = || format!("the handler answered {status}");
    match (settings.judge)(status) {
        Finality::Final => Ok(answer::store(response, &settings.replayed)),
        Finality::Unknown => Err(Failure::unknown(said())),
        Finality::Retryable => Err(match retry_after(response) {
            Some(after) => Failure::retryable_after(said(), after),
            None => Failure::retryable(said()),
        }),
    }
}

/// In seconds; a date is left to the namespace's backoff.
fn retry_after(response: &Response<Bytes>) -> Option<std::time::Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(std::time::Duration::from_secs)
}

pub(super) fn panicked() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "handler-panicked",
        "The handler panicked",
        "the handler panicked; the delivery may be sent again",
    )
}

fn too_long(limit_bytes: usize) -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "answer-too-large",
        "The answer is too large to be kept",
        format!("the work was done, but its answer has more than {limit_bytes} bytes"),
    )
}
