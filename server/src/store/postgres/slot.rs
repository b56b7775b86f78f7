//! A place for one connection: made when it is first needed, and again after it was lost.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use sqlx::{Connection, PgConnection};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{
    connect::{Connector, Live, STATEMENT_TIMEOUT, Session},
    fault::{CallError, Verdict, judge},
};
use crate::store::StoreError;

/// The server ends a statement after [`STATEMENT_TIMEOUT`]; one that has not even said so by now is
/// gone, or the network is.
const CALL_TIMEOUT: Duration = STATEMENT_TIMEOUT.saturating_add(Duration::from_secs(5));

/// After so much silence a connection is tried before a statement is trusted to it: one that a
/// restart or a firewall has ended meanwhile would leave a write's outcome unknown for nothing.
const TRY_AFTER: Duration = Duration::from_secs(10);

/// How often a statement that was rolled back because somebody was in the way is run again.
const RETRIES: u32 = 5;

/// One call on a connection.
pub(super) trait Statement: Sync {
    /// What it answers.
    type Answer: Send;

    /// Runs it. Everything it writes is one commit, which the server has confirmed when this
    /// returns `Ok`: so `fetch_all`, `fetch_one` and `execute`, which read up to the end of the
    /// answer.
    fn run(
        &self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;
}

/// A place for one connection. Calls on it come one after another.
#[derive(Debug)]
pub(super) struct Slot {
    session: Session,
    /// Whether the last try to connect, if there was one, was in vain.
    has_none: AtomicBool,
    connection: Mutex<Option<(Live, Instant)>>,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer from the database within {CALL_TIMEOUT:?}")]
struct NoAnswer;

impl Slot {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            has_none: AtomicBool::new(true),
            connection: Mutex::new(None),
        }
    }

    /// Puts a connection in that was made elsewhere, for the same kind of session.
    pub(super) fn with(session: Session, connection: Live) -> Self {
        Self {
            session,
            has_none: AtomicBool::new(false),
            connection: Mutex::new(Some((connection, Instant::now()))),
        }
    }

    pub(super) async fn call<S: Statement>(
        &self,
        connector: &Connector,
        statement: &S,
    ) -> Result<S::Answer, StoreError> {
        let mut slot = self.connection.lock().await;
        let mut retries = 0;
        loop {
            // Taken out while in use: if this future is dropped after all, so is the connection,
            // instead of being used again in the middle of an answer.
            let mut connection = match slot.take() {
                Some((connection, last_used)) => {
                    self.tried(connector, connection, last_used).await?
                }
                None => self.connected(connector).await?,
            };
            let error = match timeout(CALL_TIMEOUT, statement.run(&mut connection.connection)).await
            {
                Ok(Ok(answer)) => {
                    *slot = Some((connection, Instant::now()));
                    return Ok(answer);
                }
                Ok(Err(CallError::Store(error))) => {
                    *slot = Some((connection, Instant::now()));
                    return Err(error);
                }
                Ok(Err(CallError::Sql(error))) => error,
                Err(_) => return Err(StoreError::unavailable(NoAnswer)),
            };
            let verdict = judge(&error);
            if verdict != Verdict::Disconnected {
                *slot = Some((connection, Instant::now()));
            }
            match verdict {
                Verdict::Rejected => return Err(StoreError::rejected(error)),
                Verdict::Again if retries < RETRIES => {
                    retries += 1;
                    tracing::debug!(%error, retries, "the database rolled a statement back; running it again");
                    tokio::time::sleep(Duration::from_millis(5) * 2u32.pow(retries)).await;
                }
                _ => return Err(StoreError::unavailable(error)),
            }
        }
    }

    async fn tried(
        &self,
        connector: &Connector,
        mut connection: Live,
        last_used: Instant,
    ) -> Result<Live, StoreError> {
        if last_used.elapsed() < TRY_AFTER {
            return Ok(connection);
        }
        match timeout(Duration::from_secs(1), connection.connection.ping()).await {
            Ok(Ok(())) => Ok(connection),
            _ => self.connected(connector).await,
        }
    }

    async fn connected(&self, connector: &Connector) -> Result<Live, StoreError> {
        let connected = connector.connect(self.session).await;
        self.has_none.store(connected.is_err(), Ordering::Relaxed);
        connected
    }

    /// Whether it has not come to a connection by its last try, or has not tried.
    pub(super) fn has_none(&self) -> bool {
        self.has_none.load(Ordering::Relaxed)
    }

    /// Ends the connection after the call under way.
    pub(super) async fn close(&self) {
        if let Some((connection, _)) = self.connection.lock().await.take() {
            connection.hang_up().await;
        }
    }
}
