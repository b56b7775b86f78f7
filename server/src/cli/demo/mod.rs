//! `semel demo`: a shop, its unreliable senders and a Semel server, all in this process, and the
//! proof that every order was carried out once.

mod connection;
mod plan;
mod senders;
mod shop;
mod summary;

// The receiver is the client library's example, included as it stands, so that what the demo shows
// is what people copy from. An example is no crate that could be depended on; its own modules are
// found beside it.
#[path = "../../../../client/rust/examples/inventory/receiver.rs"]
#[allow(dead_code, unused_imports)] // Not all of it is of use here.
mod receiver;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use semel_client::{Client, RecordState};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

use super::{Exit, numbers::grouped};
use crate::logging;
use plan::{Manner, Plan, Step};
use senders::Senders;
use shop::{NAMESPACE, Place, Semel, Shop};
use summary::{Planned, Shelved, Summary};

/// Most deliveries, so that the demo ends while somebody watches.
const MOST: u64 = 200_000;

/// See Semel at work: a shop, unreliable senders, and every order carried out once.
///
/// Starts a Semel server and a webhook receiver in this process and sends the receiver deliveries
/// over HTTP as real senders do: several times, at the same moment, again after a lost answer, with
/// handlers that die half way, while Semel is restarted. Then checks that the stock is exactly
/// right and that every repeat got the first answer byte for byte. Needs nothing and leaves
/// nothing behind.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Exit codes:\n   0  every check held\n   1  something is off")]
pub(super) struct Args {
    /// Deliveries to make, at least one for each order [default: four for each]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST))]
    deliveries: Option<u64>,

    /// Orders that the deliveries are about [default: 500, or a quarter of --deliveries]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST))]
    orders: Option<u64>,

