//! W3C trace context: which trace a call belongs to, as its headers say it.
//!
//! What is *current* is read in the caller's own task when a call is first polled, before anything is
//! queued or spawned: with `call.instrument(span)` and `call.with_context(context)` that is within them.

use std::fmt;
use std::sync::Arc;

use tonic::metadata::AsciiMetadataValue;

use crate::error::Error;

/// The only version that is written.
const VERSION: &str = "00";
/// Bytes of a `traceparent` of that version.
const TRACEPARENT_BYTES: usize = 55;
/// The only flag that version 00 defines.
const SAMPLED: u8 = 1;

/// What is sent with a call so that the server's span of it is a child of the caller's. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace(Arc<Headers>);

#[derive(Debug, PartialEq, Eq)]
struct Headers {
    traceparent: AsciiMetadataValue,
    tracestate: Option<AsciiMetadataValue>,
}

/// The trace of a claim, for the calls of its holder.
#[derive(Debug, Clone, Default)]
pub(crate) enum Origin {
    /// Nobody has said, and no span was active.
    #[default]
    None,
    /// The caller has said so, and it goes before whatever is current.
    Explicit(Trace),
    /// It was current when the claim was made.
    Current(Trace),
}

impl Trace {
    fn new(traceparent: AsciiMetadataValue, tracestate: Option<AsciiMetadataValue>) -> Self {
        Self(Arc::new(Headers {
            traceparent,
            tracestate,
        }))
    }

    /// What a caller has said, as it is.
    ///
    /// # Errors
    /// `InvalidArgument` when it cannot be sent as a header. A session could carry it, but a call
    /// must not fail or pass by the way it takes.
    pub(crate) fn explicit(traceparent: &str) -> Result<Self, Error> {
        let traceparent = traceparent
            .parse()
            .map_err(|_| Error::invalid("traceparent", "must be visible ASCII"))?;
        Ok(Self::new(traceparent, None))
    }

    /// Of the span that is active here; `None` where none is.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn current() -> Option<Self> {
        opentelemetry::Context::map_current(context::trace)
    }

    #[cfg(not(feature = "opentelemetry"))]
    pub(crate) fn current() -> Option<Self> {
        None
    }

    pub(crate) fn traceparent(&self) -> &AsciiMetadataValue {
        &self.0.traceparent
    }

    pub(crate) fn tracestate(&self) -> Option<&AsciiMetadataValue> {
        self.0.tracestate.as_ref()
    }

    /// `traceparent` for where it is no header.
    pub(crate) fn text(&self) -> &str {
        // It was made of a string, so it is one.
        self.0.traceparent.to_str().unwrap_or_default()
    }
}

impl Origin {
    /// The trace of the claim, also in a task that knows nothing else of it.
    pub(crate) fn of_claim(&self) -> Option<&Trace> {
        match self {
            Self::None => None,
            Self::Explicit(trace) | Self::Current(trace) => Some(trace),
        }
    }

    /// For what the claim's own guard says for its holder.
    pub(crate) fn or_current(&self) -> Option<Trace> {
        self.of_claim().cloned().or_else(Trace::current)
    }

    /// For a call that the holder makes, wherever that is.
    pub(crate) fn unless_current(&self) -> Option<Trace> {
        match self {
            Self::Explicit(trace) => Some(trace.clone()),
            Self::Current(trace) => Some(Trace::current().unwrap_or_else(|| trace.clone())),
            Self::None => Trace::current(),
        }
    }
}

/// What a well-formed `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// 32 hexadecimal digits.
    pub(crate) trace_id: &'a str,
    /// 16 hexadecimal digits.
    pub(crate) span_id: &'a str,
    pub(crate) is_sampled: bool,
}

/// As a `traceparent`.
impl fmt::Display for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace_id, span_id) = (self.trace_id, self.span_id);
        let flags = u8::from(self.is_sampled) * SAMPLED;
        write!(f, "{VERSION}-{trace_id}-{span_id}-{flags:02x}")
    }
}

