//! A span for each call that is sampled: the server's, and below it the wait in the lane and each call
//! of the store. Of an unsampled call there is nothing but its trace's id, for the log.
//!
//! Names are those of OpenTelemetry's conventions for RPC
//! (<https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/>) and our own under `semel`.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{
        Link, Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
        Tracer as _,
    },
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{meters::code_name, sampling::Sampling};
use crate::{
    key::{AttemptId, Fence, KeyId, Record, Token},
    logging::SPANS,
};

/// What the calls are of, in OpenTelemetry's words.
pub(super) const RPC_SYSTEM: &str = "grpc";

/// Most looks of one waiting Claim that have spans: a wait of minutes has thousands.
const LOOKS: usize = 16;

/// What is asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Claim.
    Claim,
    /// Complete.
    Complete,
    /// Fail.
    Fail,
    /// Lookup.
    Lookup,
    /// Extend.
    Extend,
    /// Checkpoint.
    Checkpoint,
    /// A stream of commands.
    Session,
    /// Anything else: health checks, reflection.
    Other,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// What a path is for.
    pub fn of_path(path: &str) -> Self {
        match path.strip_prefix("/semel.v1.IdempotencyService/") {
            Some("Claim") => Self::Claim,
            Some("Complete") => Self::Complete,
            Some("Fail") => Self::Fail,
            Some("Lookup") => Self::Lookup,
            Some("Extend") => Self::Extend,
            Some("Checkpoint") => Self::Checkpoint,
            Some(_) => Self::Other,
            None if path == "/semel.v1.SessionService/Session" => Self::Session,
            None => Self::Other,
        }
    }

    /// Its full name; `_OTHER` for what is not worth a name, as the conventions have it.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Claim => "semel.v1.IdempotencyService/Claim",
            Self::Complete => "semel.v1.IdempotencyService/Complete",
            Self::Fail => "semel.v1.IdempotencyService/Fail",
            Self::Lookup => "semel.v1.IdempotencyService/Lookup",
            Self::Extend => "semel.v1.IdempotencyService/Extend",
            Self::Checkpoint => "semel.v1.IdempotencyService/Checkpoint",
            Self::Session => "semel.v1.SessionService/Session",
            Self::Other => "_OTHER",
        }
    }
}

/// Where spans come from and go to.
#[derive(Debug)]
pub(super) struct Spans {
    pub tracer: SdkTracer,
    pub provider: SdkTracerProvider,
    pub sampling: Sampling,
    pub propagator: TraceContextPropagator,
}

/// The context that a call brought.
struct Brought<'a> {
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
}

impl Extractor for Brought<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.traceparent,
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// Where a call comes from. An extension of its request.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    trace_id: Option<TraceId>,
    /// Whether its caller has decided that it is not traced.
    is_declined: bool,
    /// Its span; `None` if it is not sampled.
    pub span: Option<Arc<CallSpan>>,
}

impl Origin {
    pub(super) fn of(
        spans: Option<&Spans>,
        kind: Kind,
        traceparent: Option<&str>,
        tracestate: Option<&str>,
    ) -> Self {
        let Some(spans) = spans.filter(|_| kind != Kind::Other) else {
            return Self {
                trace_id: traceparent.and_then(trace_id),
                ..Self::default()
            };
        };
        let context = match traceparent {
            Some(_) => spans.propagator.extract_with_context(
                &Context::new(),
                &Brought {
                    traceparent,
                    tracestate,
                },
            ),
            None => Context::new(),
        };
        let caller = context.span().span_context().clone();
        let caller = caller.is_valid().then_some(caller);
        if !spans.sampling.samples(caller.as_ref()) {
            return Self {
                is_declined: caller.is_some(),
                trace_id: caller.map(|caller| caller.trace_id()),
                span: None,
            };
        }
        let span = CallSpan::start(spans.tracer.clone(), kind, context);
        Self {
            trace_id: Some(span.own.trace_id()),
            is_declined: false,
            span: Some(Arc::new(span)),
        }
    }

    /// Of a command without a context, on a stream that has this one: what its caller declined holds
    /// for all that comes on it.
    pub fn declines(&self) -> Option<Self> {
        self.is_declined.then(|| self.clone())
    }

    /// The key that it is about, as spans may show it.
    pub fn is_about(&self, id: &KeyId, shown_key: impl FnOnce() -> String) {
        if let Some(span) = &self.span {
            span.noted().about = Some((id.clone(), shown_key()));
        }
    }

    /// The trace it belongs to, if it brought one or has got one.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.trace_id
    }

    /// What is kept with a claim, for its duplicates: the server's own span of it, or else what the
    /// caller `sent`.
    pub fn traceparent<'a>(&'a self, sent: Option<&'a str>) -> Option<&'a str> {
        match &self.span {
            Some(span) => Some(&span.traceparent),
            None => sent,
        }
    }

    /// The trace to show for a value: of those that nobody has collected there is none.
    pub fn exemplar(&self) -> Option<TraceId> {
        self.span.as_ref().map(|span| span.own.trace_id())
    }
}

