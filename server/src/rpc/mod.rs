//! The gRPC service: wire to rules and back. The only place, with the command line, that sees
//! protobuf types.

mod deadline;
mod reply;
mod request;
mod service;
mod status;

pub use deadline::Deadline;
pub use service::IdempotencyRpc;
pub use status::{deadline_exceeded, malformed, too_many_requests};
