//! A webhook's sender.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// Sends over HTTP, on connections that are kept.
#[derive(Clone)]
pub struct Sender(Client<HttpConnector, Full<Bytes>>);

/// An answer.
pub struct Delivered {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Sender {
    /// A sender.
    pub fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// Posts `body` once.
    ///
    /// # Errors
    /// What went wrong instead of an answer.
    pub async fn post(
        &self,
        uri: &str,
        headers: &[(&str, &str)],
        body: Bytes,
        bound: Duration,
    ) -> Result<Delivered, String> {
        let mut request = Request::post(uri).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).expect("a request");
        let exchange = async {
            let answer = self.0.request(request).await.map_err(|e| e.to_string())?;
            let status = answer.status();
            let body = answer.into_body().collect().await;
            let body = body.map_err(|e| e.to_string())?.to_bytes();
            Ok(Delivered { status, body })
        };
        match tokio::time::timeout(bound, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {bound:?}")),
        }
    }
}
