//! An answer as it is stored under its key.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use prost::Message as _;
use semel_proto::v1 as wire;

use super::{Body, IDEMPOTENT_REPLAYED};

/// A stored result that is no answer: something else writes to the namespace.
#[derive(Debug, thiserror::Error)]
#[error("what is stored under the key is no answer of this layer's")]
pub(super) struct NotAnAnswer;

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
    wire::StoredAnswer {
        status: response.status().as_u16().into(),
        headers,
        body: response.body().clone(),
    }
    .encode_to_vec()
    .into()
}

/// The answer for a duplicate.
pub(super) fn replay(stored: Bytes) -> Result<Response<Body>, NotAnAnswer> {
    let stored = wire::StoredAnswer::decode(stored).map_err(|_| NotAnAnswer)?;
    let status = u16::try_from(stored.status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or(NotAnAnswer)?;
    let mut response = Response::new(Full::new(stored.body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for header in stored.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| NotAnAnswer)?;
        let value = HeaderValue::from_maybe_shared(header.value).map_err(|_| NotAnAnswer)?;
        headers.append(name, value);
    }
    headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