    /// Where chance starts from: the same seed makes the same deliveries
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Keep the keys in this directory, to look at them afterwards [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Args {
    /// Orders and deliveries.
    fn sizes(&self) -> Result<(usize, usize), String> {
        let (orders, deliveries) = match (self.orders, self.deliveries) {
            (None, None) => (500, 2_000),
            (Some(orders), None) => (orders, orders.saturating_mul(4).min(MOST)),
            (None, Some(deliveries)) => ((deliveries / 4).clamp(1, 500), deliveries),
            (Some(orders), Some(deliveries)) => (orders, deliveries),
        };
        if deliveries < orders {
            return Err(format!(
                "--deliveries {deliveries} is fewer than the {orders} orders; each order has to be \
                 delivered at least once"
            ));
        }
        // At most MOST, which fits.
        Ok((orders as usize, deliveries as usize))
    }
}

pub(super) async fn run(args: Args) -> Exit {
    let (orders, deliveries) = match args.sizes() {
        Ok(sizes) => sizes,
        Err(problem) => return super::misused(&problem),
    };
    // What goes wrong on purpose is no news; errors are.
    logging::init_command("error");
    let is_kept = args.data_dir.is_some();
    let place = match Place::new(args.data_dir) {
        Ok(place) => place,
        Err(error) => {
            eprintln!(
                "semel: cannot make a temporary directory: {error}; name one with --data-dir"
            );
            return Exit::Store;
        }
    };
    // Keys of their own for each run: in a directory that is kept, the last run's are all done.
    let run = format!("{:08x}", rand::random::<u32>());
    let plan = Plan::new(args.seed, &run, orders, deliveries);
    println!(
        "{} orders, {} deliveries, seed {}; keys in {}{}",
        grouped(orders as u64),
        grouped(deliveries as u64),
        args.seed,
        place.path().display(),
        if is_kept { "" } else { ", removed at the end" },
    );
    let summary = tokio::select! {
        summary = play(&place, plan) => summary,
        _ = tokio::signal::ctrl_c() => {
            // The place is dropped, and removed, on the way out.
            eprintln!("\nsemel: stopped");
            return Exit::Code(130);
        }
    };
    let summary = match summary {
        Ok(summary) => summary,
        Err(exit) => return exit,
    };
    println!("\n{}\n{}\n", summary.table(), summary.verdict());
    if !summary.problems().is_empty() {
        return Exit::Failure;
    }
    if is_kept {
        println!(
            "Look at a key:  semel serve --data-dir {} &\n                semel lookup -n {NAMESPACE} evt-{run}-00001",
            place.path().display()
        );
    }
    println!(
        "Go on:          semel serve             a server on 127.0.0.1:7420\n                \
         semel claim --help      use it from a shell, such as: semel claim job-1 -- date\n                \
         README.md and docs/     use it from a program; what is promised, and what is not"
    );
    Exit::Success
}

async fn play(place: &Place, plan: Plan) -> Result<Summary, Exit> {
    let mut semel = Semel::start(place).await?;
    let client = Client::connect(semel.url()).map_err(|error| failed("connect", &error))?;
    let shop = Shop::open(client.clone(), &plan)
        .await
        .map_err(|error| failed("listen", &error))?;
    println!(
        "Semel on {}, the shop on http://{}\n",
        semel.url(),
        shop.address
    );

    let started = Instant::now();
    let plan = Arc::new(plan);
    let deliveries = plan.steps.iter().map(Step::deliveries).sum::<u32>() as usize;
    let senders = Arc::new(Senders::new(
        plan.clone(),
        shop.address,
        shop.receiver.faults().clone(),
    ));
    let mut working = senders.start();
    let mut progress = Progress::new(deliveries);
    let mut is_restarted = false;
    loop {
        tokio::select! {
            ended = working.join_next() => match ended {
                Some(Ok(())) => {}
                Some(Err(bug)) => return Err(failed("deliver", &bug)),
                None => break,
            },
            () = progress.tick() => progress.show(senders.delivered(), started.elapsed(), ""),
        }
        if !is_restarted && senders.delivered() * 2 >= deliveries {
            is_restarted = true;
            progress.show(senders.delivered(), started.elapsed(), "restarting Semel");
            semel.restart().await?;
        }
    }
    // Also those whose senders hung up.
    shop.receiver.idle().await;
    progress.show(senders.delivered(), started.elapsed(), "checking");
    let settled = count_settled(&client, &plan)
        .await
        .map_err(|error| failed("look up", &error))?;
    progress.end();
    let took = started.elapsed();

    let stock = shop.receiver.stock().clone();
    let times = stock.times_applied();
    let counters = *shop.receiver.counters().borrow();
    let summary = Summary {
        deliveries: deliveries as u64,
        orders: plan.orders.len() as u64,
        sold_out: plan
            .orders
            .iter()
            .filter(|order| order.is_sold_out())
            .count() as u64,
        races: plan
            .steps
            .iter()
            .filter(|step| matches!(step.manner, Manner::Race(_)))
            .map(|step| u64::from(step.deliveries()))
            .sum(),
        planned: Planned::of(&plan),
        tally: senders.tally(),
        counters,
        restarts: is_restarted.into(),
        taken_twice: times.values().filter(|times| **times > 1).count() as u64,
        taken: times.len() as u64,
        settled,
        shelf: plan
            .items
            .iter()
            .map(|item| Shelved {
                item: item.clone(),
                actual: stock.level(item.sku),
            })
            .collect(),
        took,
    };
    shop.close().await;
    semel.stop().await?;
    Ok(summary)
}

/// Asks Semel itself what became of every key: how many are completed, how many failed for good.
async fn count_settled(client: &Client, plan: &Plan) -> Result<(u64, u64), semel_client::Error> {
    // A few at a time: one after the other would take long, all at once would be refused.
    let part = plan.orders.len().div_ceil(16);
    let mut parts: JoinSet<_> = plan
        .orders
        .chunks(part)
        .map(|orders| {
            let keys: Vec<String> = orders.iter().map(|order| order.key.clone()).collect();
            let client = client.clone();
            async move {
                let mut settled = (0, 0);
                for key in keys {
                    match client
                        .lookup(NAMESPACE, &key)
                        .await?
                        .map(|record| record.state)
                    {
                        Some(RecordState::Completed(_)) => settled.0 += 1,
                        Some(RecordState::Failed(_)) => settled.1 += 1,
                        _ => {}
                    }
                }
                Ok(settled)
            }
        })
        .collect();
    let mut settled = (0, 0);
    while let Some(part) = parts.join_next().await {
        // A part that panicked is missing in the sum, which then does not fit.
        let (completed, failed) = part.unwrap_or(Ok((0, 0)))?;
        settled = (settled.0 + completed, settled.1 + failed);
    }
    Ok(settled)
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Exit {
    eprintln!("semel: cannot {what}: {error}");
    Exit::Failure
}

/// One line that is written over on a terminal; elsewhere, a line now and then.
struct Progress {
    deliveries: usize,
    is_terminal: bool,
    ticks: tokio::time::Interval,
}

impl Progress {
    fn new(deliveries: usize) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let period = Duration::from_millis(if is_terminal { 100 } else { 1_000 });
        let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            deliveries,
            is_terminal,
            ticks,
        }
    }

    async fn tick(&mut self) {
        self.ticks.tick().await;
    }

    fn show(&self, delivered: usize, elapsed: Duration, remark: &str) {
        let line = format!(
            "{:5.1} s  {:>7} of {} deliveries answered  {remark}",
            elapsed.as_secs_f64(),
            grouped(delivered as u64),
            grouped(self.deliveries as u64),
        );
        let line = line.trim_end();
        // Nobody need watch.
        let _ = if self.is_terminal {
            write!(io::stderr(), "\r\x1b[K{line}")
        } else {
            writeln!(io::stderr(), "{line}")
        };
    }

    fn end(&self) {
        if self.is_terminal {
            let _ = writeln!(io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(orders: Option<u64>, deliveries: Option<u64>) -> Result<(usize, usize), String> {
        Args {
            deliveries,
            orders,
            seed: 1,
            data_dir: None,
        }
        .sizes()
    }

    #[test]
    fn what_is_not_said_follows_from_what_is() {
        assert_eq!(sizes(None, None), Ok((500, 2_000)));
        assert_eq!(sizes(Some(10), None), Ok((10, 40)));
        assert_eq!(sizes(None, Some(3)), Ok((1, 3)));
        assert_eq!(sizes(None, Some(100_000)), Ok((500, 100_000)));
        assert!(sizes(Some(10), Some(9)).unwrap_err().contains("10 orders"));
    }
}
