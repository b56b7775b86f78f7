//! `X-Slack-Signature: v0=…` over `v0:timestamp:body`.

use std::borrow::Cow;

use http::HeaderMap;

use super::{SignatureError, Signed, header};

const SIGNATURE: &str = "x-slack-signature";
const TIME: &str = "x-slack-request-timestamp";

pub(super) fn read<'a>(
    headers: &'a HeaderMap,
    body: &'a [u8],
) -> Result<Signed<'a>, SignatureError> {
    let time = header::only(headers, TIME)?;
    let at = header::unix_time(time, TIME)?;
    let signature = header::only(headers, SIGNATURE)?
        .strip_prefix("v0=")
        .and_then(|encoded| hex::decode(encoded).ok())
        .ok_or_else(|| {
            SignatureError::malformed(SIGNATURE, "is not v0= and a signature in hexadecimal")
        })?;
    Ok(Signed {
        content: [b"v0:", time.as_bytes(), b":", body]
            .map(Cow::Borrowed)
            .into(),
        signatures: vec![signature],
        at: Some(at),
    })
}
