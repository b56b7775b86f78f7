//! Webhooks from end to end: real senders, real sockets, a real Semel behind a receiver.

mod keys;
mod oracles;
mod retries;
mod statuses;
mod story;
mod support;
mod work;
