//! The layer's service.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use tower::{BoxError, Layer, Service, ServiceExt as _, util::BoxCloneService};

use super::{Receiver, Settings, body, flow};

/// What the handler is given, and what is answered.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// What went wrong with a body, in its transport's or its maker's words.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BodyError(BoxError);

impl BodyError {
    pub(super) fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}

/// A handler, whatever it is.
#[derive(Clone)]
pub(super) struct Handler(BoxCloneService<Request<Body>, Response<Body>, BoxError>);

type Call = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

impl Handler {
    /// Waits until the handler is ready, and calls it.
    pub fn call(self, request: Request<Body>) -> Call {
        Box::pin(self.0.oneshot(request))
    }
}

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
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
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
        let handler = handler.map_response(|response: Response<R>| response.map(body::boxed));
        let handler = Handler(BoxCloneService::new(handler.map_err(Into::into)));
        let request = request.map(body::boxed);
        Box::pin(async move { Ok(flow::answer(settings, handler, request).await) })
    }
}
