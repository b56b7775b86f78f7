//! One attempt to deliver an event.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use http_body_util::{BodyExt as _, Full};
use tokio::time::{Instant, timeout_at};
use tower::{BoxError, Service, ServiceExt as _};

use super::Event;
use crate::retry::after;
use crate::webhook::asks_for_another_try;
use crate::webhook::signature::{Secret, sign_standard, unix_seconds};

/// As much of an answer as is kept, for people who look at a dead letter.
const ANSWER_BYTES: usize = 64 * 1024;

/// What the receiver answered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; of one that is longer than 64 KiB, or broke off, the beginning.
    pub body: Bytes,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Attempt {
    /// The receiver answered.
    Answered(Answer),
    /// It did not: what the transport says, or that the time was up.
    Unanswered(String),
}

/// What comes after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Delivered,
    /// Again, and not before this.
    Again(Option<Duration>),
    /// The receiver wants no more of it: 410.
    Gone,
    /// The receiver will never take it.
    Refused,
}

impl Attempt {
    pub(super) fn verdict(&self) -> Verdict {
        let Self::Answered(answer) = self else {
            return Verdict::Again(None);
        };
        match answer.status {
            status if status.is_success() => Verdict::Delivered,
            StatusCode::GONE => Verdict::Gone,
            status if status.is_client_error() && !asks_for_another_try(status) => Verdict::Refused,
            _ => Verdict::Again(retry_after(&answer.headers)),
        }
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let at = httpdate::parse_http_date(value).ok()?;
            at.duration_since(SystemTime::now()).ok()
        }
    }
}

/// The same request each time, but for when it was signed.
pub(super) fn request(
    to: &Uri,
    event: &Event,
    secrets: &[Secret],
    now: SystemTime,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(event.body().clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = to.clone();
    let headers = request.headers_mut();
    headers.clone_from(event.headers());
    let mut set = |name: &'static str, value: String| {
        let value = HeaderValue::try_from(value).expect("an id is visible ASCII");
        headers.insert(HeaderName::from_static(name), value);
    };
    set("idempotency-key", format!("\"{}\"", event.id()));
    set("webhook-id", event.id().to_owned());
    set("webhook-timestamp", unix_seconds(now).to_string());
    if !secrets.is_empty() {
        let signatures: Vec<_> = secrets
            .iter()
            .map(|secret| sign_standard(secret, event.id(), now, event.body()))
            .collect();
        set("webhook-signature", signatures.join(" "));
    }
    request
}

pub(super) async fn make<H, R>(
    http: H,
    request: Request<Full<Bytes>>,
    patience: Duration,
) -> Attempt
where
    H: Service<Request<Full<Bytes>>, Response = Response<R>>,
    H::Error: Into<BoxError>,
    R: http_body::Body + Unpin,
    R::Error: Into<BoxError>,
{
    let give_up = after(Instant::now(), patience);
    let response = match timeout_at(give_up, http.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Attempt::Unanswered(with_causes(error.into().as_ref())),
        Err(_) => {
            let patience_ms = patience.as_millis();
            return Attempt::Unanswered(format!("no answer within {patience_ms} ms"));
        }
    };
    let (parts, body) = response.into_parts();
    Attempt::Answered(Answer {
        status: parts.status,
        headers: parts.headers,
        body: beginning(body, give_up).await,
    })
}

/// The status has said it all, so what is wrong with the body does not matter, nor that it takes long.
async fn beginning<R: http_body::Body + Unpin>(mut body: R, give_up: Instant) -> Bytes {
    let mut beginning = Vec::new();
    while beginning.len() < ANSWER_BYTES && !body.is_end_stream() {
        let Ok(Some(Ok(frame))) = timeout_at(give_up, body.frame()).await else {
            break;
        };
        if let Ok(mut data) = frame.into_data() {
            let len = bytes::Buf::remaining(&data).min(ANSWER_BYTES - beginning.len());
            beginning.extend_from_slice(&bytes::Buf::copy_to_bytes(&mut data, len));
        }
    }
    beginning.into()
}

/// An HTTP client's own words are often only "client error".
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, headers: &[(HeaderName, &str)]) -> Verdict {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        Attempt::Answered(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::new(),
        })
        .verdict()
    }

    #[test]
    fn only_a_success_is_delivered_and_only_a_final_refusal_ends_it() {
        for status in [200, 201, 202, 204] {
            assert_eq!(verdict(status, &[]), Verdict::Delivered);
        }
        for status in [301, 408, 409, 425, 429, 500, 502, 503, 504] {
            assert_eq!(verdict(status, &[]), Verdict::Again(None), "{status}");
        }
        for status in [400, 401, 403, 404, 413, 422] {
            assert_eq!(verdict(status, &[]), Verdict::Refused, "{status}");
        }
        assert_eq!(verdict(410, &[]), Verdict::Gone);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let seconds = [(header::RETRY_AFTER, "120")];
        let expected = Verdict::Again(Some(Duration::from_secs(120)));
        assert_eq!(verdict(503, &seconds), expected);
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3_600));
        let Verdict::Again(Some(after)) = verdict(429, &[(header::RETRY_AFTER, &date)]) else {
            panic!("a date is understood");
        };
        assert!(after > Duration::from_secs(3_500) && after <= Duration::from_secs(3_600));
        let past = [(header::RETRY_AFTER, "Wed, 21 Oct 2015 07:28:00 GMT")];
        assert_eq!(verdict(503, &past), Verdict::Again(None));
        assert_eq!(
            verdict(503, &[(header::RETRY_AFTER, "soon")]),
            Verdict::Again(None)
        );
    }
}
