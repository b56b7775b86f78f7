//! `semel bench`: a load on a server, its operations per second and its latencies.
//!
//! # How it goes
//! [`args`] checks what is wanted; [`run`] has it [`connect`]ed, prepares keys and then has the [`load`]
//! watched. Workers draw operations from a [`source`], at the times of a [`schedule`] where there
//! is one, and send them on a [`session`] or as [`unary`] calls. What they see goes into
//! [`recorder`]s, one for each or each few of them, and comes together in a [`summary`].
//!
//! # What it costs
//! Next to nothing, for it often shares the machine with the server: on sessions there is one task
//! for each connection, no allocation for an operation, and what is ready together is sent
//! together.
//!
//! # What is counted
//! Throughput: what was done within the window. Latency: in an open loop of every operation whose
//! time lies in the window, from that time on; in a closed loop of every operation that was done
//! within it. Errors: of the whole run.

mod args;
mod connect;
mod dial;
mod errors;
mod keys;
mod load;
mod mix;
mod outcome;
mod pacer;
mod percent;
mod progress;
mod recent;
mod recorder;
mod run;
mod schedule;
mod session;
mod source;
mod stream;
mod summary;
mod unary;
mod wire;

use tokio_util::sync::CancellationToken;

use super::Exit;
pub(super) use args::Args;
use connect::Ended;
use run::Run;

pub(super) async fn run(args: Args) -> Exit {
    let (is_json, is_quiet) = (args.json, args.quiet);
    let settings = match args.check() {
        Ok(settings) => settings,
        Err(problem) => return super::misused(&problem),
    };
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.cancel();
            }
        }
    });
    let run = Run::new(&settings, is_quiet, &stop);
    let summary = match run.play().await {
        Ok(summary) => summary,
        Err(Ended::Stopped) => {
            eprintln!("semel: stopped before anything was measured");
            return Exit::Code(130);
        }
        Err(Ended::Failed(exit, sentence)) => {
            eprintln!("semel: {sentence}");
            return exit;
        }
    };
    let shown = if is_json {
        summary.to_json().to_string()
    } else {
        summary.to_text()
    };
    // Whoever closed the pipe has read enough; the exit code still tells.
    let _ = super::print_bytes(&mut std::io::stdout(), format!("{shown}\n").as_bytes());
    if summary.is_cut && stop.is_cancelled() {
        eprintln!("semel: cut short: these figures are of a part of the run");
        return Exit::Code(130);
    }
    let errors = &summary.seen.errors;
    if !errors.is_empty() {
        eprintln!("semel: a run with errors is no run: {}", errors.sentence());
    } else if summary.seen.operations == 0 {
        eprintln!("semel: no operation was done within the time that was measured");
        return Exit::Failure;
    }
    errors.exit()
}
