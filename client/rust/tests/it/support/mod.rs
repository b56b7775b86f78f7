//! A fake Semel behind a network that can be cut, and bounded waits.

mod books;
mod fake;
mod network;
mod sessions;
pub mod spans;

use std::time::Duration;

use bytes::Bytes;
use semel_client::{Builder, ClaimOutcome, Claimed, Client, Transport};

pub use books::reason;
pub use fake::{Fake, Fault, Gate, Received, Rpc, attempt_id};
pub use sessions::{Ending, Garbled, Sessions, opened};

/// Longer than anything here takes on a busy machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Awaits `future`, or fails the test.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("did not happen in time")
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Settings for tests: waits between tries are short.
pub fn quick() -> Builder {
    Client::builder().backoff(ms(1), ms(20)).owner("test")
}

/// A client that has one connection for what is not said by holders, and nothing but sessions.
pub fn on_one_session() -> Builder {
    quick().channels(1).transport(Transport::Session)
}

pub fn claimed(outcome: ClaimOutcome) -> Claimed {
    match outcome {
        ClaimOutcome::Claimed(claimed) => claimed,
        other => panic!("not claimed: {other:?}"),
    }
}

pub fn completed(outcome: ClaimOutcome) -> Bytes {
    match outcome {
        ClaimOutcome::Completed(completed) => completed.result,
        other => panic!("not completed: {other:?}"),
    }
}
