//! The layer's service.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{BoxError, Layer, Service};

use super::{Receiver, Settings, flow};

/// A body that is here: what the handler is given, and what is answered.
pub type Body = Full<Bytes>;

impl<S> Layer<S> for Receiver {
    type Service = ReceiverService<S>;

    fn layer(&self, handler: S) -> Self::Service {
        ReceiverService {
            handler,
            settings: self.settings.clone(),
        }
    }
}

/// A handler that runs once for each delivery; see [`Receiver`].
#[derive(Clone)]
pub struct ReceiverService<S> {
    handler: S,
    settings: Arc<Settings>,
}

impl<S, B, R> Service<Request<B>> for ReceiverService<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    R: http_body::Body + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The handler is asked when it is needed; a duplicate does not need it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let settings = self.settings.clone();
        let handler = self.handler.clone();
        Box::pin(async move { Ok(flow::answer(settings, handler, request).await) })
    }
}
