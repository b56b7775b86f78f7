//! Client of Semel: a server that any number of programs ask one question,
//! **"may I do this now, or has it been done?"**
//!
//! ```no_run
//! # async fn example(order: String) -> Result<(), semel_client::Error> {
//! # use semel_client::{Claim, Client, Failure};
//! let semel = Client::connect("http://127.0.0.1:7420")?;
//! let run = semel
//!     .run_once(Claim::new("payments", order), async |work| {
//!         charge_card(work.fence()).await.map_err(Failure::retryable)
//!     })
//!     .await?;
//! # Ok(()) }
//! # async fn charge_card(_: semel_client::Fence) -> Result<String, std::io::Error> {
//! #     Ok(String::new())
//! # }
//! ```
//!
//! However often and wherever this runs, the card is charged by one caller; every other is handed
//! the same result ([`Run::Replayed`]).
//!
//! - [`Client::run_once`] does all of it: claims, keeps the lease alive while the closure runs,
//!   settles, replays. [`Once`] has its settings.
//! - [`Guard`] keeps the lease alive for those who want to settle by hand.
//! - [`Client::claim`], [`complete`](Client::complete), [`fail`](Client::fail),
//!   [`extend`](Client::extend), [`checkpoint`](Client::checkpoint) and
//!   [`lookup`](Client::lookup) are the bare calls.
//!
//! # What is retried
//! Every call may be sent again with the same effect, so a call whose answer got lost, or that was
//! answered UNAVAILABLE, is sent again unchanged (same attempt id) over another connection, with
//! random, growing waits and never before the server's `RetryInfo`, until its deadline. What the
//! server decided (a lost lease, a conflict, a bad field) comes back at once as an [`Error`].
//!
//! # What goes over the wire
//! Calls share one long stream per connection, on which each is answered when it is decided: at a
//! fraction of the cost of a request for each. A stream that breaks is a lost answer for the calls
//! on it. Where streams cannot be had, because a server is older or a proxy refuses them or holds
//! them back, calls are requests of their own, and nothing else changes. [`Transport`] has the
//! choice.
//!
//! # What is not promised
//! A holder that was paused may act after it lost its lease. Pass [`Context::fence`] on to
//! downstream systems that can refuse a smaller one. The lease is counted with the monotonic
//! clock, which on Linux stands still while the machine is suspended.

mod builder;
mod claim;
mod client;
mod connection;
mod convert;
mod digest;
mod error;
mod failure;
mod guard;
mod ids;
mod lease;
mod once;
mod outcome;
mod retry;
mod rpc;
mod session;
#[cfg(feature = "signatures")]
pub mod webhook;

pub use builder::{Builder, Transport};
pub use claim::{Claim, Delivery};
pub use client::Client;
pub use error::{Error, FieldViolation};
pub use failure::{FailOutcome, Failure, RecordedFailure};
pub use guard::{Context, Guard};
pub use ids::{AttemptId, Fence, Held, Token};
pub use lease::{LeaseLoss, LeaseSignal};
pub use once::{OnLeaseLost, OnPanic, Once, Run};
pub use outcome::{
    BackingOff, ClaimOutcome, Claimed, Completed, Completion, Dead, Extended, Failed, InProgress,
    Lease, Record, RecordState, Uncertain,
};
