//! Adyen signs eight fields of an event and puts the signature into the event.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{SignatureError, Signed};

const BODY: &str = "the body";
/// The only item of a delivery in JSON over HTTP.
pub(crate) const ITEM: &str = "/notificationItems/0/NotificationRequestItem";
/// What is signed, in this order and with colons between; what is not there is empty.
const SIGNED: [&str; 8] = [
    "/pspReference",
    "/originalReference",
    "/merchantAccountCode",
    "/merchantReference",
    "/amount/value",
    "/amount/currency",
    "/eventCode",
    "/success",
];

pub(super) fn read(body: &[u8]) -> Result<Signed<'static>, SignatureError> {
    let body: Value =
        serde_json::from_slice(body).map_err(|_| SignatureError::malformed(BODY, "is not JSON"))?;
    // Nobody has signed that they belong together.
    let items = body["notificationItems"].as_array().map_or(0, Vec::len);
    if items != 1 {
        let problem = format!("must have one notification item, has {items}");
        return Err(SignatureError::malformed(BODY, problem));
    }
    let item = body
        .pointer(ITEM)
        .ok_or_else(|| SignatureError::malformed(BODY, "has no NotificationRequestItem"))?;
    let signature = item
        .pointer("/additionalData/hmacSignature")
        .and_then(Value::as_str)
        .and_then(|encoded| BASE64_STANDARD.decode(encoded).ok())
        .ok_or_else(|| {
            SignatureError::malformed(BODY, "has no additionalData.hmacSignature in base64")
        })?;
    let fields: Vec<_> = SIGNED.iter().map(|field| text(item, field)).collect();
    Ok(Signed {
        content: vec![Cow::Owned(fields.join(":").into_bytes())],
        signatures: vec![signature],
        at: None,
    })
}

fn text(item: &Value, field: &str) -> String {
    match item.pointer(field) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
