//! Where a delivery's key stands.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, request::Parts};
use serde_json::Value;

use super::name;

/// Longest key that Semel takes, in bytes.
pub(crate) const KEY_BYTES: usize = 255;

/// Why a delivery has no key. Does not show the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It stands nowhere where it could.
    #[error("there is no {place}")]
    Missing {
        /// The header or the field.
        place: String,
    },
    /// What stands there can be no key.
    #[error("{place} {problem}")]
    Unusable {
        /// The header or the field.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl KeyError {
    /// That it does not stand in `place`.
    pub fn missing(place: impl Into<String>) -> Self {
        Self::Missing {
            place: place.into(),
        }
    }

    /// That what stands in `place` can be no key, and why.
    pub fn unusable(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Unusable {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

type Of = dyn Fn(&Parts, &Bytes) -> Result<String, KeyError> + Send + Sync;

#[derive(Clone)]
pub(super) enum KeySource {
    /// All of these headers, with colons between.
    Headers(Vec<HeaderName>),
    /// All of these fields of the body, with colons between.
    Json(Vec<&'static str>),
    /// The first of two that is there.
    Either(Box<Self>, Box<Self>),
    /// `Idempotency-Key`, a structured field or a bare token.
    IdempotencyKey,
    Of(Arc<Of>),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

impl KeySource {
    pub(super) fn header(text: &'static str) -> Self {
        Self::headers([text])
    }

    pub(super) fn headers<const N: usize>(names: [&'static str; N]) -> Self {
        Self::Headers(names.map(name).into())
    }

    pub(super) fn json<const N: usize>(fields: [&'static str; N]) -> Self {
        Self::Json(fields.into())
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self::Either(self.into(), other.into())
    }

    fn place(&self) -> String {
        match self {
            Self::Headers(names) => {
                let names: Vec<_> = names.iter().map(HeaderName::as_str).collect();
                format!("{} header", names.join(" and "))
            }
            Self::Json(fields) => format!("{} in the JSON body", fields.join(" and ")),
            Self::Either(one, other) => format!("{} or {}", one.place(), other.place()),
            Self::IdempotencyKey => "Idempotency-Key header".to_owned(),
            Self::Of(_) => "key".to_owned(),
        }
    }

    pub(super) fn read(&self, parts: &Parts, body: &Bytes) -> Result<String, KeyError> {
        let key = self.raw(parts, body)?;
        let problem = if key.is_empty() {
            "is empty".to_owned()
        } else if key.len() > KEY_BYTES {
            format!("has {} bytes; at most {KEY_BYTES} are taken", key.len())
        } else if key.chars().any(char::is_control) {
            "has control characters".to_owned()
        } else {
            return Ok(key);
        };
        Err(KeyError::unusable(format!("the {}", self.place()), problem))
    }

    fn raw(&self, parts: &Parts, body: &Bytes) -> Result<String, KeyError> {
        let missing = || KeyError::missing(self.place());
        match self {
            Self::Headers(names) => {
                let values: Result<Vec<_>, _> =
                    names.iter().map(|name| one_header(parts, name)).collect();
                Ok(values?.join(":"))
            }
            Self::Json(fields) => {
                let body = json(body)?;
                let values: Option<Vec<_>> =
                    fields.iter().map(|field| field_of(&body, field)).collect();
                Ok(values.ok_or_else(missing)?.join(":"))
            }
            Self::Either(one, other) => match one.raw(parts, body) {
                Err(KeyError::Missing { .. }) => {
                    other.raw(parts, body).map_err(|error| match error {
                        KeyError::Missing { .. } => missing(),
                        error => error,
                    })
                }
                known => known,
            },
            Self::IdempotencyKey => idempotency_key(parts),
            Self::Of(of) => of(parts, body),
        }
    }
}

/// Of two values nobody could say which one counts.
fn one_header(parts: &Parts, name: &HeaderName) -> Result<String, KeyError> {
    let mut values = parts.headers.get_all(name).iter();
    let place = || format!("{name} header");
    let value = values.next().ok_or_else(|| KeyError::missing(place()))?;
    if values.next().is_some() {
        let problem = "stands more than once";
        return Err(KeyError::unusable(format!("the {}", place()), problem));
    }
    std::str::from_utf8(value.as_bytes())
        .map(str::to_owned)
        .map_err(|_| KeyError::unusable(format!("the {}", place()), "is not UTF-8"))
}

fn json(body: &Bytes) -> Result<Value, KeyError> {
    serde_json::from_slice(body).map_err(|_| KeyError::unusable("the body", "is not JSON"))
}

/// A text, a number or a truth; nothing else names anything.
fn field_of(body: &Value, field: &str) -> Option<String> {
    match body.pointer(field)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is_so) => Some(is_so.to_string()),
        _ => None,
    }
}

fn idempotency_key(parts: &Parts) -> Result<String, KeyError> {
    const NAMES: [&str; 2] = ["idempotency-key", "x-idempotency-key"];
    let mut there = NAMES
        .into_iter()
        .filter(|name| parts.headers.contains_key(*name));
    let header = there
        .next()
        .ok_or_else(|| KeyError::missing("Idempotency-Key header"))?;
    let value = one_header(parts, &name(header))?;
    let key = unquoted(&value)
        .map_err(|problem| KeyError::unusable(format!("the {header} header"), problem))?;
    if let Some(other) = there.next()
        && unquoted(&one_header(parts, &name(other))?).ok().as_ref() != Some(&key)
    {
        let problem = format!("and {other} differ");
        return Err(KeyError::unusable(format!("the {header} header"), problem));
    }
    Ok(key)
}

/// The draft's structured field (RFC 8941, section 3.3.3): a quoted string with `\"` and `\\` escaped.
/// Most senders write no quotes, so what has none is taken as it is. Parameters mean nothing here.
fn unquoted(value: &str) -> Result<String, &'static str> {
    let value = value.trim_matches([' ', '\t']);
    let Some(quoted) = value.strip_prefix('"') else {
        return match value.contains(['"', ',', ';']) {
            true => Err("is neither a quoted string nor one bare token"),
            false => Ok(value.to_owned()),
        };
    };
    let mut key = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next() {
            None => return Err("has no closing quote"),
            Some('"') => break,
            Some('\\') => match rest.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                _ => {
                    return Err(
                        "has a backslash before something other than a quote or a backslash",
                    );
                }
            },
            Some(other @ ' '..='~') => key.push(other),
            Some(_) => return Err("has something other than printable ASCII within its quotes"),
        }
    }
    match rest.as_str().trim_start_matches([' ', '\t']) {
        "" => Ok(key),
        parameters if parameters.starts_with(';') => Ok(key),
        _ => Err("has something behind its closing quote"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn idempotency_key(headers: &[(&str, &str)]) -> Result<String, String> {
        KeySource::IdempotencyKey
            .read(&parts(headers), &Bytes::new())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_idempotency_key_is_a_quoted_string_or_a_bare_token() {
        for (value, key) in [
            (
                r#""8e03978e-40d5-43e8-bc93-6894a57f9324""#,
                "8e03978e-40d5-43e8-bc93-6894a57f9324",
            ),
            ("8e03978e-40d5", "8e03978e-40d5"),
            (r#""a \"quoted\" \\ one""#, r#"a "quoted" \ one"#),
            (r#""clé""#, ""),
            (r#""with";parameter=1"#, "with"),
            ("  padded  ", "padded"),
        ] {
            match key {
                "" => assert!(idempotency_key(&[("idempotency-key", value)]).is_err()),
                key => assert_eq!(
                    idempotency_key(&[("idempotency-key", value)]).as_deref(),
                    Ok(key)
                ),
            }
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_a_reason() {
        for (value, reason) in [
            (r#""open"#, "closing quote"),
            (r#""a"b"#, "behind its closing quote"),
            (r#""a\b""#, "backslash"),
            ("a, b", "bare token"),
            (r#""""#, "empty"),
            ("", "empty"),
        ] {
            let error = idempotency_key(&[("idempotency-key", value)]).unwrap_err();
            assert!(error.contains(reason), "{value}: {error}");
        }
    }

    #[test]
    fn the_other_name_counts_too_and_the_two_must_agree() {
        assert_eq!(
            idempotency_key(&[("x-idempotency-key", "a")]).as_deref(),
            Ok("a")
        );
        let both =
            |one, other| idempotency_key(&[("idempotency-key", one), ("x-idempotency-key", other)]);
        assert_eq!(both("\"a\"", "a").as_deref(), Ok("a"));
        assert!(both("a", "b").unwrap_err().contains("differ"));
        let twice = idempotency_key(&[("idempotency-key", "a"), ("idempotency-key", "a")]);
        assert!(twice.unwrap_err().contains("more than once"));
    }

    #[test]
    fn a_key_is_limited_and_the_limit_is_named() {
        let longest = "k".repeat(KEY_BYTES);
        assert_eq!(
            idempotency_key(&[("idempotency-key", &longest)]),
            Ok(longest.clone())
        );
        let error = idempotency_key(&[("idempotency-key", &format!("{longest}k"))]).unwrap_err();
        assert!(error.contains("256") && error.contains("255"), "{error}");
    }

    #[test]
    fn fields_of_the_body_are_texts_or_numbers_and_are_joined() {
        let body = Bytes::from_static(br#"{"a": "x", "b": {"c": 7}, "d": null}"#);
        let read = |source: KeySource| source.read(&parts(&[]), &body);
        assert_eq!(read(KeySource::json(["/a", "/b/c"])), Ok("x:7".to_owned()));
        let missing = read(KeySource::json(["/a", "/e"])).unwrap_err().to_string();
        assert_eq!(missing, "there is no /a and /e in the JSON body");
        let no_json = KeySource::json(["/a"]).read(&parts(&[]), &Bytes::from_static(b"{"));
        assert_eq!(no_json.unwrap_err().to_string(), "the body is not JSON");
    }
}
