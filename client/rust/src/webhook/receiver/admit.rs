//! From a delivery to a claim: is it genuine, what is it called, and who asks.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderName, StatusCode, header, request::Parts};

use super::{Settings, ended::Ended, problem::Problem, scope};
use crate::{Claim, Delivery, webhook::preset::KeyError};

/// What Semel keeps of a delivery: see [`Delivery`].
const DELIVERY_HEADERS: usize = 128;
const DELIVERY_HEADER_BYTES: usize = 32 * 1024;
const DELIVERY_BODY_BYTES: usize = 1024 * 1024;
/// Not kept: they let whoever reads them act in somebody's name.
const SECRET: [HeaderName; 3] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
];

/// A delivery that is not taken: what it is answered, and what it counts as.
pub(super) struct Refused {
    pub problem: Problem,
    pub ended: Ended,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        let ended = Ended::Invalid;
        Self { problem, ended }
    }
}

/// The claim of a delivery that is genuine; `None` of one that is to be handed on. Puts
/// [`Verified`](crate::webhook::signature::Verified) among the request's extensions.
pub(super) fn admit(
    settings: &Settings,
    parts: &mut Parts,
    body: &Bytes,
) -> Result<Option<Claim>, Refused> {
    let preset = &settings.preset;
    match preset.verify(parts, body, SystemTime::now()) {
        Ok(Some(verified)) => drop(parts.extensions.insert(verified)),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(provider = preset.provider(), %error, "a delivery is not genuine");
            let problem = Problem::new(
                StatusCode::UNAUTHORIZED,
                "bad-signature",
                "The signature is missing or wrong",
                error.to_string(),
            );
            let ended = Ended::Unauthenticated;
            return Err(Refused { problem, ended });
        }
    }
    let principal = principal(settings, parts)?;
    if !preset.is_for(&parts.method) || preset.is_handshake(parts, body) {
        return Ok(None);
    }
    let key = preset.key(parts, body).map_err(bad_key)?;
    let key = match principal {
        None => key,
        Some(principal) => scope::scoped(&principal, &key).map_err(bad_key)?,
    };
    let mut claim = Claim::new(&settings.namespace, key)
        .fingerprint(preset.digest(parts, body))
        .wait(settings.wait);
    if let Some(lease) = settings.lease {
        claim = claim.lease(lease);
    }
    if let Some(event_time) = preset.event_time(parts, body) {
        claim = claim.event_time(event_time);
    }
    if settings.keeps_deliveries {
        match delivery(parts, body) {
            Some(delivery) => claim = claim.delivery(delivery),
            None => tracing::warn!("a delivery is too large to be kept for dead letters"),
        }
    }
    Ok(Some(claim))
}

/// Who asks; `None` where everybody is one.
pub(super) fn principal(settings: &Settings, parts: &Parts) -> Result<Option<String>, Problem> {
    let Some(principal) = &settings.principal else {
        return Ok(None);
    };
    principal(parts).map(Some).ok_or_else(|| {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "no-principal",
            "Nobody knows who asks",
            "the request does not say in whose name it comes",
        )
    })
}

fn bad_key(error: KeyError) -> Problem {
    let (kind, title) = match error {
        KeyError::Missing { .. } => ("missing-key", "The key is missing"),
        KeyError::Unusable { .. } => ("unusable-key", "The key cannot be used"),
    };
    Problem::new(StatusCode::BAD_REQUEST, kind, title, error.to_string())
}

fn delivery(parts: &Parts, body: &Bytes) -> Option<Delivery> {
    let headers: Vec<_> = parts
        .headers
        .iter()
        .filter(|(name, _)| !SECRET.contains(name))
        .map(|(name, value)| {
            let value = Bytes::copy_from_slice(value.as_bytes());
            (name.as_str().to_owned(), value)
        })
        .collect();
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let fits = headers.len() <= DELIVERY_HEADERS
        && header_bytes <= DELIVERY_HEADER_BYTES
        && body.len() <= DELIVERY_BODY_BYTES;
    fits.then(|| Delivery {
        headers,
        body: body.clone(),
    })
}
