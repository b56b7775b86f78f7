//! Real servers on real sockets, killed, stopped and raced.
//!
//! Every server is a process of the `semel` program: the one that `SEMEL_TEST_SERVER_BIN` names,
//! or else one that is built here. Postgres is a private cluster.
//!
//! `SEMEL_TEST_ROUNDS` says how many rounds of faults each test makes (a default is beside each),
//! and `SEMEL_TEST_SEED` repeats the choices of an earlier run; both are printed.

mod client;
mod drain;
mod kills;
mod load;
mod octokit;
mod pair;
mod support;
