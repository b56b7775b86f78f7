//! One connection, as far as its streams of commands need to know.

use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use hyper::rt::Executor;
use semel_proto::v1::session_service_server::SERVICE_NAME;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Sessions that one connection may have open. All that stands still of them has to leave room for
/// the connection's other calls; see the windows in `net/serve.rs`.
pub const SESSIONS: usize = 32;

/// Runs the calls of one connection, and can be asked to give up one that is a Session. HTTP/2 has
/// no other way to take back what a client does not read.
#[derive(Debug, Clone)]
pub struct Connection {
    sessions: Arc<Semaphore>,
    /// Of the Session that is to be run next.
    next: Arc<Mutex<Option<CancellationToken>>>,
}

/// A Session's place on its connection. An extension of its request.
#[derive(Debug, Clone)]
pub(super) struct OnConnection {
    sessions: Arc<Semaphore>,
    give_up: CancellationToken,
}

impl Connection {
    /// A connection without a call.
    #[expect(clippy::new_without_default, reason = "it is not a value")]
    pub fn new() -> Self {
        Self {
            sessions: Arc::new(Semaphore::new(SESSIONS)),
            next: Arc::default(),
        }
    }

    /// Takes in a request. The next that is run has to be what it becomes.
    pub fn take_in<B>(&self, request: &mut Request<B>) {
        if !is_session(request.uri().path()) {
            return;
        }
        let give_up = CancellationToken::new();
        *self.next() = Some(give_up.clone());
        request.extensions_mut().insert(OnConnection {
            sessions: self.sessions.clone(),
            give_up,
        });
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Option<CancellationToken>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Connection {
    fn execute(&self, call: F) {
        match self.next().take() {
            None => drop(tokio::spawn(call)),
            Some(give_up) => drop(tokio::spawn(async move {
                // Dropping the call resets its stream.
                give_up.run_until_cancelled(call).await;
            })),
        }
    }
}

impl OnConnection {
    /// A place among the connection's Sessions, if there is one.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.sessions.clone().try_acquire_owned().ok()
    }

    /// Gives up the call, with all that was answered and not written yet.
    pub fn give_up(&self) {
        self.give_up.cancel();
    }
}

fn is_session(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(SERVICE_NAME))
        .is_some_and(|rest| rest.starts_with('/'))
}
