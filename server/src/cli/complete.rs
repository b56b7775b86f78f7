//! `semel complete`: records that an operation was carried out.

use semel_client::Held;

use super::{Exit, parse, payload::ResultArgs, remote, remote::Remote, report::Report};

/// Record that a claimed operation was carried out.
///
/// Its result is what every repeat is told, for as long as the namespace keeps it. Sending the same completion again is safe and changes nothing. A different result for a key
/// that is completed already is refused: the first one stands. Without --result or --result-file
/// the result is empty, which is a result.
#[derive(Debug, clap::Args)]
#[command(after_long_help = after_help())]
pub(super) struct Args {
    /// The key, as it was claimed
    key: String,

    /// The token that `semel claim` printed (hexadecimal)
    #[arg(long, env = "SEMEL_TOKEN", hide_env_values = true)]
    token: String,

    #[command(flatten)]
    result: ResultArgs,

    #[command(flatten)]
    remote: Remote,
}

fn after_help() -> String {
    let examples = "\
Examples:
  semel complete order-4711 --token \"$TOKEN\" --result '{\"charged\": 1200}'
  make-report | SEMEL_TOKEN=$TOKEN semel complete report-may --result-file -";
    let own = [Exit::NotFound, Exit::LeaseLost, Exit::Settled];
    remote::after_help(examples, "recorded, now or before", &own)
}

pub(super) async fn run(args: Args) -> Exit {
    let Args {
        key,
        token,
        result,
        remote,
    } = args;
    let token = match parse::token(&token) {
        Ok(token) => token,
        Err(problem) => return super::misused(&problem),
    };
    let result = match result.read() {
        Ok(result) => result,
        Err(problem) => return super::misused(&problem),
    };
    let held = Held::new(&remote.namespace, &key, token);
    let answer = match remote.client() {
        Ok(client) => remote.patiently(client.complete(&held, result)).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(completion) => {
            let headline = if completion.repeat {
                format!("completed: {key} had been recorded before, with the same result")
            } else {
                format!("completed: {key} is recorded")
            };
            let report = Report::new("completed", headline)
                .flag("repeat", completion.repeat)
                .time("completed_at", completion.completed_at);
            remote.print(&report);
            Exit::Success
        }
        Err(error) => remote.failed(&key, &error),
    }
}
