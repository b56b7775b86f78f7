//! Every call is measured from its arrival to its answer, and has a span if it is sampled.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use hyper::body::{Frame, SizeHint};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::HttpResponse;
use crate::{
    rpc::{self, Body},
    telemetry::{Kind, Origin, Telemetry},
};

/// How a stream of answers breaks off.
type Failure = <Body as hyper::body::Body>::Error;

/// What gRPC calls a call whose caller has gone.
const CANCELLED: i32 = 1;

/// Measures calls and makes their spans.
#[derive(Debug, Clone)]
pub struct ObservedLayer(pub Arc<Telemetry>);

impl<S> Layer<S> for ObservedLayer {
    type Service = ObservedService<S>;
    fn layer(&self, inner: S) -> Self::Service {
        ObservedService {
            inner,
            telemetry: self.0.clone(),
        }
    }
}

/// See [`ObservedLayer`].
#[derive(Debug, Clone)]
pub struct ObservedService<S> {
    inner: S,
    telemetry: Arc<Telemetry>,
}

impl<S, B> Service<Request<B>> for ObservedService<S>
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let kind = Kind::of_path(request.uri().path());
        let header = |name| text(request.headers(), name);
        let origin = self
            .telemetry
            .origin(kind, header("traceparent"), header("tracestate"));
        let span = origin.span.as_ref().map(|span| span.span().clone());
        if origin.trace_id().is_some() {
            request.extensions_mut().insert(origin.clone());
        }
        let call = Call {
            telemetry: self.telemetry.clone(),
            kind,
            origin,
            started: Instant::now(),
            is_ended: false,
        };
        let answer = self.inner.call(request);
        let observed = async move {
            let mut call = call;
            let answer = answer.await?;
            // Only an answer without a body has its status in the headers.
            match rpc::code(answer.headers()) {
                Some(code) => call.end(code),
                // One message, and the status behind it: it is done.
                None if kind != Kind::Session && kind != Kind::Other => call.end(0),
                None => return Ok(answer.map(|body| Body::new(Observed { body, call }))),
            }
            Ok(answer)
        };
        match span {
            None => Box::pin(observed),
            Some(span) => Box::pin(observed.instrument(span)),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A call until it ends: with a code, or with its caller gone.
#[derive(Debug)]
struct Call {
    telemetry: Arc<Telemetry>,
    kind: Kind,
    origin: Origin,
    started: Instant,
    is_ended: bool,
}

impl Call {
    fn end(&mut self, code: i32) {
        if std::mem::replace(&mut self.is_ended, true) {
            return;
        }
        let took = self.started.elapsed();
        let trace = self.origin.exemplar();
        if let Some(meters) = self.telemetry.meters() {
            meters.called(self.kind, code, took, trace);
        }
        if let Some(span) = &self.origin.span {
            span.end(code);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(CANCELLED);
    }
}

/// A stream of answers, which has its status at its end.
#[derive(Debug)]
struct Observed {
    body: Body,
    call: Call,
}

impl hyper::body::Body for Observed {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.call.end(rpc::code(trailers).unwrap_or(0));
                }
            }
            Some(Err(failure)) => self.call.end(failure.code() as i32),
            None => self.call.end(0),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
