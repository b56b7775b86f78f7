//! [`Admission`]'s budgets for single calls.
//!
//! A Claim or Lookup over its budget is refused at once, and a holder's call (Complete, Fail,
//! Extend, Checkpoint) waits for its own budget until its deadline. Health checks and reflection
//! are not counted; a Session counts its commands itself.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http::Request;
use tower::{Layer, Service};

use super::HttpResponse;
use crate::rpc::{self, Admission};

/// Keeps [`Admission`]'s budgets.
#[derive(Debug, Clone)]
pub struct AdmissionLayer(pub Admission);

impl<S> Layer<S> for AdmissionLayer {
    type Service = AdmissionService<S>;
    fn layer(&self, inner: S) -> Self::Service {
        AdmissionService {
            inner,
            admission: self.0.clone(),
        }
    }
}

/// See [`AdmissionLayer`].
#[derive(Debug, Clone)]
pub struct AdmissionService<S> {
    inner: S,
    admission: Admission,
}

#[derive(Debug, PartialEq)]
enum Rank {
    Caller,
    Holder,
    Uncounted,
}

fn rank(path: &str) -> Rank {
    match path.strip_prefix("/semel.v1.IdempotencyService/") {
        Some("Complete" | "Fail" | "Extend" | "Checkpoint") => Rank::Holder,
        Some(_) => Rank::Caller,
        None => Rank::Uncounted,
    }
}

impl<S, B> Service<Request<B>> for AdmissionService<S>
where
    S: Service<Request<B>, Response = HttpResponse, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match rank(request.uri().path()) {
            Rank::Uncounted => Box::pin(self.inner.call(request)),
            Rank::Caller => match self.admission.callers.clone().try_acquire_owned() {
                Ok(permit) => {
                    let answer = self.inner.call(request);
                    Box::pin(async move {
                        let _permit = permit;
                        answer.await
                    })
                }
                Err(_) => Box::pin(async { Ok(rpc::too_many_requests().into_http()) }),
            },
            Rank::Holder => {
                let holders = self.admission.holders.clone();
                // The service that was polled ready is the one to call; the clone stays behind.
                let ready = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, ready);
                Box::pin(async move {
                    let _permit = holders.acquire_owned().await;
                    inner.call(request).await
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holders_calls_have_a_budget_of_their_own_and_health_has_none() {
        for (path, expected) in [
            ("/semel.v1.IdempotencyService/Claim", Rank::Caller),
            ("/semel.v1.IdempotencyService/Lookup", Rank::Caller),
            ("/semel.v1.IdempotencyService/Complete", Rank::Holder),
            ("/semel.v1.IdempotencyService/Fail", Rank::Holder),
            ("/semel.v1.IdempotencyService/Extend", Rank::Holder),
            ("/semel.v1.IdempotencyService/Checkpoint", Rank::Holder),
            ("/grpc.health.v1.Health/Check", Rank::Uncounted),
        ] {
            assert_eq!(rank(path), expected, "{path}");
        }
    }
}
