//! One run: connects, prepares the keys, and puts the load on.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::args::{Settings, Transport};
use super::connect::{Ended, connect, no_sessions, open_sessions};
use super::load::{Crew, Load, Watched, watch};
use super::mix::{Kind, Mix};
use super::pacer::{self, Bell};
use super::progress::Progress;
use super::recorder::Shared;
use super::schedule::{Schedule, Share, Window};
use super::session::{Link, Worker};
use super::source::{Draw, Numbers, Pace, Source};
use super::summary::{Preloaded, Summary};
use super::unary::{Caller, Tickets, Turns, client};
use crate::cli::numbers::grouped;

/// Under way on each connection while keys are prepared, if the server takes on so many.
const PREPARING: usize = 1_024;

/// A run to be made.
pub(super) struct Run<'a> {
    settings: &'a Settings,
    is_quiet: bool,
    stop: &'a CancellationToken,
}

/// What a load does.
struct Work {
    mix: Mix,
    /// Numbers of fresh keys.
    fresh: std::ops::Range<u64>,
    rate: Option<u64>,
    /// Operations under way, over all connections.
    callers: usize,
}

impl<'a> Run<'a> {
    pub fn new(settings: &'a Settings, is_quiet: bool, stop: &'a CancellationToken) -> Self {
        Self {
            settings,
            is_quiet,
            stop,
        }
    }

    /// Makes it.
    pub async fn play(&self) -> Result<Summary<'a>, Ended> {
        let settings = self.settings;
        let channels = self.or_stopped(connect(settings)).await??;
        let needs_sessions = settings.transport == Transport::Session || settings.preload > 0;
        let completes = settings.duplicates > 0 && !settings.duplicates_stand;
        let mut links = Vec::new();
        if needs_sessions || completes {
            let opening = open_sessions(settings, &channels);
            links = match self.or_stopped(opening).await?? {
                Some(links) => links,
                None if needs_sessions => return Err(no_sessions(settings)),
                None => links,
            };
        }
        let preparing = |kind, fresh| Work {
            mix: Mix::only(kind),
            fresh,
            rate: None,
            callers: channels.len() * PREPARING,
        };

        if completes {
            let work = preparing(Kind::Pair, 0..settings.duplicates);
            if links.is_empty() {
                let work = Work {
                    callers: settings.callers,
                    ..work
                };
                self.prepare("complete", |load| self.unary(load, &channels, &work))
                    .await?;
            } else {
                (links, _) = self
                    .prepare("complete", |load| self.on_sessions(load, links, &work))
                    .await?;
            }
        }
        let mut preload = None;
        if settings.preload > 0 {
            let fresh = settings.duplicates..settings.first_fresh();
            let work = preparing(settings.preload_kind, fresh);
            let took;
            (links, took) = self
                .prepare("preload", |load| self.on_sessions(load, links, &work))
                .await?;
            let keys = settings.preload;
            preload = Some(Preloaded { keys, took });
        }

