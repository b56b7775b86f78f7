//! A line each second on standard error, for whoever watches.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::load::Load;
use super::recorder::{Shared, latencies};
use super::schedule::Part;
use super::summary::millis;
use crate::cli::numbers::grouped;

const PERIOD: Duration = Duration::from_secs(1);

/// Shows how a load goes.
#[derive(Debug)]
pub(super) struct Progress {
    /// What is under way.
    title: &'static str,
    is_quiet: bool,
    ticks: Interval,
    began: Instant,
    last: Instant,
    last_total: u64,
}

impl Progress {
    pub fn new(title: &'static str, is_quiet: bool) -> Self {
        let mut ticks = interval_at(tokio::time::Instant::now() + PERIOD, PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = Instant::now();
        Self {
            title,
            is_quiet,
            ticks,
            began: now,
            last: now,
            last_total: 0,
        }
    }

    pub async fn tick(&mut self) {
        self.ticks.tick().await;
    }

    /// Shows what happened since the last time. Whether there were errors so far.
    pub fn show(&mut self, load: &Load, recorders: &[Shared]) -> bool {
        let mut recent = latencies();
        let (mut total, mut errors) = (0, 0);
        for recorder in recorders {
            let mut recorder = recorder.lock();
            recorder.take_recent(&mut recent);
            total += recorder.total();
            errors += recorder.seen.errors.total();
        }
        let now = Instant::now();
        let last = std::mem::replace(&mut self.last, now);
        let rate = (total - self.last_total) as f64 / (now - last).as_secs_f64();
        self.last_total = total;
        if !self.is_quiet {
            let title = self.title_at(load, last);
            let quantile = |q| millis(recent.value_at_quantile(q) as f64);
            // Nobody need watch.
            let _ = writeln!(
                io::stderr(),
                "{title:<9}{:>7.1} s {:>11}/s   p50 {:>9}   p99 {:>9}   {} errors, {} under way, \
                 backlog {}",
                (now - self.began).as_secs_f64(),
                grouped(rate.round() as u64),
                quantile(0.5),
                quantile(0.99),
                grouped(errors),
                grouped(load.under_way.get()),
                grouped(load.backlog.get()),
            );
        }
        errors > 0
    }

    /// What was under way then.
    fn title_at(&self, load: &Load, time: Instant) -> &'static str {
        let time = time.saturating_duration_since(load.window.origin());
        match load.window.part(time) {
            Part::WarmUp => "warm-up",
            Part::Measured => self.title,
            Part::Drain => "drain",
        }
    }
}
