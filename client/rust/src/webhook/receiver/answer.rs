//! An answer as it is stored under its key.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use prost::Message as _;
use semel_proto::v1 as wire;

use super::{Body, IDEMPOTENT_REPLAYED, NEVER_REPLAYED, body, handler};

/// The status, those headers that are `replayed`, and the body.
pub(super) fn store(response: &Response<Bytes>, replayed: &[HeaderName]) -> Bytes {
    let headers = response
        .headers()
        .iter()
        .filter(|(name, _)| replayed.contains(name))
        .map(|(name, value)| wire::Header {
            name: name.as_str().to_owned(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        })
        .collect();
    encoded(&wire::StoredAnswer {
        status: response.status().as_u16().into(),
        headers,
        body: response.body().clone(),
        is_too_large: false,
    })
}

/// Of an answer that is too large to be kept: so small that it fits everywhere.
pub(super) fn too_large() -> Bytes {
    encoded(&wire::StoredAnswer {
        status: StatusCode::INTERNAL_SERVER_ERROR.as_u16().into(),
        is_too_large: true,
        ..wire::StoredAnswer::default()
    })
}

fn encoded(answer: &wire::StoredAnswer) -> Bytes {
    answer.encode_to_vec().into()
}

/// The answer for a duplicate. What this layer has not stored, such as what somebody has stored by hand
/// to resolve the key, is the body of an answer with this `status`.
pub(super) fn replay(stored: &Bytes, status: StatusCode) -> Response<Body> {
    let mut response = read(stored).unwrap_or_else(|| {
        let mut response = Response::new(body::full(stored.clone()));
        *response.status_mut() = status;
        response
    });
    let replayed = HeaderValue::from_static("true");
    response.headers_mut().insert(IDEMPOTENT_REPLAYED, replayed);
    response
}

fn read(stored: &Bytes) -> Option<Response<Body>> {
    let stored = wire::StoredAnswer::decode(stored.clone()).ok()?;
    let status = StatusCode::from_u16(u16::try_from(stored.status).ok()?).ok()?;
    if status.is_informational() {
        return None;
    }
    if stored.is_too_large {
        return Some(handler::too_large().into_response());
    }
    let mut response = Response::new(body::full(stored.body));
    *response.status_mut() = status;
    for header in stored.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(header.value).ok()?;
        // Whoever has stored them.
        if !NEVER_REPLAYED.contains(&name) {
            response.headers_mut().append(name, value);
        }
    }
    Some(response)
}
