//! Servers, connections to them, requests, and what the errors say.

mod calls;
mod collector;
mod host;
mod page;
mod places;
mod process;
mod scraped;
mod session;
mod told;
mod wire;

pub use calls::*;
pub use collector::{Collector, Traced};
pub use host::Host;
pub use page::Page;
pub use places::{Scratch, free_port, on_postgres};
pub use process::{Ended, Process, semel};
pub use scraped::Scraped;
pub use semel_tests::within;
pub use session::{Session, WINDOW, framed, outcome_of, session_error};
pub use told::{Told, told};
pub use wire::{Client, Wire};

use std::time::Duration;

/// Asks again and again until the answer is there. The pause is no wait for anything in particular:
/// it only keeps the asking from being all that the machine does.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(20), asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("not within 20 seconds: {what}"),
    }
}
