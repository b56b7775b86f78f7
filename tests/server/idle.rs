//! An idle server answers at once: nothing waits for a batch to fill.

use std::time::{Duration, Instant};

use crate::support::*;

/// Least of many: what the way there and back takes when nobody else is in the way. A timer that
/// gathers a batch would be in every one of them.
#[tokio::test]
async fn a_single_call_is_answered_without_waiting_for_others() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let (mut claims, mut lookups) = (Duration::MAX, Duration::MAX);
    for n in 0..40 {
        let key = format!("k{n}");
        let started = Instant::now();
        claimed(&mut client, claim(&key, 1)).await;
        claims = claims.min(started.elapsed());
        let started = Instant::now();
        looked_up(&mut client, &key).await;
        lookups = lookups.min(started.elapsed());
    }
    assert!(lookups < Duration::from_millis(5), "{lookups:?}");
    // A claim syncs the disk as well.
    assert!(claims < Duration::from_millis(25), "{claims:?}");
}
