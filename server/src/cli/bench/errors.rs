//! What went wrong, by reason.

use std::collections::BTreeMap;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::cli::Exit;

/// Operations that failed or were answered wrongly.
#[derive(Debug, Default)]
pub(super) struct Errors(BTreeMap<String, Failure>);

#[derive(Debug)]
struct Failure {
    count: u64,
    /// Of the call's status, where it had one.
    code: Option<Code>,
    /// What the first one said.
    example: String,
}

impl Errors {
    /// Counts one operation that a call's error ended.
    pub fn status(&mut self, status: &Status) {
        self.statuses(status, 1);
    }

    /// Counts `count` operations that the same error ended.
    pub fn statuses(&mut self, status: &Status, count: u64) {
        self.add(reason_of(status), count, || Failure {
            count: 0,
            code: Some(status.code()),
            example: status.message().to_owned(),
        });
    }

    /// Counts one operation that was not answered as it must be.
    pub fn unexpected(&mut self, reason: &str) {
        self.others(reason, 1, "");
    }

    /// Counts `count` operations that ended in another way; `what` says in which.
    pub fn others(&mut self, reason: &str, count: u64, what: &str) {
        self.add(reason.to_owned(), count, || Failure {
            count: 0,
            code: None,
            example: what.to_owned(),
        });
    }

    /// Counts a worker that this kept from working on.
    pub fn gave_up(&mut self, status: &Status) {
        self.add("WORKER_GAVE_UP".into(), 1, || Failure {
            count: 0,
            code: Some(status.code()),
            example: status.message().to_owned(),
        });
    }

    fn add(&mut self, reason: String, count: u64, first: impl FnOnce() -> Failure) {
        if count > 0 {
            self.0.entry(reason).or_insert_with(first).count += count;
        }
    }

    pub fn merge(&mut self, others: &Self) {
        for (reason, other) in &others.0 {
            self.add(reason.clone(), other.count, || Failure {
                count: 0,
                code: other.code,
                example: other.example.clone(),
            });
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn total(&self) -> u64 {
        self.0.values().map(|failure| failure.count).sum()
    }

    /// Each reason, how often, and what the first said.
    pub fn each(&self) -> impl Iterator<Item = (&str, u64, &str)> {
        self.0
            .iter()
            .map(|(reason, it)| (reason.as_str(), it.count, it.example.as_str()))
    }

    /// One line for people.
    pub fn sentence(&self) -> String {
        let each = self.each().map(|(reason, count, example)| {
            let example = if example.is_empty() {
                String::new()
            } else {
                format!(" ({})", example.escape_debug())
            };
            format!("{count} {reason}{example}")
        });
        each.collect::<Vec<_>>().join(", ")
    }

    /// What a run with these errors ends with: a code of its own where all are of one sort.
    pub fn exit(&self) -> Exit {
        let all = |codes: &[Code]| {
            self.0
                .values()
                .all(|it| it.code.is_some_and(|code| codes.contains(&code)))
        };
        if self.is_empty() {
            Exit::Success
        } else if all(&[
            Code::Unavailable,
            Code::ResourceExhausted,
            Code::DeadlineExceeded,
        ]) {
            Exit::Unavailable
        } else if all(&[Code::Unauthenticated, Code::PermissionDenied]) {
            Exit::NotAllowed
        } else if all(&[Code::InvalidArgument]) {
            Exit::Usage
        } else {
            Exit::Failure
        }
    }
}

/// The reason that the server names, or else the code.
fn reason_of(status: &Status) -> String {
    match status.get_details_error_info() {
        Some(info) if !info.reason.is_empty() => info.reason,
        _ => name_of(status.code()),
    }
}

/// `RESOURCE_EXHAUSTED`, as the specification writes it.
fn name_of(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(c.to_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn with_reason(code: Code, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "semel.dev", []);
        Status::with_error_details(code, "said", details)
    }

    #[test]
    fn errors_are_counted_by_reason_or_else_by_code() {
        let mut errors = Errors::default();
        errors.status(&with_reason(Code::ResourceExhausted, "QUEUE_FULL"));
        errors.status(&with_reason(Code::ResourceExhausted, "QUEUE_FULL"));
        let mut others = Errors::default();
        others.statuses(&Status::deadline_exceeded("late"), 5);
        others.unexpected("WRONG_RESULT");
        others.others("NOT_DRAINED", 0, "late");
        errors.merge(&others);
        let counts: Vec<_> = errors
            .each()
            .map(|(reason, count, _)| (reason, count))
            .collect();
        let expected = [
            ("DEADLINE_EXCEEDED", 5),
            ("QUEUE_FULL", 2),
            ("WRONG_RESULT", 1),
        ];
        assert_eq!(counts, expected);
        assert_eq!(errors.total(), 8);
        assert!(
            errors
                .sentence()
                .starts_with("5 DEADLINE_EXCEEDED (late), 2 QUEUE_FULL")
        );
    }

    #[test]
    fn errors_of_one_sort_have_a_code_of_their_own() {
        let exit = |statuses: &[Status]| {
            let mut errors = Errors::default();
            statuses.iter().for_each(|status| errors.status(status));
            errors.exit()
        };
        assert_eq!(exit(&[]), Exit::Success);
        let away = Status::unavailable("");
        let full = with_reason(Code::ResourceExhausted, "QUEUE_FULL");
        assert_eq!(exit(&[away.clone(), full]), Exit::Unavailable);
        assert_eq!(exit(&[Status::permission_denied("")]), Exit::NotAllowed);
        assert_eq!(exit(&[Status::invalid_argument("")]), Exit::Usage);
        assert_eq!(exit(&[away, Status::invalid_argument("")]), Exit::Failure);
        let mut wrong = Errors::default();
        wrong.unexpected("WRONG_RESULT");
        assert_eq!(wrong.exit(), Exit::Failure);
    }
}
