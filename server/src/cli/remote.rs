//! What the commands that ask a running server share: where it is, how to answer, what went wrong.

use std::pin::pin;
use std::time::Duration;

use semel_client::{Client, Error, FieldViolation};

use super::{Exit, exit, parse, report::Report};
use crate::logging;

/// The codes of the errors that every remote command can end with.
pub(super) const COMMON_EXITS: [Exit; 4] = [
    Exit::Failure,
    Exit::Usage,
    Exit::NotAllowed,
    Exit::Unavailable,
];

/// An answer that takes longer is worth a word to whoever watches.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which server to ask, and how to show its answer.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server and output")]
pub(super) struct Remote {
    /// The server
    #[arg(
        long,
        env = "SEMEL_ADDRESS",
        value_name = "URL",
        default_value = "http://127.0.0.1:7420"
    )]
    address: String,

    /// The namespace of the key
    #[arg(
        long,
        short,
        env = "SEMEL_NAMESPACE",
        value_name = "NAME",
        default_value = "default"
    )]
    pub namespace: String,

    /// How long to go on trying while the server is away; a --wait comes on top
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse::duration)]
    pub timeout: Duration,

    /// Answer with one JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

impl Remote {
    /// A client of the server.
    pub fn client(&self) -> Result<Client, Error> {
        // The client tells what it retries, to those who ask for it.
        if std::env::var_os("RUST_LOG").is_some() {
            logging::init_command("warn");
        }
        Client::builder()
            // A second one, for a try after the first connection hangs.
            .channels(2)
            .deadline(self.timeout)
            .connect(self.address.as_str())
    }

    /// Awaits a call that has the client's deadline, and says so when it takes long.
    pub async fn patiently<T>(&self, call: impl Future<Output = T>) -> T {
        self.patiently_for(self.timeout, call).await
    }

    /// As [`Remote::patiently`], for a call with a deadline of its own.
    pub async fn patiently_for<T>(&self, deadline: Duration, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        tokio::select! {
            answer = &mut call => return answer,
            () = tokio::time::sleep(PATIENCE) => {}
        }
        eprintln!(
            "semel: no answer from {} yet; trying for {} in all",
            self.address,
            parse::show_duration(deadline)
        );
        call.await
    }

    /// Prints an answer in the form that was asked for.
    pub fn print(&self, report: &Report) {
        let text = if self.json {
            report.to_json().to_string()
        } else {
            report.to_text()
        };
        // Whoever closed the pipe has read enough; the exit code still tells the outcome.
        let _ = super::print_bytes(&mut std::io::stdout(), format!("{text}\n").as_bytes());
    }

    /// Says on standard error what went wrong and what to do about it.
    pub fn failed(&self, key: &str, error: &Error) -> Exit {
        let (exit, sentence) = self.explain(key, error);
        eprintln!("semel: {sentence}");
        exit
    }