        if settings.transport == Transport::Session {
            self.warn_of_windows(&links);
        }
        let work = Work {
            mix: settings.mix,
            fresh: settings.first_fresh()..u64::MAX,
            rate: settings.rate,
            callers: settings.callers,
        };
        let window = Window::new(settings.warm_up, settings.duration);
        let load = self.load(window);
        let (seen, backlog_max, is_cut) = match settings.transport {
            Transport::Session => {
                let crew = self.on_sessions(&load, links, &work);
                let watched = self.watch("measured", &load, crew).await;
                (watched.seen, watched.backlog_max, watched.is_cut)
            }
            Transport::Unary => {
                drop(links);
                let crew = self.unary(&load, &channels, &work);
                let watched = self.watch("measured", &load, crew).await;
                (watched.seen, watched.backlog_max, watched.is_cut)
            }
        };
        Ok(Summary {
            settings,
            seen,
            measured: load.window.length(),
            backlog_max,
            preload,
            is_cut,
        })
    }

    async fn or_stopped<T>(&self, doing: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::select! {
            done = doing => Ok(done),
            () = self.stop.cancelled() => Err(Ended::Stopped),
        }
    }

    /// Says so when the server takes on less than is wanted.
    fn warn_of_windows(&self, links: &[Link]) {
        let most: usize = links.iter().map(Link::window).sum();
        if self.settings.callers > most {
            eprintln!(
                "semel: the server takes on {} operations over {} sessions, so no more of the {} of \
                 --callers are under way; more --connections make room",
                grouped(most as u64),
                links.len(),
                grouped(self.settings.callers as u64)
            );
        }
    }

    fn load(&self, window: Window) -> Arc<Load> {
        let settings = self.settings;
        Arc::new(Load::new(
            window,
            settings.namespace.clone(),
            settings.keys.clone(),
            settings.results.clone(),
        ))
    }

    async fn watch<T: Send + 'static>(
        &self,
        title: &'static str,
        load: &Load,
        crew: Crew<T>,
    ) -> Watched<T> {
        let mut progress = Progress::new(title, self.is_quiet);
        watch(load, crew, &mut progress, self.stop).await
    }

    /// Has a load carried out that is not measured, and of which nothing may fail: what its workers
    /// give back, and how long it took.
    async fn prepare<T: Send + 'static>(
        &self,
        title: &'static str,
        crew: impl FnOnce(&Arc<Load>) -> Crew<T>,
    ) -> Result<(Vec<T>, Duration), Ended> {
        let load = self.load(Window::unmeasured());
        let watched = self.watch(title, &load, crew(&load)).await;
        let errors = &watched.seen.errors;
        if self.stop.is_cancelled() {
            Err(Ended::Stopped)
        } else if !errors.is_empty() {
            let sentence = format!("cannot {title} keys before the run: {}", errors.sentence());
            Err(Ended::Failed(errors.exit(), sentence))
        } else {
            Ok((watched.returned, watched.took))
        }
    }

    fn draw(&self, work: &Work, worker: u64, of: u64) -> Draw {
        let settings = self.settings;
        let fresh = Numbers::new(work.fresh.clone(), worker, of);
        // Other draws for each worker.
        let seed = settings.seed ^ (worker + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let repeats = if work.mix.has(Kind::Repeat) {
            settings.repeats.div_ceil(of as usize)
        } else {
            0
        };
        Draw::new(work.mix, seed, fresh, settings.duplicates, repeats)
    }

    fn on_sessions(&self, load: &Arc<Load>, links: Vec<Link>, work: &Work) -> Crew<Link> {
        let of = links.len();
        let bells: Vec<Arc<Bell>> = (0..of).map(|_| Arc::default()).collect();
        let recorders: Vec<_> = (0..of).map(|_| Shared::new(work.rate.is_some())).collect();
        let schedule = work.rate.map(Schedule::new);
        let mut workers = JoinSet::new();
        for (index, link) in links.into_iter().enumerate() {
            let (worker, of) = (index as u64, of as u64);
            let source = Source {
                draw: self.draw(work, worker, of),
                pace: schedule.map_or(Pace::AtOnce, |schedule| {
                    Pace::Scheduled(Share::new(schedule, worker, of))
                }),
            };
            // Every caller has a place somewhere.
            let callers = (work.callers + index) / of as usize;
            let worker = Worker::new(
                load.clone(),
                link,
                source,
                callers,
                bells[index].clone(),
                recorders[index].clone(),
            );
            workers.spawn(worker.run());
        }
        if let Some(schedule) = schedule {
            let (load, bells) = (load.clone(), bells.clone());
            spawn_blocking(move || {
                pacer::run(schedule, &load, |due| pacer::ring(&bells, due));
            });
        }
        Crew {
            workers,
            recorders,
            wake: Box::new(move || bells.iter().for_each(|bell| bell.ring())),
            unstarted: Box::new({
                let load = load.clone();
                move || load.backlog.get()
            }),
        }
    }

    fn unary(&self, load: &Arc<Load>, channels: &[Channel], work: &Work) -> Crew<()> {
        let of = work.callers as u64;
        let by_start = work.rate.is_some();
        let recorders: Vec<_> = channels.iter().map(|_| Shared::new(by_start)).collect();
        let clients: Vec<_> = channels.iter().cloned().map(client).collect();
        let tickets = work
            .rate
            .map(|rate| Arc::new(Tickets::new(Schedule::new(rate))));
        let turns = tickets.clone().map_or(Turns::AtOnce, Turns::Scheduled);
        let mut workers = JoinSet::new();
        for index in 0..work.callers {
            let caller = Caller::new(
                load.clone(),
                clients[index % clients.len()].clone(),
                self.draw(work, index as u64, of),
                turns.clone(),
                recorders[index % recorders.len()].clone(),
            );
            workers.spawn(async move {
                caller.run().await;
                Ok(())
            });
        }
        if let (Some(tickets), Some(rate)) = (tickets.clone(), work.rate) {
            let load = load.clone();
            spawn_blocking(move || {
                let mut released = 0;
                let mut backlog = 0;
                pacer::run(Schedule::new(rate), &load, |due| {
                    tickets.release(due - released);
                    released = due;
                    let before = std::mem::replace(&mut backlog, tickets.backlog());
                    load.change_backlog(before, backlog);
                });
            });
        }
        let unstarted = {
            let (load, tickets) = (load.clone(), tickets.clone());
            move || {
                tickets
                    .as_ref()
                    .map_or(0, |it| it.unstarted(load.window.end()))
            }
        };
        Crew {
            workers,
            recorders,
            unstarted: Box::new(unstarted),
            // Beyond the last operation there is none, and who waits for one sees that.
            wake: Box::new(move || tickets.iter().for_each(|tickets| tickets.release(of))),
        }
    }
}
