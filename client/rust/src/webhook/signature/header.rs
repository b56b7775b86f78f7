//! Headers that must stand exactly once.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::SignatureError;

/// The header's text.
///
/// # Errors
/// None of it, several, or one that is not visible ASCII.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| SignatureError::MissingHeader {
        header: name.to_owned(),
    })?;
    if values.next().is_some() {
        return Err(SignatureError::RepeatedHeader {
            header: name.to_owned(),
        });
    }
    value
        .to_str()
        .map_err(|_| SignatureError::malformed(name, "is not visible ASCII"))
}

/// Whole seconds since the Unix epoch, in digits.
pub(super) fn unix_time(text: &str, place: &str) -> Result<SystemTime, SignatureError> {
    let problem = || SignatureError::malformed(place, "has a time that is not in whole seconds");
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(problem());
    }
    let seconds: u64 = text.parse().map_err(|_| problem())?;
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .ok_or_else(problem)
}