/// The trace's id in a traceparent, if it is one.
pub fn trace_id(traceparent: &str) -> Option<TraceId> {
    let id = traceparent.split('-').nth(1).filter(|id| id.len() == 32)?;
    let id = TraceId::from_hex(id).ok()?;
    (id != TraceId::INVALID).then_some(id)
}

/// A link's end, as it was kept.
fn kept(traceparent: &str) -> Option<SpanContext> {
    let brought = Brought {
        traceparent: Some(traceparent),
        tracestate: None,
    };
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &brought);
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// The key that a command is about, and the span of whoever asks.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The key.
    pub id: KeyId,
    /// The span, if the call is sampled.
    pub span: Option<Arc<CallSpan>>,
    /// The trace, sampled or not.
    pub trace_id: Option<TraceId>,
}

impl Asked {
    /// What comes from there about this key.
    pub fn new(id: KeyId, origin: &Origin) -> Self {
        Self {
            id,
            span: origin.span.clone(),
            trace_id: origin.trace_id,
        }
    }
}

impl From<KeyId> for Asked {
    fn from(id: KeyId) -> Self {
        Self::new(id, &Origin::default())
    }
}

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
    context: Context,
    own: SpanContext,
    traceparent: String,
    tracer: SdkTracer,
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
    fn start(tracer: SdkTracer, kind: Kind, parent: Context) -> Self {
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
    fn has_room(&self) -> bool {
        self.noted().looks <= LOOKS
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
        let end = at(until);
        let waited = until.saturating_duration_since(from);
        let start = end.checked_sub(waited).unwrap_or(end);
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

/// A call of the store that has ended, for many commands.
#[derive(Debug)]
pub struct StoreBatch<'a> {
    /// What was called.
    pub operation: &'static str,
    /// The store's engine.
    pub engine: &'static str,
    /// The lane that called.
    pub lane: usize,
    /// How many keys it was for.
    pub items: usize,
    /// When it began.
    pub from: Instant,
    /// When it ended.
    pub until: Instant,
    /// Why it failed, if it did.
    pub error: Option<&'static str>,
    /// The sampled calls among those that it was for.
    pub calls: &'a [Arc<CallSpan>],
}

impl StoreBatch<'_> {
    /// Shows it: as a trace of its own with a link to each sampled call, since it is no more one call's
    /// than another's; and in each of these calls' traces for as long as it took, with a link back.
    pub fn show(&self) {
        // A call may wait for several of the batch's keys, though nearly always it is for one.
        let calls: HashMap<_, _> = self
            .calls
            .iter()
            .filter(|call| call.has_room())
            .map(|call| (call.own.span_id(), call))
            .collect();
        let Some(first) = calls.values().next() else {
            return;
        };
        let tracer = &first.tracer;
        let name = format!("store {}", self.operation);
        let until = at(self.until);
        // By one look at both clocks, or a step between two could turn them round.
        let took = self.until.saturating_duration_since(self.from);
        let from = until.checked_sub(took).unwrap_or(until);
        let status = self.error.map_or(Status::Unset, Status::error);
        let attributes = || {
            [
                KeyValue::new("db.system.name", db_system(self.engine)),
                KeyValue::new("db.operation.name", self.operation),
                KeyValue::new("semel.batch.size", self.items as i64),
                KeyValue::new("semel.lane", self.lane as i64),
            ]
        };
        let links = calls
            .values()
            .map(|call| Link::with_context(call.own.clone()));
        let batch = tracer
            .span_builder(name.clone())
            .with_kind(SpanKind::Client)
            .with_start_time(from)
            .with_attributes(attributes())
            .with_links(links.collect());
        let mut batch = tracer.build_with_context(batch, &Context::new());
        batch.set_status(status.clone());
        let end = batch.span_context().clone();
        batch.end_with_timestamp(until);
        for call in calls.values() {
            let named = vec![KeyValue::new("semel.link", "batch")];
            let part = tracer
                .span_builder(name.clone())
                .with_start_time(from)
                .with_attributes(attributes())
                .with_links(vec![Link::new(end.clone(), named, 0)]);
            let mut part = tracer.build_with_context(part, &call.context);
            part.set_status(status.clone());
            part.end_with_timestamp(until);
        }
    }
}

fn db_system(engine: &'static str) -> &'static str {
    match engine {
        "postgres" => "postgresql",
        other => other,
    }
}

/// The wall clock's time of an instant.
fn at(instant: Instant) -> SystemTime {
    let ago = Instant::now().saturating_duration_since(instant);
    SystemTime::now()
        .checked_sub(ago)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
