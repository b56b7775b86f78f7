//! The fake server: the books behind gRPC, with faults by script and a log of what arrived.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use semel_proto::v1::idempotency_service_server::IdempotencyService;
use semel_proto::v1::{self as wire, claim_response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::books::{Books, reason};
use super::network::Network;
use super::sessions::{OnSession, SessionLog, Sessions};
use super::soon;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rpc {
    Claim,
    Complete,
    Fail,
    Lookup,
    Extend,
    Checkpoint,
}

/// What goes wrong with one call.
#[derive(Clone)]
pub enum Fault {
    /// Answered with this instead; nothing is applied.
    Refuse(Status),
    /// Every connection is cut on receipt; nothing is applied.
    CutBefore,
    /// Applied, and every connection is cut instead of answering.
    CutAfter,
    /// Never answered; nothing is applied.
    Hang,
    /// The same for what comes on a session; the others are answered.
    HangOnSession,
    /// Applied at once, answered late.
    AnswerLate(Duration),
    /// Applied at once, answered when the gate is opened.
    AnswerBehind(Gate),
    /// Applied, and the session that it came on ends well, without an answer.
    EndSession,
}

/// Holds answers back until it is opened.
#[derive(Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    pub fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        self.0.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

impl Fault {
    pub fn unavailable() -> Self {
        Self::Refuse(reason(tonic::Code::Unavailable, "STORE_UNAVAILABLE", &[]))
    }

    pub fn lease_lost(current_fence: i64) -> Self {
        let fence = ("current_fence", current_fence.to_string());
        Self::Refuse(reason(tonic::Code::Aborted, "LEASE_LOST", &[fence]))
    }
}

/// One call as it arrived.
#[derive(Clone)]
pub struct Received {
    pub rpc: Rpc,
    pub at: Instant,
    pub bytes: Vec<u8>,
    /// Of the call; on a session that of the stream, and the command's traceparent.
    pub metadata: MetadataMap,
    /// The session that it came on, counted from 1; `None`: it came alone.
    pub session: Option<usize>,
}

impl Received {
    pub fn traceparent(&self) -> Option<&str> {
        header(&self.metadata, "traceparent")
    }

    pub fn tracestate(&self) -> Option<&str> {
        header(&self.metadata, "tracestate")
    }
}

fn header<'a>(metadata: &'a MetadataMap, name: &str) -> Option<&'a str> {
    let value = metadata.get(name)?;
    Some(value.to_str().expect("visible ASCII"))
}

#[derive(Clone)]
pub struct Fake {
    inner: Arc<Inner>,
    pub network: Network,
    pub sessions: SessionLog,
}

struct Inner {
    books: watch::Sender<Books>,
    received: watch::Sender<Vec<Received>>,
    script: Mutex<HashMap<Rpc, Script>>,
    network: std::sync::OnceLock<Network>,
}

#[derive(Default)]
struct Script {
    next: VecDeque<Fault>,
    always: Option<Fault>,
}

impl Fake {
    pub async fn start() -> Self {
        Self::with(Sessions::Served { window: 256 }).await
    }

