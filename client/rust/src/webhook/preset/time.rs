//! When the sender made an event.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::name;

/// Where the time stands: whole seconds since the Unix epoch, or a date and time as in RFC 3339.
#[derive(Debug, Clone)]
pub(super) enum TimeSource {
    Header(HeaderName),
    Json(&'static str),
}

impl TimeSource {
    pub(super) fn header(text: &'static str) -> Self {
        Self::Header(name(text))
    }

    pub(super) fn json(field: &'static str) -> Self {
        Self::Json(field)
    }

    /// A time that cannot be read is none: it would only have refused what is too old.
    pub(super) fn read(&self, headers: &HeaderMap, body: &Bytes) -> Option<SystemTime> {
        match self {
            Self::Header(name) => time(headers.get(name)?.to_str().ok()?),
            Self::Json(field) => {
                let body: Value = serde_json::from_slice(body).ok()?;
                match body.pointer(field)? {
                    Value::Number(seconds) => since_epoch(seconds.as_u64()?),
                    Value::String(text) => time(text),
                    _ => None,
                }
            }
        }
    }
}

fn time(text: &str) -> Option<SystemTime> {
    match text.parse() {
        Ok(seconds) => since_epoch(seconds),
        Err(_) => {
            let at: jiff::Timestamp = text.parse().ok()?;
            since_epoch(at.as_second().try_into().ok()?)
        }
    }
}

/// From 2000 to 2100: a number of milliseconds is not taken for one of seconds, and refused as an event
/// of the far future, nor a counter for an event that is too old.
fn since_epoch(seconds: u64) -> Option<SystemTime> {
    let is_likely = (946_684_800..4_102_444_800).contains(&seconds);
    is_likely.then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339_with_any_offset() {
        let expected = since_epoch(1_700_000_000);
        for text in [
            "1700000000",
            "2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20.000Z",
            "2023-11-15T00:13:20+02:00",
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
        for text in [
            "",
            "yesterday",
            "-1",
            "12",
            "1700000000000",
            "99999999999999999999",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_is_read_from_a_field_or_a_header() {
        let body = Bytes::from_static(br#"{"created": 1700000000, "at": "2023-11-14T22:13:20Z"}"#);
        let mut headers = HeaderMap::new();
        headers.insert("x-at", "2023-11-14T22:13:20Z".parse().unwrap());
        for source in [
            TimeSource::json("/created"),
            TimeSource::json("/at"),
            TimeSource::header("x-at"),
        ] {
            assert_eq!(source.read(&headers, &body), since_epoch(1_700_000_000));
        }
        assert_eq!(TimeSource::json("/none").read(&headers, &body), None);
    }
}
