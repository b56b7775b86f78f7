//! What runs Semel: the alerts, the dashboard, the compose file and the runbooks, judged by Prometheus' own
//! `promtool`, by each other, and by what a running server tells.
//!
//! An expression that names a metric which nobody makes is not an error to Prometheus: it is an alert that
//! never fires. So each is read here as Prometheus reads it, and held against a live scrape.

mod alerts;
mod compose;
mod deploy;
mod known;
mod live;
mod page;
#[path = "../end_to_end/support/program.rs"]
mod program;
mod promql;
mod promtool;
mod scrape;
mod server;
mod traffic;
