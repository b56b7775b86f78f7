//! `Stripe-Signature: t=1492774577,v1=5257a8…,v1=…,v0=…`

use std::borrow::Cow;

use http::HeaderMap;

use super::{SignatureError, Signed, header};

const HEADER: &str = "stripe-signature";

pub(super) fn read<'a>(
    headers: &'a HeaderMap,
    body: &'a [u8],
) -> Result<Signed<'a>, SignatureError> {
    let mut times = Vec::new();
    let mut signatures = Vec::new();
    for element in header::only(headers, HEADER)?.split(',') {
        match element.split_once('=') {
            Some(("t", time)) => times.push(time),
            Some(("v1", signature)) => signatures.extend(hex::decode(signature).ok()),
            // Other versions are none of ours; Stripe's own libraries pass over them too, so that
            // nobody can have a weaker one checked instead.
            _ => {}
        }
    }
    let &[time] = times.as_slice() else {
        return Err(SignatureError::malformed(HEADER, "must have one time, t="));
    };
    if signatures.is_empty() {
        let problem = "has no signature v1= in hexadecimal";
        return Err(SignatureError::malformed(HEADER, problem));
    }
    let at = header::unix_time(time, HEADER)?;
    Ok(Signed {
        content: [time.as_bytes(), b".", body].map(Cow::Borrowed).into(),
        signatures,
        at: Some(at),
    })
}
