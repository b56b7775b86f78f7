//! `semel fail`: records that an attempt failed.

use std::time::Duration;

use clap::ValueEnum;
use semel_client::{Failure, Held};

use super::{Exit, outcome, parse, payload::ResultArgs, remote, remote::Remote};

/// Record that an attempt failed: for now, for good, or nobody knows.
#[derive(Debug, clap::Args)]
#[command(after_long_help = after_help())]
pub(super) struct Args {
    /// The key, as it was claimed
    key: String,

    /// The token that `semel claim` printed (hexadecimal)
    #[arg(long, env = "SEMEL_TOKEN", hide_env_values = true)]
    token: String,

    /// How it failed
    #[arg(long, value_enum)]
    kind: Kind,

    /// What went wrong, for people
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    error: String,

    /// Wait exactly this long before the next attempt, instead of the namespace's backoff; with
    /// --kind retryable only
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    retry_after: Option<Duration>,

    #[command(flatten)]
    result: ResultArgs,

    #[command(flatten)]
    remote: Remote,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// It was not done and may be tried again after a backoff
    Retryable,
    /// It failed for good; the result is replayed to every repeat like a success
    Terminal,
    /// Nobody knows whether it was done; the key stays uncertain until somebody resolves it
    Unknown,
}

fn after_help() -> String {
    let examples = "\
Examples:
  semel fail order-4711 --token \"$TOKEN\" --kind retryable --error 'card service away'
  semel fail order-4711 --token \"$TOKEN\" --kind terminal --error 'card refused' \\
      --result '{\"error\": \"card_refused\"}'";
    let own = [Exit::NotFound, Exit::LeaseLost, Exit::Settled];
    remote::after_help(examples, "recorded, now or before", &own)
}

pub(super) async fn run(args: Args) -> Exit {
    let Args {
        key,
        token,
        kind,
        error,
        retry_after,
        result,
        remote,
    } = args;
    let token = match parse::token(&token) {
        Ok(token) => token,
        Err(problem) => return super::misused(&problem),
    };
    let failure = match failure(kind, error, retry_after, result) {
        Ok(failure) => failure,
        Err(problem) => return super::misused(&problem),
    };
    let held = Held::new(&remote.namespace, &key, token);
    let answer = match remote.client() {
        Ok(client) => remote.patiently(client.fail(&held, &failure)).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(recorded) => {
            let report = outcome::of_failure(&key, &recorded.outcome);
            remote.print(&report.flag("repeat", recorded.repeat));
            Exit::Success
        }
        Err(error) => remote.failed(&key, &error),
    }
}

fn failure(
    kind: Kind,
    error: String,
    retry_after: Option<Duration>,
    result: ResultArgs,
) -> Result<Failure, String> {
    if retry_after.is_some() && kind != Kind::Retryable {
        return Err("--retry-after goes with --kind retryable only".into());
    }
    if result.is_given() && kind != Kind::Terminal {
        return Err("a result goes with --kind terminal only: nothing else is replayed".into());
    }
    Ok(match kind {
        Kind::Retryable => Failure::Retryable { error, retry_after },
        Kind::Terminal => Failure::Terminal {
            error,
            result: result.read()?,
        },
        Kind::Unknown => Failure::Unknown { error },
    })
}
