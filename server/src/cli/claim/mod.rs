//! `semel claim`: asks for the right to carry an operation out, and may run it right away.

mod capture;
mod command;
mod record;
mod replay;
mod signals;
mod stored;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use clap::ValueEnum;
use semel_client::{Claim, ClaimOutcome, Client, Error};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use super::{Exit, outcome, parse, payload, remote, remote::Remote};

/// The longest that one call waits. Shorter than the server's limit, so that a wait goes on over a
/// fresh connection now and then.
const WAIT_PER_CALL: Duration = Duration::from_secs(60);
/// No wait is longer; the clock must not overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 86_400);

/// Ask for the right to carry an operation out, or run a command once.
///
/// The answer is the exclusive right, or else what stands under the key: another caller is at it,
/// it has been done, it failed.
///
/// Without a COMMAND it prints a token when the claim is granted. Do the work, then say how it
/// went with `semel complete` or `semel fail`. The claim lapses by itself at the end of its lease.
///
/// With a COMMAND (after `--`) it does all of that: it runs the command under the claim, extends
/// the lease while it runs, and records its output and exit status. A repeat does not run the
/// command: it prints the recorded output and exits with the recorded status. Standard input,
/// output and error are the command's. It finds SEMEL_KEY, SEMEL_NAMESPACE, SEMEL_ATTEMPT and
/// SEMEL_FENCE in its environment.
///
/// Of standard output and error together, about 256 KiB are kept (or what the namespace allows, if
/// that is less). What is longer is passed through whole, recorded cut, and marked where it was
/// cut when it is replayed.
///
/// An exit status other than 0 is a failure, and --on-failure says of what kind. Ctrl-C, SIGTERM
/// and SIGHUP are handed on to the command; if it then fails, it may always be tried again,
/// whatever --on-failure says. A command that exits with 0 counts as done, also after a signal.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = after_help(),
    override_usage = "semel claim [OPTIONS] <KEY> [-- COMMAND ARGS…]"
)]
pub(super) struct Args {
    /// The name of the operation: 1 to 255 bytes, compared byte for byte
    key: String,

    /// How long the claim is to stand without an extension [default: the namespace's]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    lease: Option<Duration>,

    /// How long to wait while another caller is at it
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse::duration)]
    wait: Duration,

    /// Digest of the request that the key stands for (hexadecimal, at most 64 bytes). The same key
    /// with another digest is refused
    #[arg(long, value_name = "HEX", value_parser = parse::hex)]
    fingerprint: Option<Bytes>,

    /// Use the SHA-256 of this file, or of standard input for `-`, as the fingerprint
    #[arg(long, value_name = "FILE|-", conflicts_with = "fingerprint")]
    fingerprint_of: Option<PathBuf>,

    /// Who is at it, for people [default: host:process]
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,

    /// When the event happened (RFC 3339). An unknown key whose event is older than the namespace
    /// remembers is refused
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    event_time: Option<SystemTime>,

    #[command(flatten)]
    run: RunArgs,

    #[command(flatten)]
    remote: Remote,
}

/// What there is to say about a command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Running a command")]
struct RunArgs {
    /// What an exit status other than 0 means
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        default_value = "retry",
        requires = "command"
    )]
    on_failure: OnFailure,

    /// Do not say that an output is a replay
    #[arg(long, short, requires = "command")]
    quiet: bool,

    /// The command to run once, and its arguments
    #[arg(last = true, value_name = "COMMAND", num_args = 1.., conflicts_with = "json")]
    command: Vec<OsString>,
}

/// What becomes of the key when the command fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnFailure {
    /// It was not done: the next claim runs the command again, after the namespace's backoff
    Retry,
    /// It was done: record status and output as the result, and replay them
    Complete,
    /// It failed for good: record status and output as the failure, and replay them
    Terminal,
}

fn after_help() -> String {
    let examples = "\
Examples:
  semel claim nightly-report-2026-01-31 -- ./make-report --mail
  semel claim order-4711 --wait 1m --on-failure terminal -- ./charge order-4711.json
  TOKEN=$(semel claim order-4711 -n payments --fingerprint-of order.json --json | jq -r .token)";
    let own = [
        Exit::InProgress,
        Exit::BackingOff,
        Exit::Completed,
        Exit::Failed,
        Exit::Dead,
        Exit::Uncertain,
        Exit::Mismatch,
        Exit::TooOld,
        Exit::LeaseLost,
        Exit::NotRecorded,
    ];
    let success = "claimed; with a COMMAND: it exited with 0, now or before";
    let table = remote::after_help(examples, success, &own);
    format!(
        "{table}
With a COMMAND that ran, now or before, the code is the command's own (128 + N if signal N killed
it, 126 if it cannot be run, 127 if it is not found), so let it keep clear of 10 to 31 if you need
to tell them apart. Whatever Semel has to say stands on standard error and begins with `semel:`."
    )
}

pub(super) async fn run(args: Args) -> Exit {
    let Args {
        key,
        lease,
        wait,
        fingerprint,
        fingerprint_of,
        owner,
        event_time,
        run,
        remote,
    } = args;
    let is_run = !run.command.is_empty();
    let fingerprint = match (fingerprint, fingerprint_of) {
        (_, Some(path)) if is_run && payload::is_stdin(&path) => {
            return super::misused(
                "standard input is the command's; give --fingerprint-of a file, or --fingerprint",
            );
        }
        (_, Some(path)) => match payload::read(&path) {
            Ok(bytes) => Some(Sha256::digest(&bytes).to_vec().into()),
            Err(problem) => return super::misused(&problem),
        },
        (given, None) => given,
    };

    let mut claim = Claim::new(&remote.namespace, &key);
    if let Some(lease) = lease {
        claim = claim.lease(lease);
    }
    if let Some(fingerprint) = fingerprint {
        claim = claim.fingerprint(fingerprint);
    }
    if let Some(owner) = owner {
        claim = claim.owner(owner);
    }
    if let Some(event_time) = event_time {
        claim = claim.event_time(event_time);
    }

    let client = match remote.client() {
        Ok(client) => client,
        Err(error) => return remote.failed(&key, &error),
    };
    if is_run {
        return command::run(&remote, client, claim, wait, run).await;
    }
    match ask(&remote, &client, claim, wait).await {
        Ok(answer) => {
            let (exit, report) = outcome::of_claim(&key, &answer);
            remote.print(&report);
            exit
        }
        Err(error) => remote.failed(&key, &error),
    }
}

/// Claims, again and again while the key is in progress and the wait is not over: the server may
/// end a wait early, by its own limit or because it stops.
async fn ask(
    remote: &Remote,
    client: &Client,
    claim: Claim,
    wait: Duration,
) -> Result<ClaimOutcome, Error> {
    if wait.is_zero() {
        return remote.patiently(client.claim(&claim)).await;
    }
    let give_up = Instant::now() + wait.min(LONGEST_WAIT);
    let mut claim = claim.wait(wait.min(WAIT_PER_CALL));
    loop {
        let answer = client.claim(&claim).await?;
        let ClaimOutcome::InProgress(busy) = &answer else {
            return Ok(answer);
        };
        let left = give_up.saturating_duration_since(Instant::now());
        if left <= busy.retry_after {
            return Ok(answer);
        }
        sleep(busy.retry_after).await;
        let left = give_up.saturating_duration_since(Instant::now());
        claim = claim.fresh().wait(left.min(WAIT_PER_CALL));
    }
}
