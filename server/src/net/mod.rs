//! From the socket to the service: accepting, limits, deadlines, draining.
//!
//! The accept loop is our own rather than tonic's, because tonic's answers a passed deadline with
//! CANCELLED, waits for ever on a graceful shutdown, limits concurrency per connection only, and
//! ignores `TCP_NODELAY` for listeners it is handed.

mod admission;
mod cork;
mod deadline;
mod malformed;
mod observed;
mod serve;

pub use admission::AdmissionLayer;
pub use cork::Cork;
pub use deadline::DeadlineLayer;
pub use malformed::malformed_layer;
pub use observed::ObservedLayer;
pub use serve::{NetSettings, Server};

/// What every layer passes on.
type HttpResponse = http::Response<crate::rpc::Body>;
