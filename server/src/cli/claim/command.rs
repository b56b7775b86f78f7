//! Runs a command once under a claim, or replays what it did before.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use semel_client::{Claim, ClaimOutcome, Client, Guard, LeaseLoss};
use tokio::process::{Child, Command};

use super::capture::Tap;
use super::record::Recorder;
use super::signals::{Signals, Stop};
use super::stored::StoredRun;
use super::{RunArgs, ask, replay};
use crate::cli::{Exit, outcome, remote::Remote};

/// A command that has ended.
pub(super) struct Ended {
    pub run: StoredRun,
    /// What happened: `exit status 3`.
    pub how: String,
    /// The signal that this process was sent in the meantime.
    pub stopped: Option<Stop>,
}

pub(super) async fn run(
    remote: &Remote,
    client: Client,
    claim: Claim,
    wait: Duration,
    args: RunArgs,
) -> Exit {
    // Before asking: from the moment a claim may be granted, no signal may end this process
    // without a word.
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("semel: cannot listen for signals: {error}");
            return Exit::Failure;
        }
    };
    let key = claim.key().to_owned();
    let answer = tokio::select! {
        answer = ask(remote, &client, claim, wait) => answer,
        stop = signals.next() => {
            eprintln!(
                "semel: stopped before the command ran; a claim that was granted just now lapses \
                 by itself"
            );
            return Exit::Code(128 + stop.number());
        }
    };
    let claimed = match answer {
        Ok(ClaimOutcome::Claimed(claimed)) => claimed,
        Ok(ClaimOutcome::Completed(it)) => return replay::completed(&key, &it, args.quiet),
        Ok(ClaimOutcome::Failed(it)) => return replay::failed(&key, &it, args.quiet),
        Ok(other) => {
            let (exit, report) = outcome::of_claim(&key, &other);
            eprintln!("semel: not run; {}", report.to_text());
            return exit;
        }
        Err(error) => return remote.failed(&key, &error),
    };
    let guard = match claimed.guard().await {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("semel: not run, because the claim could not be kept");
            return remote.failed(&key, &error);
        }
    };
    let recorder = Recorder::new(remote, &client, &guard);
    let child = match spawn(&args, &guard) {
        Ok(child) => child,
        Err(error) => return recorder.not_started(&args.command, &error).await,
    };
    let ended = match attend(child, &guard, &mut signals).await {
        Ok(ended) => ended,
        Err(error) => {
            let text = format!("the command's end could not be observed: {error}");
            return recorder.unknown(&text).await;
        }
    };
    let recording = recorder.record(&ended, args.on_failure);
    tokio::select! {
        exit = remote.patiently_for(recorder.deadline, recording) => exit,
        // The command has ended, so this one is meant for us.
        stop = signals.next() => recorder.given_up(&ended, stop),
    }
}

fn spawn(args: &RunArgs, guard: &Guard) -> io::Result<Child> {
    let held = guard.context().held();
    let mut words = args.command.iter();
    let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
    Command::new(program)
        .args(words)
        .env("SEMEL_KEY", held.key())
        .env("SEMEL_NAMESPACE", held.namespace())
        .env("SEMEL_FENCE", guard.fence().to_string())
        .env("SEMEL_ATTEMPT", guard.attempt().to_string())
        // The token is the holder's, and that is this process.
        .env_remove("SEMEL_TOKEN")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Stays with the command to its end: passes its output through, hands signals on, and tells when
/// the lease is lost.
async fn attend(mut child: Child, guard: &Guard, signals: &mut Signals) -> io::Result<Ended> {
    let stdout = Tap::open(child.stdout.take(), io::stdout());
    let stderr = Tap::open(child.stderr.take(), io::stderr());
    let mut stopped = None;
    let mut is_lost = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            stop = signals.next() => {
                stopped.get_or_insert(stop);
                if let Some(id) = child.id() {
                    stop.forward(id);
                }
            }
            loss = guard.lease_lost(), if !is_lost => {
                is_lost = true;
                warn_of_loss(guard, loss);
            }
        }
    };
    let (stdout, stderr) = tokio::join!(stdout.close(), stderr.close());
    if stdout.is_cut_off || stderr.is_cut_off {
        eprintln!(
            "semel: something that the command left running holds its output open; what it still \
             prints is not passed on"
        );
    }
    let (exit_code, how) = describe(status);
    Ok(Ended {
        run: StoredRun {
            exit_code,
            stdout: stdout.kept,
            stderr: stderr.kept,
        },
        how,
        stopped,
    })
}

fn warn_of_loss(guard: &Guard, loss: LeaseLoss) {
    let fence = guard.fence();
    let what = match loss {
        LeaseLoss::Lapsed => {
            "its lease may have ended before it could be extended, and another caller may take over"
        }
        LeaseLoss::TakenOver { .. } => "another caller took over and may be doing the same now",
        LeaseLoss::Withdrawn => "somebody settled, reset or removed the key",
        _ => "its lease is lost",
    };
    eprintln!(
        "semel: WARNING: the claim is lost while the command runs (fence {fence}): {what}. Letting \
         it finish"
    );
}

/// The exit code as shells know it, and what happened in words.
fn describe(status: ExitStatus) -> (u8, String) {
    match (status.code(), status.signal()) {
        (Some(code), _) => (code as u8, format!("exit status {code}")),
        (None, Some(signal)) => (
            128u8.wrapping_add(signal as u8),
            format!("killed by signal {signal}"),
        ),
        (None, None) => (1, "neither exit status nor signal".to_owned()),
    }
}
