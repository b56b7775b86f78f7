//! The span of one call, from its start until all who work for it are done.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanContext, Status, TraceContextExt as _, TraceFlags, TraceId, Tracer as _,
    },
};
use opentelemetry_sdk::trace::SdkTracer;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{
    kind::{Kind, RPC_SYSTEM},
    meters::code_name,
    spans::{by_the_wall, kept},
};
use crate::{
    key::{AttemptId, Fence, KeyId, Record, Token},
    logging::SPANS,
};

/// Most looks of one waiting Claim that have spans: a wait of minutes has thousands.
const LOOKS: usize = 16;

/// A claim, as another call's span shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    attempt_id: AttemptId,
    fence: Fence,
    attempt: u32,
    /// Empty where no link is to be made.
    traceparent: String,
}

impl Seen {
    /// The claim that the call has made, or that its token is of.
    pub fn own(record: &Record) -> Self {
        Self {
            attempt_id: record.attempt_id,
            fence: record.fence,
            attempt: record.attempt,
            traceparent: String::new(),
        }
    }

    /// The claim of a token, which was that attempt.
    pub fn by_token(token: &Token, attempt: u32) -> Self {
        Self {
            attempt_id: token.attempt_id,
            fence: token.fence,
            attempt,
            traceparent: String::new(),
        }
    }
}

/// Another call's claim, with a link to its span.
impl From<&Record> for Seen {
    fn from(record: &Record) -> Self {
        Self {
            attempt_id: record.attempt_id,
            fence: record.fence,
            attempt: record.attempt,
            traceparent: record.traceparent.clone(),
        }
    }
}

/// The span of one call, until it is answered.
pub struct CallSpan {
    span: tracing::Span,
    pub(super) context: Context,
    pub(super) own: SpanContext,
    traceparent: String,
    pub(super) tracer: SdkTracer,
    noted: Mutex<Noted>,
}

/// What is learnt about the call on its way, and written when all who work for it are done.
#[derive(Debug, Default)]
struct Noted {
    /// The key, and what is shown of it.
    about: Option<(KeyId, String)>,
    /// What it came to.
    outcome: Option<&'static str>,
    /// What a holder came with.
    token: Option<Token>,
    /// The claim that stands.
    standing: Option<Seen>,
    /// The claim whose place it took.
    previous: Option<Seen>,
    looks: usize,
    /// How it was answered, and when.
    end: Option<(i32, SystemTime)>,
}

impl fmt::Debug for CallSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.traceparent.fmt(f)
    }
}

impl CallSpan {
    pub(super) fn start(tracer: SdkTracer, kind: Kind, parent: Context) -> Self {
        let span = tracing::info_span!(
            target: SPANS,
            "call",
            otel.name = kind.method(),
            otel.kind = "server",
            rpc.system.name = RPC_SYSTEM,
            rpc.method = kind.method(),
        );
        // Before it is entered, or it is too late.
        if let Err(error) = span.set_parent(parent) {
            tracing::debug!(%error, "a span has no parent");
        }
        let context = span.context();
        let own = context.span().span_context().clone();
        let traceparent = format!(
            "00-{}-{}-{:02x}",
            own.trace_id(),
            own.span_id(),
            (own.trace_flags() & TraceFlags::SAMPLED).to_u8()
        );
        Self {
            span,
            context,
            own,
            traceparent,
            tracer,
            noted: Mutex::default(),
        }
    }

    /// Its trace.
    pub fn trace_id(&self) -> TraceId {
        self.own.trace_id()
    }

    /// Whether it still has spans for the calls of the store that are made for it.
    pub(super) fn has_room(&self) -> bool {
        self.noted().looks <= LOOKS
    }

    /// Its own context, as it is kept and passed on.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The key that it is about, and what may be shown of it.
    pub(super) fn is_about(&self, id: &KeyId, shown_key: String) {
        self.noted().about = Some((id.clone(), shown_key));
    }

