//! Limits that hold for every namespace. A namespace's own policy can only be stricter.

use super::Span;

/// Longest namespace, in bytes.
pub const NAMESPACE_BYTES: usize = 64;
/// Longest key, in bytes.
pub const KEY_BYTES: usize = 255;
/// Longest fingerprint, in bytes: a SHA-512.
pub const FINGERPRINT_BYTES: usize = 64;
/// Longest owner text, in bytes.
pub const OWNER_BYTES: usize = 255;
/// Longest error text of a Fail, in bytes.
pub const ERROR_BYTES: usize = 4 * 1024;
/// Largest checkpoint, in bytes.
pub const CHECKPOINT_BYTES: usize = 16 * 1024;
/// Largest result that any policy may allow, in bytes. One message carries it, with room to spare.
pub const RESULT_BYTES: usize = 4 * 1024 * 1024;
/// Largest body of a delivery, in bytes.
pub const DELIVERY_BODY_BYTES: usize = 1024 * 1024;
/// Most headers of a delivery.
pub const DELIVERY_HEADERS: usize = 128;
/// Longest header name of a delivery, in bytes.
pub const DELIVERY_HEADER_NAME_BYTES: usize = 255;
/// Names and values of a delivery's headers together, in bytes.
pub const DELIVERY_HEADER_BYTES: usize = 32 * 1024;
/// Longest `traceparent`, in bytes. Version 00 of W3C Trace Context takes 55.
pub const TRACEPARENT_BYTES: usize = 128;

/// Shortest lease.
pub const LEASE_MIN: Span = Span::from_millis(1);
/// Longest lease that any policy may allow.
pub const LEASE_MAX: Span = Span::from_secs(24 * 60 * 60);
/// Longest total hold that any policy may allow.
pub const HOLD_MAX: Span = Span::from_secs(30 * 24 * 60 * 60);
/// Shortest retention that a policy may set.
pub const RETENTION_MIN: Span = Span::from_secs(1);
/// Longest retention that a policy may set: ten years.
pub const RETENTION_MAX: Span = Span::from_secs(3_653 * 24 * 60 * 60);
/// Longest wait of a Claim.
pub const WAIT_MAX: Span = Span::from_secs(5 * 60);
/// Longest backoff, by policy or named by the caller of Fail.
pub const BACKOFF_MAX: Span = Span::from_secs(7 * 24 * 60 * 60);
/// Most attempts that a policy may allow.
pub const ATTEMPTS_MAX: u32 = 1_000_000;

/// Range of the `retry_after` hint given with "in progress".
pub const RETRY_HINT: (Span, Span) = (Span::from_millis(10), Span::from_secs(1));
