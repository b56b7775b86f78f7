//! An HTTP answer that can be stored with Semel and replayed.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::REPLAYED;

/// An answer as it is stored with Semel and replayed: status, type and body.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    status: u16,
    content_type: String,
    body: String,
    /// Seconds; of answers that are never stored.
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Answer {
    /// An answer with a JSON body.
    pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self {
            status: status.as_u16(),
            content_type: "application/json".to_owned(),
            body: body.to_string(),
            retry_after: None,
        }
    }

    /// An error after RFC 9457.
    pub(super) fn problem(status: StatusCode, kind: &str, detail: &str) -> Self {
        let body = serde_json::json!({
            "type": format!("urn:semel:inventory:{kind}"),
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": detail,
        });
        Self {
            content_type: "application/problem+json".to_owned(),
            ..Self::json(status, &body)
        }
    }

    /// 503 with a `Retry-After` of at least a second.
    pub(super) fn come_back(kind: &str, detail: &str) -> Self {
        Self::problem(StatusCode::SERVICE_UNAVAILABLE, kind, detail).retry_after(Duration::ZERO)
    }

    /// Whole seconds, rounded up: HTTP knows no smaller ones, and too early is no use.
    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// The answer in a stored result.
    pub(super) fn stored(bytes: &Bytes) -> Self {
        serde_json::from_slice(bytes).unwrap_or_else(|error| {
            tracing::error!(%error, "a stored answer is not one of this receiver's");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Self::problem(status, "stored-answer", "the stored answer cannot be read")
        })
    }

    /// The bytes to store.
    pub(super) fn to_bytes(&self) -> Bytes {
        // Numbers and strings: there is nothing in it that JSON could refuse.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// The answer over HTTP, marked as a repetition or not.
    pub(super) fn into_response(self, replayed: bool) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Ok(content_type) = HeaderValue::try_from(self.content_type) {
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}
