//! What an error says, taken apart.

use std::{collections::BTreeMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// An error's parts.
#[derive(Debug, PartialEq)]
pub struct Told {
    pub code: Code,
    pub reason: String,
    pub domain: String,
    pub metadata: BTreeMap<String, String>,
    pub retry_after: Option<Duration>,
    /// The fields that a BadRequest names.
    pub fields: Vec<String>,
    pub message: String,
}

impl Told {
    pub fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        Self {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            domain: info.map(|info| info.domain.clone()).unwrap_or_default(),
            metadata: info
                .map(|info| info.metadata.clone().into_iter().collect())
                .unwrap_or_default(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
            fields: details
                .bad_request()
                .map(|bad| {
                    bad.field_violations
                        .iter()
                        .map(|v| v.field.clone())
                        .collect()
                })
                .unwrap_or_default(),
            message: status.message().to_owned(),
        }
    }

    /// The value that the metadata has under `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// Checks what every error of ours has: code, reason, domain, and a message for people.
    #[track_caller]
    pub fn expect(&self, code: Code, reason: &str) -> &Self {
        assert_eq!(
            (self.code, self.reason.as_str()),
            (code, reason),
            "{self:?}"
        );
        assert_eq!(self.domain, "semel.dev", "{self:?}");
        assert!(!self.message.is_empty(), "{self:?}");
        // Debug dumps are for logs.
        assert!(
            !self.message.contains(" { ") && !self.message.contains("Some("),
            "{self:?}"
        );
        self
    }

    /// Checks that it tells when to come again.
    #[track_caller]
    pub fn expect_retry(&self) -> &Self {
        let sensible = Duration::from_millis(1)..=Duration::from_secs(10);
        assert!(
            self.retry_after
                .is_some_and(|after| sensible.contains(&after)),
            "{self:?}"
        );
        self
    }

    /// Checks that it names this field, in both places.
    #[track_caller]
    pub fn expect_field(&self, field: &str) -> &Self {
        self.expect(Code::InvalidArgument, "INVALID_FIELD");
        assert_eq!(self.get("field"), Some(field), "{self:?}");
        assert_eq!(self.fields, [field], "{self:?}");
        assert!(self.message.contains(field), "{self:?}");
        assert_eq!(self.retry_after, None, "waiting does not mend it: {self:?}");
        self
    }
}

/// What a call that has to fail says.
#[track_caller]
pub fn told<T: std::fmt::Debug>(answer: Result<T, Status>) -> Told {
    match answer {
        Ok(answer) => panic!("not refused: {answer:?}"),
        Err(status) => Told::of(&status),
    }
}
