//! Messages that are no request, answered as the contract says.
//!
//! Tonic refuses a message that it cannot read before any handler sees it: OUT_OF_RANGE for one
//! that is too large, INTERNAL for one that is not the protobuf it should be, such as a text that is
//! not UTF-8. Both are the caller's mistakes, and those are INVALID_ARGUMENT with details.

use tower::util::MapResponseLayer;

use super::HttpResponse;
use crate::rpc;

/// Translates the refusals of tonic's decoder.
pub fn malformed_layer() -> MapResponseLayer<fn(HttpResponse) -> HttpResponse> {
    MapResponseLayer::new(
        |answer: HttpResponse| match rpc::malformed(answer.headers()) {
            Some(status) => status.into_http(),
            None => answer,
        },
    )
}
