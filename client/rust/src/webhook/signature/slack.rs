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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::webhook::signature::{Scheme, Secret, Verifier};

    #[test]
    fn the_example_of_slacks_documentation_is_genuine() {
        // https://docs.slack.dev/authentication/verifying-requests-from-slack
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
                    &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA\
                    &user_name=roadrunner&command=%2Fwebhook-collect&text=\
                    &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J\
                    %2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
                    &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let mut headers = HeaderMap::new();
        headers.insert(TIME, "1531420618".parse().unwrap());
        headers.insert(SIGNATURE, signature.parse().unwrap());
        let secret = Secret::text("8f742231b10e8888abcd99yyyzzz85a5").unwrap();
        let verifier = Verifier::new(Scheme::Slack, secret);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_531_420_618);
        let verified = verifier.verify(&headers, body.as_bytes(), now).unwrap();
        assert_eq!((verified.secret, verified.signed_at), (0, Some(now)));
        let later = now + Duration::from_secs(301);
        let error = verifier
            .verify(&headers, body.as_bytes(), later)
            .unwrap_err();
        assert!(matches!(error, SignatureError::TooOld { .. }), "{error}");
    }
}
