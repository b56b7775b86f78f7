//! Webhooks: who a delivery is from, what it is called, and answering it once; and sending them so that
//! others can.
//!
//! - [`Receiver`] (feature `receiver`) is a layer for axum, or any [`tower::Service`] over `http`.
//! - [`Preset`] (feature `receiver`) says where providers put things.
//! - [`signature`] checks and makes signatures.
//! - [`Sender`] (feature `sender`) sends events with retries.

#[cfg(any(feature = "receiver", feature = "sender"))]
mod metrics;
#[cfg(feature = "receiver")]
pub mod preset;
#[cfg(feature = "receiver")]
pub mod receiver;
#[cfg(feature = "sender")]
pub mod sender;
pub mod signature;

/// Whether an answer with this 4xx asks for another try, by its definition (RFC 9110, 8470, 6585).
#[cfg(any(feature = "receiver", feature = "sender"))]
fn asks_for_another_try(status: http::StatusCode) -> bool {
    use http::StatusCode as Is;
    matches!(
        status,
        Is::REQUEST_TIMEOUT | Is::CONFLICT | Is::TOO_EARLY | Is::TOO_MANY_REQUESTS
    )
}

#[cfg(feature = "receiver")]
pub use preset::Preset;
#[cfg(feature = "receiver")]
pub use receiver::Receiver;
#[cfg(feature = "sender")]
pub use sender::Sender;
