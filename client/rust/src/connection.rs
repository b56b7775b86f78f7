//! One connection of the pool, and the two ways a try may go over it.

use tokio::time::Instant;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Request, Status};

use crate::rpc::{Rpc, Stub};
use crate::session::Session;
use crate::trace::Trace;

/// One HTTP/2 connection.
pub(crate) struct Connection {
    /// For calls that go alone.
    pub(crate) stub: Stub,
    /// For all others; `None` where the client is set to do without.
    pub(crate) session: Option<Session>,
    /// The credential of calls that go alone; a session has its own copy.
    pub(crate) authorization: Option<AsciiMetadataValue>,
}

/// How a try is to go over its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As a command of the connection's session, where that can be had, and else alone.
    Any,
    /// As an HTTP request of its own.
    Alone,
}

impl Connection {
    /// One try, which its caller gives up `until` then. A session has no place for a `tracestate`.
    ///
    /// # Errors
    /// The server's, without a source; the transport's, with one.
    pub(crate) async fn send<R: Rpc>(
        &self,
        request: &R,
        trace: Option<&Trace>,
        way: Way,
        until: Instant,
    ) -> Result<R::Answer, Status> {
        if let (Way::Any, Some(session)) = (way, &self.session)
            && let Some(answered) = session
                .ask(request, trace.map_or("", Trace::text), until)
                .await
        {
            return answered;
        }
        let mut alone = Request::new(request.clone());
        *alone.metadata_mut() = self.metadata(trace);
        // The server ends its work, and a wait, by this; the caller's own limit also covers the
        // time before the request is on its way (connecting, a full buffer).
        alone.set_timeout(until.saturating_duration_since(Instant::now()));
        let response = R::send(self.stub.clone(), alone).await?;
        Ok(response.into_inner())
    }

    fn metadata(&self, trace: Option<&Trace>) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        if let Some(authorization) = &self.authorization {
            metadata.insert("authorization", authorization.clone());
        }
        if let Some(trace) = trace {
            metadata.insert("traceparent", trace.traceparent().clone());
            if let Some(tracestate) = trace.tracestate() {
                metadata.insert("tracestate", tracestate.clone());
            }
        }
        metadata
    }
}
