//! A load: what its workers share, and the watch over them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::keys::{Keys, Results};
use super::progress::Progress;
use super::recorder::{Seen, Shared};
use super::schedule::Window;

/// How long what is under way at the end is waited for; less when nobody cares any more.
const DRAIN: Duration = Duration::from_secs(10);
const DRAIN_WHEN_CUT: Duration = Duration::from_secs(2);
/// No load is longer.
const EVER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What the workers of a load share.
#[derive(Debug)]
pub(super) struct Load {
    pub window: Window,
    pub namespace: String,
    pub keys: Arc<Keys>,
    pub results: Arc<Results>,
    /// Operations under way.
    pub under_way: Gauge,
    /// Operations whose times have come and that were not started, because nobody was free.
    pub backlog: Gauge,
    /// The largest backlog within the window.
    backlog_max: AtomicU64,
    /// How long what is under way at the end is waited for.
    drain: Duration,
}

impl Load {
    /// A load that begins now, in `window`.
    pub fn new(window: Window, namespace: String, keys: Arc<Keys>, results: Arc<Results>) -> Self {
        Self {
            window,
            namespace,
            keys,
            results,
            under_way: Gauge::default(),
            backlog: Gauge::default(),
            backlog_max: AtomicU64::new(0),
            drain: DRAIN,
        }
    }

    #[cfg(test)]
    pub fn for_tests(warm_up: Duration, length: Duration) -> Self {
        let (keys, results) = (Keys::new(None, 36, 1), Results::new(8, 1));
        let window = Window::new(warm_up, length);
        Self::new(window, "bench".into(), keys.into(), results.into())
    }

    /// A worker's part of the backlog changes.
    pub fn change_backlog(&self, from: u64, to: u64) {
        self.backlog.change(from, to);
        if to > from && self.window.contains(self.window.now()) {
            self.backlog_max
                .fetch_max(self.backlog.get(), Ordering::Relaxed);
        }
    }
}

/// A sum over the workers.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU64);

impl Gauge {
    /// A worker's part of it changes.
    pub fn change(&self, from: u64, to: u64) {
        if from != to {
            // Wraps around where it becomes less, and comes out right.
            self.0.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
        }
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The workers of a load.
pub(super) struct Crew<T> {
    pub workers: JoinSet<Result<T, Status>>,
    pub recorders: Vec<Shared>,
    /// Wakes those that only wait, to see that the load is over.
    pub wake: Box<dyn Fn() + Send>,
    /// Operations that were to start and have not.
    pub unstarted: Box<dyn Fn() -> u64 + Send>,
}

/// How a load went.
#[derive(Debug)]
pub(super) struct Watched<T> {
    /// What the workers gave back.
    pub returned: Vec<T>,
    pub seen: Seen,
    /// The largest backlog within the window.
    pub backlog_max: u64,
    /// It ended before its time, by Ctrl-C or because a worker gave up.
    pub is_cut: bool,
    pub took: Duration,
}

/// Watches over a load until its workers have ended.
pub(super) async fn watch<T: Send + 'static>(
    load: &Load,
    mut crew: Crew<T>,
    progress: &mut Progress,
    stop: &CancellationToken,
) -> Watched<T> {
    let origin = load.window.origin();
    let until = |end: Duration| tokio::time::Instant::from_std(origin + end.min(EVER));
    let mut watched = Watched {
        returned: Vec::new(),
        seen: Seen::new(),
        backlog_max: 0,
        is_cut: false,
        took: Duration::ZERO,
    };
    // First the window's end, then that of the drain.
    let mut is_over = false;
    let mut next = until(Duration::from_nanos(load.window.end()));
    loop {
        let mut cut = false;
        tokio::select! {
            ended = crew.workers.join_next() => match ended {
                None => break,
                Some(Ok(Ok(returned))) => watched.returned.push(returned),
                Some(Ok(Err(status))) => {
                    // Without it, the load is not what it is said to be.
                    watched.seen.errors.gave_up(&status);
                    cut = true;
                }
                Some(Err(bug)) if bug.is_panic() => std::panic::resume_unwind(bug.into_panic()),
                Some(Err(_)) => {}
            },
            () = progress.tick() => {
                let has_errors = progress.show(load, &crew.recorders);
                // A preparation with errors is of no use.
                cut = has_errors && !load.window.is_measured();
            }
            () = stop.cancelled(), if !watched.is_cut => cut = true,
            () = tokio::time::sleep_until(next) => {
                if is_over {
                    let left = load.under_way.get() + (crew.unstarted)();
                    let what = "not sent, or not answered, soon after the end: it is more than the \
                                server can do";
                    watched.seen.errors.others("NOT_DRAINED", left, what);
                    crew.workers.abort_all();
                    while crew.workers.join_next().await.is_some() {}
                    break;
                }
                is_over = true;
                next = tokio::time::Instant::now() + load.drain;
                (crew.wake)();
            }
        }
        if cut && !watched.is_cut {
            watched.is_cut = true;
            load.window.cut();
            next = tokio::time::Instant::now() + load.drain.min(DRAIN_WHEN_CUT);
            is_over = true;
            (crew.wake)();
        }
    }
    watched.took = origin.elapsed();
    watched.backlog_max = load.backlog_max.load(Ordering::Relaxed);
    for recorder in &crew.recorders {
        watched.seen.merge(&recorder.lock().seen);
    }
    watched
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const HOUR: Duration = Duration::from_secs(3_600);

    /// A worker that has an operation under way until it is woken, and then for `longer`.
    fn crew(load: &Arc<Load>, longer: Duration) -> Crew<&'static str> {
        let woken = CancellationToken::new();
        let wake = woken.clone();
        let worker = load.clone();
        let mut workers = JoinSet::new();
        workers.spawn(async move {
            worker.under_way.change(0, 1);
            woken.cancelled().await;
            tokio::time::sleep(longer).await;
            worker.under_way.change(1, 0);
            Ok("done")
        });
        Crew {
            workers,
            recorders: vec![Shared::new(true)],
            wake: Box::new(move || wake.cancel()),
            unstarted: Box::new(|| 2),
        }
    }

