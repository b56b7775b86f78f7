//! How a session comes back after calls went alone. The rests are minutes for callers, so this is
//! not to be seen from outside.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use semel_proto::v1::session_request::Command as Asked;
use semel_proto::v1::session_response::Answer;
use semel_proto::v1::session_service_server::{SessionService, SessionServiceServer};
use semel_proto::v1::{self as wire, SessionRequest, SessionResponse};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Endpoint;
use tonic::{Request, Response, Streaming};

use super::*;

/// Longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Refuses as many attempts with UNIMPLEMENTED, and then answers every command of a caller that
/// nothing is known of the key.
#[derive(Clone)]
struct Server {
    refusals: usize,
    attempts: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl SessionService for Server {
    type SessionStream =
        Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send + 'static>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if self.attempts.fetch_add(1, Ordering::SeqCst) < self.refusals {
            return Err(Status::unimplemented("not yet"));
        }
        let opened = SessionResponse {
            id: 0,
            answer: Some(Answer::Opened(wire::SessionOpened { window: 8 })),
        };
        let answers = request.into_inner().map(|command| {
            let SessionRequest { id, command, .. } = command?;
            let answer = match command {
                Some(Asked::Cancel(_)) => Answer::Cancelled(wire::SessionCancelled {}),
                _ => Answer::Lookup(wire::LookupResponse::default()),
            };
            let answer = Some(answer);
            Ok(SessionResponse { id, answer })
        });
        let all = tokio_stream::once(Ok(opened)).chain(answers);
        Ok(Response::new(Box::pin(all)))
    }
}

async fn session(refusals: usize, limits: Limits) -> (Session, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let attempts = Arc::new(AtomicUsize::new(0));
    let server = Server {
        refusals,
        attempts: attempts.clone(),
    };
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(SessionServiceServer::new(server))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
    let session = Session::new(channel, None, 4096, limits, WithoutSession::GoAlone);
    (session, attempts)
}

fn limits(refused: Duration) -> Limits {
    Limits {
        refused,
        ..Limits::new(SOON, SOON)
    }
}

/// Whether a call was answered on the session; false: it was to go alone.
async fn is_answered(session: &Session) -> bool {
    let request = wire::LookupRequest::default();
    let answer = session.ask(&request, "", Instant::now() + SOON);
    match timeout(SOON, answer).await.expect("in time") {
        None => false,
        Some(answer) => {
            answer.expect("answered");
            true
        }
    }
}

#[tokio::test]
async fn a_session_comes_back_behind_the_back_of_a_call_after_the_rest() {
    let (session, attempts) = session(2, limits(Duration::from_millis(100))).await;
    assert!(!is_answered(&session).await);
    let mut alone = 0;
    timeout(SOON, async {
        while !is_answered(&session).await {
            alone += 1;
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it comes back");
    // Two rests were kept, and not one call waited for an attempt.
    assert!(alone >= 20, "{alone}");
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
    assert!(is_answered(&session).await);
}

#[tokio::test]
async fn nothing_is_tried_again_while_nobody_calls() {
    let (session, attempts) = session(1, limits(Duration::from_millis(5))).await;
    assert!(!is_answered(&session).await);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_session_that_rests_ends_with_its_last_caller() {
    let (session, _) = session(1, limits(SOON)).await;
    assert!(!is_answered(&session).await);
    let state = Arc::downgrade(&session.state);
    drop(session);
    timeout(SOON, async {
        while state.strong_count() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the task ends");
}
