//! A server that answers and does nothing: what the transport alone can carry.
//!
//! It is what anybody would write with tonic, and has Semel's HTTP/2 settings, messages and
//! allocator. It is not built from Semel's own plumbing, so that what that saves, or costs, shows. A
//! Claim is claimed at once, with a token that is as long as a real one; that of a
//! key which was completed before is answered with its result. For that it keeps results in memory, up
//! to a bound; a load that completes nothing does not even look there.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{PoisonError, RwLock},
};

use bytes::Bytes;
use prost_types::{Duration, Timestamp};
use semel_proto::v1::{
    self,
    claim_response::Outcome as Answer,
    idempotency_service_server::{IdempotencyService, IdempotencyServiceServer},
};
use semel_server::net::NetSettings;
use tonic::{
    Request, Response, Status, async_trait,
    transport::{Server, server::TcpIncoming},
};

use crate::{Outcome, server::SERVING};

/// As in Semel's accept loop.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// As long as a token of Semel's.
const TOKEN: &[u8] = &[7; 33];
/// As large as a fence of Semel's.
const FENCE: i64 = 1_800_000_000_123_456;
/// Keys that are remembered at most.
const MOST_COMPLETED: usize = 1_000_000;

/// Serves until the process is killed.
pub fn run(listen: SocketAddr) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let settings = NetSettings::default();
        let incoming = TcpIncoming::bind(listen)?.with_nodelay(Some(true));
        eprintln!("{SERVING}");
        Server::builder()
            .max_concurrent_streams(settings.streams_per_connection)
            .http2_max_header_list_size(settings.header_list_bytes)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(settings.keepalive_interval))
            .http2_keepalive_timeout(Some(settings.keepalive_timeout))
            .add_service(IdempotencyServiceServer::new(Noop::default()))
            .serve_with_incoming(incoming)
            .await?;
        Ok(())
    })
}

#[derive(Debug, Default)]
struct Noop {
    completed: RwLock<HashMap<String, Bytes>>,
}

impl Noop {
    fn result_of(&self, key: &str) -> Option<Bytes> {
        let completed = self
            .completed
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if completed.is_empty() {
            return None;
        }
        completed.get(key).cloned()
    }
}

#[async_trait]
impl IdempotencyService for Noop {
    async fn claim(
        &self,
        request: Request<v1::ClaimRequest>,
    ) -> Result<Response<v1::ClaimResponse>, Status> {
        let outcome = if let Some(result) = self.result_of(&request.into_inner().key) {
            Answer::Completed(v1::Completed {
                result,
                completed_at: Some(Timestamp {
                    seconds: 1_800_000_000,
                    nanos: 123_456_000,
                }),
                fence: FENCE,
                attempt: 1,
                traceparent: String::new(),
            })
        } else {
            Answer::Claimed(v1::Claimed {
                token: Bytes::from_static(TOKEN),
                fence: FENCE,
                attempt: 1,
                lease: Some(Duration {
                    seconds: 30,
                    nanos: 0,
                }),
                ..v1::Claimed::default()
            })
        };
        Ok(Response::new(v1::ClaimResponse {
            outcome: Some(outcome),
        }))
    }

    async fn complete(
        &self,
        request: Request<v1::CompleteRequest>,
    ) -> Result<Response<v1::CompleteResponse>, Status> {
        let mut completed = self
            .completed
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if completed.len() < MOST_COMPLETED {
            let request = request.into_inner();
            completed.insert(request.key, request.result);
        }
        Ok(Response::new(v1::CompleteResponse::default()))
    }

    async fn fail(
        &self,
        _: Request<v1::FailRequest>,
    ) -> Result<Response<v1::FailResponse>, Status> {
        Err(nothing())
    }

    async fn lookup(
        &self,
        _: Request<v1::LookupRequest>,
    ) -> Result<Response<v1::LookupResponse>, Status> {
        // What a load asks before it begins.
        Err(Status::not_found("this server knows no keys"))
    }

    async fn extend(
        &self,
        _: Request<v1::ExtendRequest>,
    ) -> Result<Response<v1::ExtendResponse>, Status> {
        Err(nothing())
    }

    async fn checkpoint(
        &self,
        _: Request<v1::CheckpointRequest>,
    ) -> Result<Response<v1::CheckpointResponse>, Status> {
        Err(nothing())
    }
}

fn nothing() -> Status {
    Status::unimplemented("this server does nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn claimed(noop: &Noop, key: &str) -> Option<Answer> {
        let request = v1::ClaimRequest {
            key: key.into(),
            ..v1::ClaimRequest::default()
        };
        let answer = noop.claim(Request::new(request)).await.unwrap();
        answer.into_inner().outcome
    }

    #[tokio::test]
    async fn what_was_completed_is_replayed_and_all_else_claimed() {
        let noop = Noop::default();
        assert!(matches!(
            claimed(&noop, "a").await,
            Some(Answer::Claimed(_))
        ));
        let complete = v1::CompleteRequest {
            key: "a".into(),
            result: Bytes::from_static(b"done"),
            ..v1::CompleteRequest::default()
        };
        noop.complete(Request::new(complete)).await.unwrap();
        let Some(Answer::Completed(completed)) = claimed(&noop, "a").await else {
            panic!("not replayed");
        };
        assert_eq!(completed.result, "done");
        assert!(matches!(
            claimed(&noop, "b").await,
            Some(Answer::Claimed(_))
        ));
    }
}
