//! Tests of the server over real sockets: in this process where that is enough, and as a process of
//! its own where processes matter.
//!
//! What the rules decide is tested beside them and, on each engine, in `tests/conformance`. Here it
//! is how their answers come out on the wire, and everything around them.

mod admission;
mod bench_command;
mod config_problems;
mod connections;
mod deadlines;
mod deliveries;
mod fields_of_claims;
mod fields_of_holders;
mod health;
mod http;
mod idle;
mod layers;
mod logs;
mod metrics;
mod migrating;
mod outcomes;
mod policies;
mod purging;
mod reflection;
mod refusals;
mod session;
mod session_bounds;
mod session_ends;
mod session_story;
mod session_unread;
mod session_waits;
mod settlements;
mod spans;
mod startup;
mod statements;
mod support;
mod traces;
mod unavailable;
