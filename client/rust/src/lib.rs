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
//! # Tracing
//! With the feature `opentelemetry`, which is on by default, every call carries the caller's trace
//! context (W3C `traceparent`, and `tracestate` where the call is a request of its own), so that the
//! server's span of it is a child of the caller's. Nothing has to be set up: the context is
//! `opentelemetry::Context::current()` when the call is first polled, also with `tracing-opentelemetry`,
//! which makes a span's context current while it is entered. Retries carry the same. A span that is
//! not sampled is passed on as such, and without a span nothing is sent.
//!
//! A [`Guard`] extends and settles its claim in the context in which that was made, wherever it is
//! called from; so does [`Once`]. Other calls of a holder carry what is current, and else the claim's.
//! [`Claim::traceparent`] goes before all of it. Those who ask later are told the trace of the claim:
//! [`Record::trace_id`], [`Completed::trace_id`] and the like.
//!
//! The feature needs the crate `opentelemetry` alone, the API, and costs a look at a thread-local
//! variable for each call while no span is active. Receivers and senders of webhooks count with it too,
//! as their modules say.
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
mod trace;
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
