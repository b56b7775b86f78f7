//! What the tests stand on.

mod figures;
mod flights;
mod gossip;
mod http;
mod place;
mod program;
mod server;

use std::time::Duration;

use rand::{SeedableRng as _, rngs::StdRng};

pub use figures::{figure, skipped};
pub use flights::Flights;
pub use gossip::{Health, raw};
pub use http::Sender;
pub use place::{Engine, Place, own_cluster, shared_cluster};
pub use server::Server;

/// What comes of `future`, which has to come within `bound`.
pub async fn within<T>(bound: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(bound, future).await {
        Ok(it) => it,
        Err(_) => panic!("{what}: not within {bound:?}"),
    }
}

/// Long enough for anything that is only slow because the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How many rounds of faults to make.
pub fn rounds(default: usize) -> usize {
    let asked = std::env::var("SEMEL_TEST_ROUNDS").ok();
    asked
        .filter(|text| !text.is_empty())
        .map_or(default, |text| text.parse().expect("SEMEL_TEST_ROUNDS"))
}

/// The seed of this run's choices.
pub fn seed() -> u64 {
    let asked = std::env::var("SEMEL_TEST_SEED").ok();
    asked
        .filter(|text| !text.is_empty())
        .map_or_else(rand::random, |text| text.parse().expect("SEMEL_TEST_SEED"))
}

/// Choices of their own for the `part`th of a run.
pub fn choices(seed: u64, part: u64) -> StdRng {
    StdRng::seed_from_u64(seed ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}
