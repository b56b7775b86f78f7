//! The clock of an open loop: tells workers that operations are due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use tokio::sync::Notify;

use super::load::Load;
use super::schedule::{Schedule, share_of};

/// Operations that are due within so long are started together: each time costs a wake-up. What
/// that makes an operation late counts as latency.
const TICK: Duration = Duration::from_micros(200);
/// It looks so often whether the load was cut short.
const LOOK: Duration = Duration::from_millis(20);

/// Wakes a worker that has nothing to do but wait.
#[derive(Debug, Default)]
pub(super) struct Bell {
    notify: Notify,
    /// How many operations it needs no bell for: those it has started.
    needless: AtomicU64,
}

impl Bell {
    /// From the worker: it has started so many, and is to be woken when there are more.
    pub fn need(&self, started: u64) {
        self.needless.store(started, Ordering::Relaxed);
    }

    pub fn ring(&self) {
        self.notify.notify_one();
    }

    pub async fn rung(&self) {
        self.notify.notified().await;
    }
}

/// Rings for what each of the workers has to start, of `due` operations in all.
pub(super) fn ring(bells: &[Arc<Bell>], due: u64) {
    for (worker, bell) in bells.iter().enumerate() {
        let share = share_of(due, worker as u64, bells.len() as u64);
        if bell.needless.load(Ordering::Relaxed) < share {
            bell.ring();
        }
    }
}

/// Tells how many operations are due in all, whenever there are more, until the load's end. Keeps a
/// thread of its own busy: the runtime's timers are exact to a millisecond only.
pub(super) fn run(schedule: Schedule, load: &Load, mut tell: impl FnMut(u64)) {
    loop {
        let (now, end) = (load.window.now(), load.window.end());
        let due = schedule.due(now.min(end.saturating_sub(1)));
        tell(due);
        if now >= end {
            return;
        }
        let next = schedule.at(due).min(end);
        let pause = Duration::from_nanos(next.saturating_sub(now));
        sleep(pause.clamp(TICK, LOOK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_scheduled_becomes_due_in_time() {
        let load = Load::for_tests(Duration::ZERO, Duration::from_millis(50));
        let schedule = Schedule::new(1_000);
        let mut told = Vec::new();
        run(schedule, &load, |due| {
            let now = load.window.now();
            assert!(due <= schedule.due(now), "{due} before their time");
            told.push(due);
        });
        assert!(told.is_sorted());
        assert_eq!(told.last(), Some(&50));
    }

    #[test]
    fn a_load_that_is_cut_has_nothing_due_after_that() {
        let load = Load::for_tests(Duration::ZERO, Duration::from_secs(3_600));
        load.window.cut();
        let schedule = Schedule::new(1_000);
        run(schedule, &load, |due| {
            assert!(schedule.at(due - 1) < load.window.end())
        });
    }

    #[tokio::test]
    async fn only_who_has_something_to_start_is_woken() {
        let bells: Vec<Arc<Bell>> = (0..3).map(|_| Arc::default()).collect();
        // Of four operations, the first worker has two.
        bells[0].need(1);
        bells[1].need(1);
        bells[2].need(u64::MAX);
        ring(&bells, 4);
        bells[0].rung().await;
        for bell in &bells {
            let rung = tokio::time::timeout(Duration::ZERO, bell.rung()).await;
            assert!(rung.is_err());
        }
    }
}
