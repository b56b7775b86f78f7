//! The caller's deadline, kept by the server.
//!
//! The layer ends what has not begun to answer by then: every single call. A stream has its deadline
//! told, and ends itself.
//!
//! A call whose deadline passed answers DEADLINE_EXCEEDED. Dropping its handler undoes nothing: a
//! command that a lane accepted is carried out there.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request};
use tokio::time::{Instant, timeout_at};
use tower::{Layer, Service};

use super::HttpResponse;
use crate::rpc::{self, Deadline};

/// Deadline of a call that names none: the longest wait of a Claim and then some.
const DEFAULT: Duration = Duration::from_secs(5 * 60 + 15);

/// What a stream's deadline is cut to, so that no sum overflows: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Ends calls at their `grpc-timeout`.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;
    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService { inner }
    }
}

/// See [`DeadlineLayer`].
#[derive(Debug, Clone)]
pub struct DeadlineService<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for DeadlineService<S>
where
    S: Service<Request<B>, Response = HttpResponse, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let named = grpc_timeout(request.headers());
        let deadline = Instant::now() + named.unwrap_or(DEFAULT).min(DEFAULT);
        request.extensions_mut().insert(match named {
            // A stream may be meant to last for longer than any single call.
            Some(allowed) => Deadline::of_the_caller(Instant::now() + allowed.min(LONGEST)),
            None => Deadline::of_the_server(deadline),
        });
        let answer = self.inner.call(request);
        Box::pin(async move {
            match timeout_at(deadline, answer).await {
                Ok(answer) => answer,
                Err(_) => Ok(rpc::deadline_exceeded().into_http()),
            }
        })
    }
}

/// The `grpc-timeout` header: up to eight digits and a unit, as in
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>. One that is malformed counts
/// as none.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3_600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_timeout_has_up_to_eight_digits_and_a_unit() {
        let parse = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", value.parse().unwrap());
            grpc_timeout(&headers)
        };
        for (value, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("7u", Some(Duration::from_micros(7))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("123456789S", None),
        ] {
            assert_eq!(parse(value), expected, "{value}");
        }
        assert_eq!(grpc_timeout(&HeaderMap::new()), None);
    }
}
