//! An event to be sent, and its key.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use uuid::Uuid;

use crate::digest;

/// One logical event. However often it is sent, it has one id, which is what receivers tell duplicates
/// by; so make it once, and keep it where the event is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    id: String,
    body: Bytes,
    headers: HeaderMap,
}

/// Without body and headers, which may be personal.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// An id that cannot stand in a header, or is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an event's id must have 1 to 255 visible ASCII characters, without quotes and backslashes"
)]
pub struct BadId;

impl Event {
    /// An event with a new id: a UUIDv7, so that ids sort by when they were made.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self::of(format!("evt_{}", Uuid::now_v7().simple()), body.into())
    }

    /// An event whose id is worked out from what it is about, such as `["order", "4711", "paid"]`: the
    /// same wherever and whenever it is worked out, so that a program that forgets what it has sent, or
    /// runs twice, sends no second event.
    pub fn derived<'a>(about: impl IntoIterator<Item = &'a str>, body: impl Into<Bytes>) -> Self {
        let digest = digest::of_parts(about);
        Self::of(format!("evt_{}", hex::encode(&digest[..16])), body.into())
    }

    /// An event with an id of your own, as when it is taken up again after a restart.
    ///
    /// # Errors
    /// An id that cannot be sent.
    pub fn with_id(id: impl Into<String>, body: impl Into<Bytes>) -> Result<Self, BadId> {
        let id = id.into();
        let fits = (1..=255).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        match fits {
            true => Ok(Self::of(id, body.into())),
            false => Err(BadId),
        }
    }

    fn of(id: String, body: Bytes) -> Self {
        let json = HeaderValue::from_static("application/json");
        Self {
            id,
            body,
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, json)]),
        }
    }

    /// A header that goes with it, instead of what was there under this name. `Content-Type` is
    /// `application/json` unless it is set. The names that this sends by itself are overwritten.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The body, which is sent as it is.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The headers that go with it.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_event_has_an_id_of_its_own_and_a_derived_one_always_the_same() {
        assert_ne!(Event::new("").id(), Event::new("").id());
        let derived = |parts: &[&str]| Event::derived(parts.iter().copied(), "").id().to_owned();
        assert_eq!(derived(&["order", "1"]), derived(&["order", "1"]));
        assert_ne!(derived(&["order", "1"]), derived(&["order1"]));
        assert_ne!(derived(&["ab", "c"]), derived(&["a", "bc"]));
    }

    #[test]
    fn an_id_that_cannot_be_sent_is_refused() {
        for id in ["", "a b", "a\"b", "a\\b", "clé", "a\n", &"k".repeat(256)] {
            assert_eq!(Event::with_id(id, ""), Err(BadId), "{id:?}");
        }
        assert_eq!(Event::with_id("msg_1", "").unwrap().id(), "msg_1");
    }
}
