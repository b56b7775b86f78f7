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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::webhook::signature::{Scheme, Secret, Verifier, hmac};

    #[test]
    fn of_very_many_signatures_only_the_first_are_looked_at() {
        let secret = Secret::text("secret").unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let content = [b"1700000000.{}"].map(|it| Cow::Borrowed(&it[..]));
        let genuine = hex::encode(hmac::sign(&secret, &content));
        let verifier = Verifier::new(Scheme::Stripe, secret);
        let wrong = format!("v1={},", "0".repeat(64));
        for (before, is_believed) in [(0, true), (15, true), (16, false), (10_000, false)] {
            let header = format!("t=1700000000,{}v1={genuine}", wrong.repeat(before));
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, header.parse().unwrap());
            let verified = verifier.verify(&headers, b"{}", now);
            assert_eq!(verified.is_ok(), is_believed, "{before} before it");
        }
    }
}
