//! Messages that are no request, answered as the contract says.
//!
//! Tonic refuses a message that it cannot read before any handler sees it: OUT_OF_RANGE for one
//! that is too large, INTERNAL for one that is not the protobuf it should be, such as a text that is
//! not UTF-8. Both are the caller's mistakes, and those are INVALID_ARGUMENT with details.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http::Request;
use tower::{Layer, Service};

use super::HttpResponse;
use crate::rpc;

/// Translates the refusals of tonic's decoder.
#[derive(Debug, Clone, Copy, Default)]
pub struct MalformedLayer;

impl<S> Layer<S> for MalformedLayer {
    type Service = MalformedService<S>;
    fn layer(&self, inner: S) -> Self::Service {
        MalformedService { inner }
    }
}

/// See [`MalformedLayer`].
#[derive(Debug, Clone)]
pub struct MalformedService<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for MalformedService<S>
where
    S: Service<Request<B>, Response = HttpResponse, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            match rpc::malformed(answer.headers()) {
                Some(status) => Ok(status.into_http()),
                None => Ok(answer),
            }
        })
    }
}
