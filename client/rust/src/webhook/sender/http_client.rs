//! An HTTP client for those who have none of their own.

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// HTTP/1.1 over TCP or TLS, with connections that are used again.
pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that trusts whom Mozilla trusts. Follows no redirects: where an event goes is for whoever
/// named the address to say.
///
/// It goes wherever an address leads, private networks included. Where receivers name addresses
/// themselves, send through a proxy or a connector that allows public ones only.
pub fn http_client() -> HttpClient {
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
        .expect("ring has the default protocol versions")
        .https_or_http()
        .enable_http1()
        .build();
    Client::builder(TokioExecutor::new()).build(connector)
}