    pub async fn with(sessions: Sessions) -> Self {
        let inner = Arc::new(Inner {
            books: watch::Sender::new(Books::default()),
            received: watch::Sender::new(Vec::new()),
            script: Mutex::default(),
            network: std::sync::OnceLock::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = listener.local_addr().unwrap();
        let service = Service(inner.clone());
        let log = SessionLog::default();
        let served = sessions.beside(service, log.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_routes(served)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let network = Network::to(backend).await;
        inner.network.set(network.clone()).ok().unwrap();
        Self {
            inner,
            network,
            sessions: log,
        }
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.network.address)
    }

    /// The next call of `rpc` goes wrong like this; several are taken in turn.
    pub fn next(&self, rpc: Rpc, fault: Fault) {
        let mut script = self.inner.script.lock().unwrap();
        script.entry(rpc).or_default().next.push_back(fault);
    }

    /// Every call of `rpc` goes wrong like this from now on; `None`: no more.
    pub fn always(&self, rpc: Rpc, fault: impl Into<Option<Fault>>) {
        let mut script = self.inner.script.lock().unwrap();
        script.entry(rpc).or_default().always = fault.into();
    }

    /// The calls of `rpc` that arrived so far.
    pub fn received(&self, rpc: Rpc) -> Vec<Received> {
        let all = self.inner.received.borrow();
        all.iter().filter(|call| call.rpc == rpc).cloned().collect()
    }

    /// Waits until `n` calls of `rpc` have arrived.
    pub async fn has_received(&self, rpc: Rpc, n: usize) {
        let mut all = self.inner.received.subscribe();
        let enough = |all: &Vec<Received>| all.iter().filter(|call| call.rpc == rpc).count() >= n;
        soon(all.wait_for(enough)).await.unwrap();
    }
}

#[derive(Clone)]
pub struct Service(Arc<Inner>);

impl Service {
    /// Logs the call, and applies it under whatever fault is its turn.
    async fn apply<M: prost::Message, A>(
        &self,
        rpc: Rpc,
        request: &Request<M>,
        apply: impl FnOnce(&mut Books) -> Result<A, Status>,
    ) -> Result<A, Status> {
        let received = Received {
            rpc,
            at: Instant::now(),
            bytes: request.get_ref().encode_to_vec(),
            metadata: request.metadata().clone(),
            session: request
                .extensions()
                .get()
                .map(|OnSession { number, .. }| *number),
        };
        let fault = {
            let mut script = self.0.script.lock().unwrap();
            let script = script.entry(rpc).or_default();
            script.next.pop_front().or_else(|| script.always.clone())
        };
        let is_alone = received.session.is_none();
        self.0.received.send_modify(|all| all.push(received));
        let apply = || {
            let mut answer = None;
            self.0
                .books
                .send_modify(|books| answer = Some(apply(books)));
            answer.unwrap()
        };
        match fault {
            None => apply(),
            Some(Fault::HangOnSession) if is_alone => apply(),
            Some(Fault::Refuse(status)) => Err(status),
            Some(Fault::Hang | Fault::HangOnSession) => std::future::pending().await,
            Some(Fault::AnswerLate(delay)) => {
                let answer = apply();
                tokio::time::sleep(delay).await;
                answer
            }
            Some(Fault::AnswerBehind(gate)) => {
                let answer = apply();
                gate.pass().await;
                answer
            }
            Some(Fault::EndSession) => {
                let _ = apply();
                let session: &OnSession = request.extensions().get().expect("came on a session");
                session.end.notify_one();
                std::future::pending().await
            }
            Some(Fault::CutBefore) => {
                self.0.network.get().unwrap().cut();
                std::future::pending().await
            }
            Some(Fault::CutAfter) => {
                let _ = apply();
                self.0.network.get().unwrap().cut();
                std::future::pending().await
            }
        }
    }
}

#[tonic::async_trait]
impl IdempotencyService for Service {
    async fn claim(
        &self,
        request: Request<wire::ClaimRequest>,
    ) -> Result<Response<wire::ClaimResponse>, Status> {
        let ask = request.get_ref().clone();
        let traceparent = header(request.metadata(), "traceparent").unwrap_or_default();
        let mut outcome = self
            .apply(Rpc::Claim, &request, |books| books.claim(&ask, traceparent))
            .await?;
        let wait: Duration = ask
            .wait
            .map_or(Duration::ZERO, |wait| wait.try_into().unwrap());
        let give_up = tokio::time::Instant::now() + wait;
        let mut changes = self.0.books.subscribe();
        while matches!(outcome, claim_response::Outcome::InProgress(_)) {
            // A lapse changes nothing in the books, so look again from time to time.
            let look_again = tokio::time::Instant::now() + Duration::from_millis(20);
            if look_again >= give_up {
                break;
            }
            let _ = tokio::time::timeout_at(look_again, changes.changed()).await;
            let mut again = None;
            self.0.books.send_if_modified(|books| {
                again = Some(books.claim(&ask, traceparent));
                matches!(again, Some(Ok(claim_response::Outcome::Claimed(_))))
            });
            outcome = again.unwrap()?;
        }
        Ok(Response::new(wire::ClaimResponse {
            outcome: Some(outcome),
        }))
    }

    async fn complete(
        &self,
        request: Request<wire::CompleteRequest>,
    ) -> Result<Response<wire::CompleteResponse>, Status> {
        let ask = request.get_ref().clone();
        let repeat = self
            .apply(Rpc::Complete, &request, |books| books.complete(&ask))
            .await?;
        Ok(Response::new(wire::CompleteResponse {
            repeat,
            completed_at: None,
        }))
    }

    async fn fail(
        &self,
        request: Request<wire::FailRequest>,
    ) -> Result<Response<wire::FailResponse>, Status> {
        let ask = request.get_ref().clone();
        let answer = self
            .apply(Rpc::Fail, &request, |books| books.fail(&ask))
            .await?;
        Ok(Response::new(answer))
    }

    async fn lookup(
        &self,
        request: Request<wire::LookupRequest>,
    ) -> Result<Response<wire::LookupResponse>, Status> {
        let ask = request.get_ref().clone();
        let answer = self
            .apply(Rpc::Lookup, &request, |books| books.lookup(&ask))
            .await?;
        Ok(Response::new(answer))
    }

    async fn extend(
        &self,
        request: Request<wire::ExtendRequest>,
    ) -> Result<Response<wire::ExtendResponse>, Status> {
        let ask = request.get_ref().clone();
        let answer = self
            .apply(Rpc::Extend, &request, |books| books.extend(&ask))
            .await?;
        Ok(Response::new(answer))
    }

    async fn checkpoint(
        &self,
        request: Request<wire::CheckpointRequest>,
    ) -> Result<Response<wire::CheckpointResponse>, Status> {
        let ask = request.get_ref().clone();
        self.apply(Rpc::Checkpoint, &request, |books| books.checkpoint(&ask))
            .await?;
        Ok(Response::new(wire::CheckpointResponse {}))
    }
}

/// The attempt id in the bytes of a Claim.
pub fn attempt_id(claim: &Received) -> Bytes {
    let claim: wire::ClaimRequest = prost::Message::decode(claim.bytes.as_slice()).unwrap();
    claim.attempt_id
}
