//! The Semel server: the rules ([`key`]), the stores that keep them ([`store`]), and what stands
//! between them and the network.

pub mod key;
pub mod store;