/// Reads a `traceparent`, of a later version as much of it as this version knows; `None` when it is
/// malformed.
pub(crate) fn read(traceparent: &str) -> Option<Parts<'_>> {
    let (head, rest) = traceparent.split_at_checked(TRACEPARENT_BYTES)?;
    let mut fields = head.split('-');
    let mut field = |digits| fields.next().filter(|field| is_hex(field, digits));
    let (version, trace_id, span_id, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    let is_whole = match version {
        VERSION => rest.is_empty(),
        "ff" => false,
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    let is_zero = |id: &str| id.bytes().all(|digit| digit == b'0');
    if !is_whole || is_zero(trace_id) || is_zero(span_id) {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some(Parts {
        trace_id,
        span_id,
        is_sampled: flags & SAMPLED != 0,
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == digits && text.bytes().all(is_digit)
}

#[cfg(feature = "opentelemetry")]
mod context {
    use opentelemetry::Context;
    use opentelemetry::trace::{TraceContextExt as _, TraceFlags, TraceState};

    use super::{AsciiMetadataValue, Trace, VERSION};

    /// As much of a `tracestate` as everybody has to pass on; the server's room for headers is
    /// bounded.
    const TRACESTATE_BYTES: usize = 512;
    /// Longer members are the first to go.
    const LONG_MEMBER_BYTES: usize = 128;

    pub(super) fn trace(context: &Context) -> Option<Trace> {
        if !context.has_active_span() {
            return None;
        }
        let span = context.span();
        let span = span.span_context();
        if !span.is_valid() {
            return None;
        }
        let (trace_id, span_id) = (span.trace_id(), span.span_id());
        let flags = span.trace_flags() & TraceFlags::SAMPLED;
        let traceparent = format!("{VERSION}-{trace_id}-{span_id}-{flags:02x}");
        let tracestate = tracestate(span.trace_state());
        Some(Trace::new(traceparent.parse().ok()?, tracestate))
    }

    /// `None` where there is nothing of it to be sent: a call does not fail for what only explains it.
    fn tracestate(state: &TraceState) -> Option<AsciiMetadataValue> {
        let mut header = state.header();
        if header.len() > TRACESTATE_BYTES {
            header = cut(&header);
        }
        if header.is_empty() {
            return None;
        }
        header.parse().ok()
    }

    /// Whole members, from the first on, as W3C would have it: those at the end are the oldest.
    fn cut(header: &str) -> String {
        let mut short = String::with_capacity(TRACESTATE_BYTES);
        let members = header.split(',');
        for member in members.filter(|member| member.len() <= LONG_MEMBER_BYTES) {
            if short.len() + usize::from(!short.is_empty()) + member.len() > TRACESTATE_BYTES {
                break;
            }
            if !short.is_empty() {
                short.push(',');
            }
            short.push_str(member);
        }
        short
    }

    #[cfg(test)]
    mod tests {
        use opentelemetry::trace::{SpanContext, SpanId, TraceId};

        use super::*;

        fn traced(flags: u8, state: TraceState) -> Option<Trace> {
            let (trace_id, span_id) = (TraceId::from(0xabc), SpanId::from(0x1));
            let flags = TraceFlags::new(flags);
            let span = SpanContext::new(trace_id, span_id, flags, false, state);
            trace(&Context::new().with_remote_span_context(span))
        }

        fn state(members: &[(&str, String)]) -> TraceState {
            TraceState::from_key_value(members.iter().cloned()).expect("well-formed")
        }

        #[test]
        fn only_the_flag_that_is_defined_is_passed_on() {
            for (flags, text) in [(0, "00"), (1, "01"), (2, "00"), (0xff, "01")] {
                let trace = traced(flags, TraceState::NONE).expect("valid");
                let expected =
                    format!("00-00000000000000000000000000000abc-0000000000000001-{text}");
                assert_eq!(trace.text(), expected);
                assert_eq!(trace.tracestate(), None);
            }
        }

        #[test]
        fn what_names_no_span_is_none() {
            assert_eq!(trace(&Context::new()), None);
            let nothing = Context::new().with_remote_span_context(SpanContext::NONE);
            assert_eq!(trace(&nothing), None);
        }

        #[test]
        fn a_tracestate_is_cut_to_whole_members_and_long_ones_go_first() {
            let short = state(&[("b", "2".into()), ("a", "1".into())]);
            let sent = |state| traced(1, state).expect("valid").tracestate().cloned();
            assert_eq!(sent(short).expect("sent"), "b=2,a=1");

            let member = |n: usize| (["k0", "k1", "k2", "k3", "k4", "k5"][n], "v".repeat(97));
            let long = ("long", "v".repeat(200));
            let many = state(&[
                member(0),
                long,
                member(1),
                member(2),
                member(3),
                member(4),
                member(5),
            ]);
            let expected = [member(0), member(1), member(2), member(3), member(4)]
                .map(|(key, value)| format!("{key}={value}"))
                .join(",");
            // 5 members of 100 bytes, and 4 commas.
            assert_eq!(expected.len(), 504);
            assert_eq!(sent(many).expect("sent"), expected.as_str());
        }

        #[test]
        fn a_tracestate_that_is_no_header_is_left_out_and_the_trace_is_not() {
            let trace = traced(1, state(&[("a", "é\n".into())])).expect("valid");
            assert_eq!(trace.tracestate(), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_is_read_as_w3c_has_it() {
        let text = |version: &str, rest: &str| format!("{version}-{TRACE}-{SPAN}-{rest}");
        for (version, rest, is_sampled) in [
            ("00", "01", true),
            ("00", "00", false),
            ("00", "03", true),
            ("00", "fe", false),
            ("01", "01", true),
            ("cc", "01-what-comes-later", true),
            ("fe", "00-", false),
        ] {
            let text = text(version, rest);
            let expected = Parts {
                trace_id: TRACE,
                span_id: SPAN,
                is_sampled,
            };
            assert_eq!(read(&text), Some(expected), "{text}");
            let flags = if is_sampled { "01" } else { "00" };
            assert_eq!(expected.to_string(), format!("00-{TRACE}-{SPAN}-{flags}"));
        }
        for (version, rest) in [
            ("ff", "01"),
            ("00", "01-what-comes-later"),
            ("cc", "01.what-comes-later"),
            ("0", "01"),
            ("000", "01"),
            ("0G", "01"),
            ("CC", "01"),
            ("00", "1"),
            ("00", "0A"),
            ("00", "+1"),
            ("00", ""),
        ] {
            let text = text(version, rest);
            assert_eq!(read(&text), None, "{text}");
        }
    }

    #[test]
    fn a_traceparent_with_bad_ids_is_malformed() {
        let zeros = "0".repeat(32);
        for (trace, span) in [
            (&zeros[..], SPAN),
            (TRACE, &zeros[..16]),
            (&TRACE[1..], SPAN),
            (TRACE, &SPAN[1..]),
            (&TRACE.to_uppercase()[..], SPAN),
            (TRACE, &SPAN.to_uppercase()[..]),
            // The right length in the wrong places, and in bytes that are no digits.
            (&format!("{TRACE}{}", &SPAN[..1])[..], &SPAN[1..]),
            ("4bf92f3577b34da6a3ce929d0e0e473é", &SPAN[1..]),
        ] {
            let text = format!("00-{trace}-{span}-01");
            assert_eq!(read(&text), None, "{text}");
        }
        for text in ["", "00", "garbage", &"é".repeat(28), &"-".repeat(55)] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
