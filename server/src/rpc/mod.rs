//! The gRPC services: wire to rules and back. The only place, with the command line, that sees
//! protobuf types.

mod admission;
mod connection;
mod deadline;
mod reply;
mod request;
mod routes;
mod service;
mod session;
mod status;
mod told;

pub use admission::Admission;
pub use connection::{Connection, SESSIONS};
pub use deadline::Deadline;
pub use routes::Services;
pub use service::IdempotencyRpc;
pub use session::SessionRpc;
pub use status::{code, deadline_exceeded, malformed, too_many_requests};
/// The body of every answer.
pub use tonic::body::Body;
