//! One connection, as far as its streams of commands need to know.

use std::sync::Arc;

use http::Request;
use semel_proto::v1::session_service_server::SERVICE_NAME;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Sessions that one connection may have open. All that stands still of them has to leave room for
/// the connection's other calls; see the windows in `net/serve.rs`.
pub const SESSIONS: usize = 32;

/// Counts the Sessions of one connection.
#[derive(Debug, Clone)]
pub struct Connection {
    sessions: Arc<Semaphore>,
}

/// A Session's place on its connection. An extension of its request.
#[derive(Debug, Clone)]
pub(super) struct OnConnection {
    sessions: Arc<Semaphore>,
}

impl Connection {
    /// A connection without a call.
    #[expect(clippy::new_without_default, reason = "it is not a value")]
    pub fn new() -> Self {
        Self {
            sessions: Arc::new(Semaphore::new(SESSIONS)),
        }
    }

    /// Takes in a request.
    pub fn take_in<B>(&self, request: &mut Request<B>) {
        if is_session(request.uri().path()) {
            request.extensions_mut().insert(OnConnection {
                sessions: self.sessions.clone(),
            });
        }
    }
}

impl OnConnection {
    /// A place among the connection's Sessions, if there is one.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.sessions.clone().try_acquire_owned().ok()
    }
}

fn is_session(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(SERVICE_NAME))
        .is_some_and(|rest| rest.starts_with('/'))
}
