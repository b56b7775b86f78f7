//! Callers that each send the next call when the last one was answered (a closed loop).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use semel_proto::v1::{
    ClaimRequest, CompleteRequest, claim_response::Outcome as Answer,
    idempotency_service_client::IdempotencyServiceClient,
};
use tokio::task::JoinSet;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

use crate::Outcome;

type Client = IdempotencyServiceClient<Channel>;

const NAMESPACE: &str = "bench";
const WARM_UP: Duration = Duration::from_secs(1);

/// How the load looks.
pub struct Shape {
    pub callers: usize,
    pub connections: usize,
    pub length: Duration,
}

/// What each call does.
#[derive(Debug, Clone)]
enum Work {
    /// Claims a new key.
    Claim,
    /// Claims a new key and completes it.
    Pair,
    /// Claims this key, which was completed before.
    Replay(String),
}

/// New claims per second.
pub async fn claims(server: SocketAddr, shape: &Shape, _: usize) -> Outcome<f64> {
    drive(server, shape, Work::Claim).await
}

/// Claims with their completions per second.
pub async fn pairs(server: SocketAddr, shape: &Shape, _: usize) -> Outcome<f64> {
    drive(server, shape, Work::Pair).await
}

/// Replays of one completed key per second.
pub async fn replays(server: SocketAddr, shape: &Shape, run: usize) -> Outcome<f64> {
    let key = format!("replayed in run {run} of {}", std::process::id());
    let mut client = Client::connect(format!("http://{server}")).await?;
    let token = claimed(&mut client, key.clone()).await?;
    let result = vec![b'r'; 256].into();
    let request = CompleteRequest {
        namespace: NAMESPACE.into(),
        key: key.clone(),
        token,
        result,
    };
    client.complete(request).await?;
    drive(server, shape, Work::Replay(key)).await
}

impl Work {
    async fn once(&self, client: &mut Client) -> Result<(), Status> {
        match self {
            Self::Claim => claimed(client, Uuid::new_v4().to_string()).await.map(drop),
            Self::Pair => {
                let key = Uuid::new_v4().to_string();
                let token = claimed(client, key.clone()).await?;
                let result = (&b"ok"[..]).into();
                let namespace = NAMESPACE.into();
                client
                    .complete(CompleteRequest {
                        namespace,
                        key,
                        token,
                        result,
                    })
                    .await
                    .map(drop)
            }
            Self::Replay(key) => {
                match client
                    .claim(request_for(key.clone()))
                    .await?
                    .into_inner()
                    .outcome
                {
                    Some(Answer::Completed(_)) => Ok(()),
                    other => Err(Status::internal(format!("not replayed: {other:?}"))),
                }
            }
        }
    }
}

fn request_for(key: String) -> ClaimRequest {
    let attempt_id = Uuid::new_v4().into_bytes().to_vec().into();
    let owner = "bench".into();
    ClaimRequest {
        namespace: NAMESPACE.into(),
        key,
        attempt_id,
        owner,
        ..ClaimRequest::default()
    }
}

/// Claims a new key; its token.
async fn claimed(client: &mut Client, key: String) -> Result<tonic::codegen::Bytes, Status> {
    match client.claim(request_for(key)).await?.into_inner().outcome {
        Some(Answer::Claimed(claimed)) => Ok(claimed.token),
        other => Err(Status::internal(format!("not claimed: {other:?}"))),
    }
}

async fn drive(server: SocketAddr, shape: &Shape, work: Work) -> Outcome<f64> {
    let mut channels = Vec::new();
    for _ in 0..shape.connections {
        channels.push(
            Endpoint::new(format!("http://{server}"))?
                .tcp_nodelay(true)
                .connect()
                .await?,
        );
    }
    let counting = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let ends = Instant::now() + WARM_UP + shape.length;
    let mut callers = JoinSet::new();
    for caller in 0..shape.callers {
        let mut client = Client::new(channels[caller % channels.len()].clone());
        let (counting, done, work) = (counting.clone(), done.clone(), work.clone());
        callers.spawn(async move {
            while Instant::now() < ends {
                work.once(&mut client).await?;
                if counting.load(Ordering::Relaxed) {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok::<(), Status>(())
        });
    }
    tokio::time::sleep(WARM_UP).await;
    counting.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / shape.length.as_secs_f64())
}
