//! Wire types to std types and back, for durations and points in time.

use std::time::{Duration, SystemTime};

/// A duration for the wire. One that protobuf cannot hold (billions of years) is cut to what it
/// can, and left to the server to refuse.
pub(crate) fn to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}

/// A duration from the wire: unset and negative ones are zero, the cautious reading of "how much
/// longer".
pub(crate) fn duration(wire: Option<prost_types::Duration>) -> Duration {
    wire.and_then(|wire| Duration::try_from(wire).ok())
        .unwrap_or_default()
}

/// A point in time from the wire; `None` when unset or beyond what the platform can hold.
pub(crate) fn time(wire: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    wire.and_then(|wire| SystemTime::try_from(wire).ok())
}