    async fn watched(
        load: &Arc<Load>,
        longer: Duration,
        stop: &CancellationToken,
    ) -> Watched<&'static str> {
        let mut progress = Progress::new("test", true);
        watch(load, crew(load, longer), &mut progress, stop).await
    }

    #[tokio::test]
    async fn workers_are_woken_at_the_end_and_drained() {
        let load = Arc::new(Load::for_tests(Duration::ZERO, SHORT));
        let watched = watched(&load, SHORT, &CancellationToken::new()).await;
        assert_eq!(watched.returned, ["done"]);
        assert!(watched.seen.errors.is_empty() && !watched.is_cut);
    }

    #[tokio::test]
    async fn what_does_not_drain_is_an_error() {
        let mut load = Load::for_tests(Duration::ZERO, SHORT);
        load.drain = SHORT;
        let load = Arc::new(load);
        let watched = watched(&load, HOUR, &CancellationToken::new()).await;
        assert!(watched.returned.is_empty());
        let mut errors = watched.seen.errors.each();
        assert!(matches!(errors.next(), Some(("NOT_DRAINED", 3, _))));
    }

    #[tokio::test]
    async fn a_load_that_is_stopped_ends_its_window_and_drains() {
        let load = Arc::new(Load::for_tests(Duration::ZERO, HOUR));
        let stop = CancellationToken::new();
        stop.cancel();
        let watched = watched(&load, SHORT, &stop).await;
        assert_eq!(watched.returned, ["done"]);
        assert!(watched.is_cut && load.window.length() < HOUR);
    }

    #[test]
    fn the_largest_backlog_is_the_sum_over_workers() {
        let load = Load::for_tests(Duration::ZERO, HOUR);
        load.change_backlog(0, 5);
        load.change_backlog(0, 7);
        load.change_backlog(5, 1);
        load.change_backlog(7, 8);
        assert_eq!(load.backlog.get(), 9);
        assert_eq!(load.backlog_max.load(Ordering::Relaxed), 12);
    }
}
