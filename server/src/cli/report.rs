//! An answer, once: shown as aligned lines to people or as one JSON object to programs.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::encoding::{to_base64, to_hex};
use super::parse;

/// An answer: a headline, and fields in their order.
#[derive(Debug)]
pub(super) struct Report {
    outcome: &'static str,
    headline: String,
    fields: Vec<(&'static str, Field)>,
}

/// One field. Its JSON name is the field's own, with the unit or encoding added where it has one.
#[derive(Debug)]
enum Field {
    Text(String),
    Number(i64),
    Flag(bool),
    /// `NAME_ms`.
    Span(Duration),
    Time(SystemTime),
    /// Bytes that have a meaning of their own: hexadecimal.
    Hex(Bytes),
    /// Bytes of the caller's: `NAME` where they are UTF-8 and else null, and `NAME_base64`.
    Payload(Bytes),
    /// A list of `{name, value, value_base64}`.
    Headers(Vec<(String, Bytes)>),
}

impl Report {
    pub fn new(outcome: &'static str, headline: impl Into<String>) -> Self {
        Self {
            outcome,
            headline: headline.into(),
            fields: Vec::new(),
        }
    }

    /// Left out when empty: Semel's way of saying that nothing was said.
    pub fn text(self, name: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() {
            self
        } else {
            self.with(name, Field::Text(text))
        }
    }

    pub fn number(self, name: &'static str, number: impl Into<i64>) -> Self {
        self.with(name, Field::Number(number.into()))
    }

    pub fn flag(self, name: &'static str, flag: bool) -> Self {
        self.with(name, Field::Flag(flag))
    }

    pub fn span(self, name: &'static str, span: Duration) -> Self {
        self.with(name, Field::Span(span))
    }

    pub fn time(self, name: &'static str, time: Option<SystemTime>) -> Self {
        self.with_some(name, time.map(Field::Time))
    }

    /// Left out when empty, as a text is.
    pub fn hex(self, name: &'static str, bytes: Bytes) -> Self {
        if bytes.is_empty() {
            self
        } else {
            self.with(name, Field::Hex(bytes))
        }
    }

    /// Shown also when empty: an empty result is a result.
    pub fn payload(self, name: &'static str, bytes: impl Into<Option<Bytes>>) -> Self {
        self.with_some(name, bytes.into().map(Field::Payload))
    }

    pub fn headers(self, name: &'static str, headers: Vec<(String, Bytes)>) -> Self {
        self.with(name, Field::Headers(headers))
    }

    fn with_some(self, name: &'static str, field: Option<Field>) -> Self {
        match field {
            Some(field) => self.with(name, field),
            None => self,
        }
    }

    fn with(mut self, name: &'static str, field: Field) -> Self {
        self.fields.push((name, field));
        self
    }

    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("outcome".into(), self.outcome.into());
        for (name, field) in &self.fields {
            match field {
                Field::Text(text) => object.insert((*name).into(), text.as_str().into()),
                Field::Number(number) => object.insert((*name).into(), (*number).into()),
                Field::Flag(flag) => object.insert((*name).into(), (*flag).into()),
                Field::Span(span) => {
                    object.insert(format!("{name}_ms"), (span.as_millis() as u64).into())
                }
                Field::Time(time) => object.insert((*name).into(), parse::show_time(*time).into()),
                Field::Hex(bytes) => object.insert((*name).into(), to_hex(bytes).into()),
                Field::Payload(bytes) => {
                    object.insert((*name).into(), str::from_utf8(bytes).ok().into());
                    object.insert(format!("{name}_base64"), to_base64(bytes).into())
                }
                Field::Headers(headers) => object.insert((*name).into(), headers_json(headers)),
            };
        }
        object.into()
    }

    pub fn to_text(&self) -> String {
        let width = self
            .fields
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0);
        let mut text = self.headline.clone();
        for (name, field) in &self.fields {
            let name = name.replace('_', " ");
            let value = field.to_text();
            // Writing to a String cannot fail.
            let _ = match value.trim_end_matches('\n') {
                "" => write!(text, "\n  {name}"),
                // A value of several lines stands below its name, or it could not be told where
                // it ends.
                value if value.contains('\n') => {
                    write!(text, "\n  {name}\n    {}", value.replace('\n', "\n    "))
                }
                value => write!(text, "\n  {name:width$}  {value}"),
            };
        }
        text
    }
}

impl Field {
    fn to_text(&self) -> String {
        match self {
            Self::Text(text) => printable(text),
            Self::Number(number) => number.to_string(),
            Self::Flag(true) => "yes".into(),
            Self::Flag(false) => "no".into(),
            Self::Span(span) => parse::show_duration(*span),
            Self::Time(time) => parse::show_time(*time),
            Self::Hex(bytes) => to_hex(bytes),
            Self::Payload(bytes) if bytes.is_empty() => "(empty)".into(),
            Self::Payload(bytes) => shown(bytes),
            Self::Headers(headers) => {
                let lines = headers
                    .iter()
                    .map(|(name, value)| format!("{}: {}\n", printable(name), shown(value)));
                // The empty line makes a block also of a single header.
                lines.collect::<String>() + "\n"
            }
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => printable(text),
        Err(_) => format!("base64:{}", to_base64(bytes)),
    }
}

/// The text without what could take a terminal over: results and errors come from anybody.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn headers_json(headers: &[(String, Bytes)]) -> Value {
    let each = headers.iter().map(|(name, value)| {
        json!({
            "name": name,
            "value": str::from_utf8(value).ok(),
            "value_base64": to_base64(value),
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_names_carry_their_units_and_bytes_come_twice() {
        let report = Report::new("completed", "completed")
            .number("fence", 7)
            .span("lease", Duration::from_millis(1_500))
            .payload("result", Bytes::from_static(b"ok"))
            .payload("checkpoint", Bytes::from_static(&[0xFF]))
            .text("last_error", "")
            .hex("token", Bytes::from_static(&[1, 0xAB]));
        assert_eq!(
            report.to_json(),
            json!({
                "outcome": "completed",
                "fence": 7,
                "lease_ms": 1_500,
                "result": "ok",
                "result_base64": "b2s=",
                "checkpoint": null,
                "checkpoint_base64": "/w==",
                "token": "01ab",
            })
        );
    }

    #[test]
    fn text_is_aligned_and_values_of_several_lines_stand_below_their_names() {
        let report = Report::new("completed", "completed order-1")
            .number("fence", 7)
            .payload("result", Bytes::from_static(b"a\nb\n"))
            .text("last_error", "no\tway");
        assert_eq!(
            report.to_text(),
            "completed order-1\n  fence       7\n  result\n    a\n    b\n  last error  no\tway"
        );
    }

    #[test]
    fn a_result_cannot_steer_the_terminal() {
        let report =
            Report::new("completed", "").payload("result", Bytes::from_static(b"\x1b[2Jgone"));
        assert_eq!(report.to_text(), "\n  result  \\u{1b}[2Jgone");
    }
}