    /// For what is carried out within it.
    pub fn span(&self) -> &tracing::Span {
        &self.span
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It waited in its lane's queue.
    pub fn waited_in_lane(&self, from: Instant, until: Instant, lane: usize) {
        let mut noted = self.noted();
        noted.looks += 1;
        if noted.looks > LOOKS {
            return;
        }
        drop(noted);
        let (start, end) = by_the_wall(from, until);
        let wait = self
            .tracer
            .span_builder("lane wait")
            .with_start_time(start)
            .with_attributes([KeyValue::new("semel.lane", lane as i64)]);
        let mut wait = self.tracer.build_with_context(wait, &self.context);
        wait.end_with_timestamp(end);
    }

    /// The claim that stands, so far as is known.
    pub fn saw(&self, standing: Seen) {
        let mut noted = self.noted();
        noted.standing = Some(standing);
        // Of a decision that came to nothing, because others were quicker.
        noted.previous = None;
    }

    /// The claim that it made, in place of another.
    pub fn took_over(&self, made: Seen, previous: Option<Seen>) {
        let mut noted = self.noted();
        noted.standing = Some(made);
        noted.previous = previous;
    }

    /// What it came to; and what it came with, if a holder made it.
    pub fn answered(&self, outcome: &'static str, token: Option<Token>) {
        let mut noted = self.noted();
        noted.outcome = Some(outcome);
        noted.token = token;
    }

    /// A command of a stream, as which it came.
    pub fn came_by_session(&self, session: Option<&Self>) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("semel.session", true));
        if let Some(session) = session {
            let named = [KeyValue::new("semel.link", "session")];
            span.add_link(session.own.clone(), named.into());
        }
    }

    /// It was answered with a code of gRPC's, now. A lane may still work for it: that of a caller who
    /// has not waited for long enough is carried out all the same, and what comes of it belongs here.
    pub fn end(&self, code: i32) {
        let now = SystemTime::now();
        self.noted().end.get_or_insert((code, now));
    }
}

impl Drop for CallSpan {
    /// The last who worked for it is done.
    fn drop(&mut self) {
        let noted = std::mem::take(&mut *self.noted());
        // Nobody answered: whoever asked has gone.
        let (code, at) = noted.end.unwrap_or((1, SystemTime::now()));
        let span = self.context.span();
        for attribute in noted.attributes() {
            span.set_attribute(attribute);
        }
        for (end, attributes) in noted.links() {
            if end.span_id() != self.own.span_id() {
                span.add_link(end, attributes);
            }
        }
        let name = code_name(usize::try_from(code).unwrap_or(usize::MAX));
        span.set_attribute(KeyValue::new("rpc.response.status_code", name));
        // What the conventions call a server's error; the others are the caller's.
        if matches!(code, 2 | 4 | 12 | 13 | 14 | 15) {
            span.set_attribute(KeyValue::new("error.type", name));
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(at);
    }
}

impl Noted {
    fn attributes(&self) -> Vec<KeyValue> {
        let mut all = Vec::new();
        if let Some((id, shown_key)) = &self.about {
            let namespace = id.namespace().as_str().to_owned();
            all.push(KeyValue::new("semel.namespace", namespace));
            all.push(KeyValue::new("semel.key", shown_key.clone()));
        }
        if let Some(outcome) = self.outcome {
            all.push(KeyValue::new("semel.outcome", outcome));
        }
        // A holder's own claim, also where another one stands by now.
        let standing = self.standing.as_ref();
        let (attempt_id, fence) = match (self.token, standing) {
            (Some(token), _) => (token.attempt_id, token.fence),
            (None, Some(standing)) => (standing.attempt_id, standing.fence),
            (None, None) => return all,
        };
        all.push(KeyValue::new("semel.fence", fence.as_i64()));
        if let Some(standing) = standing.filter(|standing| standing.fence == fence) {
            all.push(KeyValue::new("semel.attempt", i64::from(standing.attempt)));
        }
        if let Some((id, _)) = &self.about {
            all.push(KeyValue::new("semel.claim_id", id.claim_id(&attempt_id)));
        }
        all
    }

    fn links(&self) -> Vec<(SpanContext, Vec<KeyValue>)> {
        let Some((id, _)) = &self.about else {
            return Vec::new();
        };
        let ends = [
            (self.standing.as_ref(), "original"),
            (self.previous.as_ref(), "previous_attempt"),
        ];
        let link = |(seen, as_what): (Option<&Seen>, &'static str)| {
            let seen = seen?;
            let named = vec![
                KeyValue::new("semel.link", as_what),
                KeyValue::new("semel.claim_id", id.claim_id(&seen.attempt_id)),
            ];
            Some((kept(&seen.traceparent)?, named))
        };
        ends.into_iter().filter_map(link).collect()
    }
}
