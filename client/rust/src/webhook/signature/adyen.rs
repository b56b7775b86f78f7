//! Adyen signs eight fields of an event and puts the signature into the event.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{SignatureError, Signed};

const BODY: &str = "the body";
/// What is signed of the only item of a delivery, in this order and with colons between; what is not
/// there is empty.
pub(crate) const SIGNED: [&str; 8] = [
    "/notificationItems/0/NotificationRequestItem/pspReference",
    "/notificationItems/0/NotificationRequestItem/originalReference",
    "/notificationItems/0/NotificationRequestItem/merchantAccountCode",
    "/notificationItems/0/NotificationRequestItem/merchantReference",
    "/notificationItems/0/NotificationRequestItem/amount/value",
    "/notificationItems/0/NotificationRequestItem/amount/currency",
    "/notificationItems/0/NotificationRequestItem/eventCode",
    "/notificationItems/0/NotificationRequestItem/success",
];
const FREE: &str = SIGNED[3];
const SIGNATURE: &str = "/notificationItems/0/NotificationRequestItem/additionalData/hmacSignature";

pub(super) fn read(body: &[u8]) -> Result<Signed<'static>, SignatureError> {
    let body: Value =
        serde_json::from_slice(body).map_err(|_| SignatureError::malformed(BODY, "is not JSON"))?;
    // Nobody has signed that they belong together.
    let items = body["notificationItems"].as_array().map_or(0, Vec::len);
    if items != 1 {
        let problem = format!("must have one notification item, has {items}");
        return Err(SignatureError::malformed(BODY, problem));
    }
    let signature = body
        .pointer(SIGNATURE)
        .and_then(Value::as_str)
        .and_then(|encoded| BASE64_STANDARD.decode(encoded).ok())
        .ok_or_else(|| {
            SignatureError::malformed(BODY, "has no additionalData.hmacSignature in base64")
        })?;
    let fields: Vec<_> = SIGNED.iter().map(|field| text(&body, field)).collect();
    // The merchant's reference is the merchant's. With colons in the others as well, one signature would
    // be that of several events.
    let mut others = SIGNED
        .iter()
        .zip(&fields)
        .filter(|(field, _)| **field != FREE);
    if let Some((field, _)) = others.find(|(_, text)| text.contains(':')) {
        return Err(SignatureError::malformed(
            BODY,
            format!("has a colon in {field}"),
        ));
    }
    Ok(Signed {
        content: vec![Cow::Owned(fields.join(":").into_bytes())],
        signatures: vec![signature],
        at: None,
    })
}

fn text(body: &Value, field: &str) -> String {
    match body.pointer(field) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
