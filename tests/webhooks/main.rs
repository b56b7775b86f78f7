//! Webhooks from end to end: real senders, real sockets, a real Semel behind a receiver.

mod examples;
mod keys;
mod metrics;
mod oracles;
mod ordering;
mod retries;
mod statuses;
mod story;
mod support;
mod work;
