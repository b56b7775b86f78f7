//! The Semel server: the rules ([`key`]), the stores that keep them ([`store`]), and what stands
//! between them and the network.

pub mod app;
pub mod census;
pub mod cli;
pub mod config;
pub mod health;
pub mod http;
pub mod key;

pub mod lanes;
pub mod logging;
pub mod net;
pub mod policies;
pub mod purge;
pub mod rpc;
pub mod store;
pub mod telemetry;
