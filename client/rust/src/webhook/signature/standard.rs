//! Standard Webhooks, and Svix under its own names.

use std::{borrow::Cow, time::SystemTime};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::HeaderMap;

use super::{Secret, SignatureError, Signed, header, hmac};

/// Of the signatures that are made with a shared secret.
const VERSION: &str = "v1,";

pub(super) fn read<'a>(
    headers: &'a HeaderMap,
    prefix: &str,
    body: &'a [u8],
) -> Result<Signed<'a>, SignatureError> {
    let id = header::only(headers, &format!("{prefix}-id"))?;
    let time_header = format!("{prefix}-timestamp");
    let time = header::only(headers, &time_header)?;
    let at = header::unix_time(time, &time_header)?;
    let signature_header = format!("{prefix}-signature");
    // Other versions, such as those with a public key, are passed over.
    let signatures: Vec<_> = header::only(headers, &signature_header)?
        .split(' ')
        .filter_map(|signature| signature.strip_prefix(VERSION))
        .filter_map(|encoded| BASE64_STANDARD.decode(encoded).ok())
        .collect();
    if signatures.is_empty() {
        let problem = "has no signature of version v1 in base64";
        return Err(SignatureError::malformed(signature_header, problem));
    }
    Ok(Signed {
        content: content(id, time, body),
        signatures,
        at: Some(at),
    })
}

fn content<'a>(id: &'a str, time: &'a str, body: &'a [u8]) -> Vec<Cow<'a, [u8]>> {
    [id.as_bytes(), b".", time.as_bytes(), b".", body]
        .map(Cow::Borrowed)
        .into()
}

/// The value of `webhook-signature` for one secret. Those of several secrets are joined by spaces.
pub fn sign(secret: &Secret, id: &str, at: SystemTime, body: &[u8]) -> String {
    let time = unix_seconds(at).to_string();
    let signature = hmac::sign(secret, &content(id, &time, body));
    format!("{VERSION}{}", BASE64_STANDARD.encode(signature))
}

/// As `webhook-timestamp` has it.
pub(crate) fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