    fn explain(&self, key: &str, error: &Error) -> (Exit, String) {
        let namespace = &self.namespace;
        let address = &self.address;
        match error {
            Error::FingerprintMismatch => (
                Exit::Mismatch,
                format!(
                    "the key {key:?} stands for another request: the fingerprints differ. A new \
                     request needs a new key; a repeat needs the same fingerprint"
                ),
            ),
            Error::EventTooOld => (
                Exit::TooOld,
                format!(
                    "the event is older than the namespace {namespace:?} remembers, so nobody can \
                     tell whether it was handled: check it by hand"
                ),
            ),
            Error::LeaseLost { current_fence } | Error::Superseded { current_fence } => {
                let fence = current_fence
                    .map_or_else(String::new, |fence| format!(" has the fence {fence} and"));
                let sentence = format!(
                    "the token does not hold {key:?}: the claim that stands{fence} is another \
                     caller's. Nothing was changed; `semel lookup` shows more"
                );
                (Exit::LeaseLost, sentence)
            }
            Error::ResultConflict => (
                Exit::Settled,
                format!(
                    "{key:?} is completed with a different result, and the first one stands; \
                     `semel lookup` shows it"
                ),
            ),
            Error::AlreadySettled => (
                Exit::Settled,
                format!(
                    "{key:?} is settled already, and that is never erased; `semel lookup` shows \
                     how"
                ),
            ),
            Error::NotFound => (
                Exit::NotFound,
                format!(
                    "there is no key {key:?} in the namespace {namespace:?}, or its retention is \
                     over; check both names"
                ),
            ),
            Error::InvalidArgument {
                message,
                violations,
            } => (
                Exit::Usage,
                format!("the server refuses {}", fields(message, violations)),
            ),
            Error::ResourceExhausted {
                message,
                retry_after,
                ..
            } => {
                let when = retry_after.map_or_else(String::new, |wait| {
                    format!(" in {}", parse::show_duration(wait))
                });
                (
                    Exit::Unavailable,
                    format!("the server at {address} is too busy: {message}; try again{when}"),
                )
            }
            Error::Unavailable {
                message, reason, ..
            } if reason.is_empty() => (
                Exit::Unavailable,
                format!(
                    "cannot reach a server at {address}: {message}. Is it running (`semel serve`), \
                     and is --address right?"
                ),
            ),
            Error::Unavailable { message, .. } => (
                Exit::Unavailable,
                format!("the server at {address} cannot answer: {message}; try again"),
            ),
            Error::DeadlineExceeded => (
                Exit::Unavailable,
                format!(
                    "no answer from {address} within {}; it may have been applied, and the same \
                     command may be sent again",
                    parse::show_duration(self.timeout)
                ),
            ),
            Error::Unauthenticated { message } | Error::PermissionDenied { message } => (
                Exit::NotAllowed,
                format!("the server at {address} does not allow it: {message}"),
            ),
            // The library's advice is for programs.
            Error::Configuration { .. } if address.starts_with("https:") => (
                Exit::Usage,
                format!(
                    "{address} asks for TLS, which this command does not speak; give an address \
                     such as http://127.0.0.1:7420, if need be of a tunnel or proxy"
                ),
            ),
            Error::Configuration { message } => (Exit::Usage, message.clone()),
            other => (
                Exit::Failure,
                format!("unexpected answer from {address}: {other}. Is it a Semel server?"),
            ),
        }
    }
}

/// The fields that were refused, each with its reason.
fn fields(message: &str, violations: &[FieldViolation]) -> String {
    if violations.is_empty() {
        return format!("the request: {message}");
    }
    let each = violations
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.description));
    each.collect::<Vec<_>>().join("; ")
}

/// The end of a command's long help: examples, and its exit codes in order.
pub(super) fn after_help(examples: &str, success: &str, own: &[Exit]) -> String {
    let mut exits = [own, &COMMON_EXITS].concat();
    exits.sort_by_key(|exit| exit.code());
    format!("{examples}\n\n{}", exit::table(success, &exits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote() -> Remote {
        Remote {
            address: "http://127.0.0.1:7420".into(),
            namespace: "default".into(),
            timeout: Duration::from_secs(10),
            json: false,
        }
    }

    fn unavailable(reason: &str) -> Error {
        Error::Unavailable {
            message: "away".into(),
            reason: reason.into(),
            retry_after: None,
        }
    }

    #[test]
    fn each_error_has_its_code_and_a_sentence_of_its_own() {
        let lost = Error::LeaseLost {
            current_fence: Some(semel_client::Fence::new(7)),
        };
        let cases = [
            (Error::FingerprintMismatch, 20, "new key"),
            (Error::EventTooOld, 21, "check it by hand"),
            (lost, 22, "has the fence 7"),
            (Error::ResultConflict, 23, "first one stands"),
            (Error::AlreadySettled, 23, "never erased"),
            (Error::NotFound, 16, "no key \"k\""),
            (unavailable(""), 30, "semel serve"),
            (unavailable("SHUTTING_DOWN"), 30, "try again"),
            (Error::DeadlineExceeded, 30, "within 10s"),
        ];
        for (error, code, part) in cases {
            let (exit, sentence) = remote().explain("k", &error);
            assert_eq!(exit.code(), code, "{sentence}");
            assert!(sentence.contains(part), "{sentence}");
            assert!(!sentence.contains('\n'));
        }
    }
}
