//! Which service a request is for.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use hyper::body::Incoming;
use semel_proto::v1::idempotency_service_server::IdempotencyServiceServer;
use tonic::{body::Body, server::NamedService, service::Routes};
use tower::Service;

use super::{IdempotencyRpc, session::OnItsWay};

/// All services. Single calls are most of what comes, so they are told by their path at once and do
/// without the router, which puts requests and answers into boxes of its own.
#[derive(Debug, Clone)]
pub struct Services {
    calls: IdempotencyServiceServer<IdempotencyRpc>,
    others: axum::Router,
}

impl Services {
    /// `calls`, and the other services.
    pub fn new(calls: IdempotencyServiceServer<IdempotencyRpc>, others: Routes) -> Self {
        Self {
            calls,
            others: others.prepare().into_axum_router(),
        }
    }
}

fn is_single_call(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(IdempotencyServiceServer::<IdempotencyRpc>::NAME))
        .is_some_and(|rest| rest.starts_with('/'))
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Service<Request<Incoming>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Neither ever waits.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answer {
        if is_single_call(request.uri().path()) {
            return self.calls.call(request);
        }
        let answer = self.others.call(request);
        Box::pin(async move {
            let mut answer = answer.await?.map(Body::new);
            Ok(match answer.extensions_mut().remove::<OnItsWay>() {
                Some(on_its_way) => answer.map(|body| on_its_way.count(body)),
                None => answer,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_calls_are_told_by_their_path() {
        assert!(is_single_call("/semel.v1.IdempotencyService/Claim"));
        for other in [
            "/",
            "/semel.v1.IdempotencyService",
            "/semel.v1.IdempotencyServices/Claim",
            "/semel.v1.SessionService/Session",
            "semel.v1.IdempotencyService/Claim",
        ] {
            assert!(!is_single_call(other), "{other}");
        }
    }
}
