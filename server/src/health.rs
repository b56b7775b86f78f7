//! Whether the server can be used, and if not, why and since when. What the health services say.

use std::{
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Shared by whoever finds out and whoever is asked.
#[derive(Debug)]
pub struct Health {
    engine: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why the store cannot be written to, and since when.
    store_away: Option<(String, Instant)>,
    is_stopping: bool,
}

/// What is said to who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether calls should be sent here.
    pub is_ready: bool,
    /// A line for each thing that was looked at, and one for the whole.
    pub text: String,
}

impl Health {
    /// Of a server whose store has just been opened.
    pub fn new(engine: &'static str) -> Self {
        Self {
            engine,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store was asked. Whether that says something new.
    pub fn store_answered(&self, away: Option<String>) -> bool {
        let mut state = self.state();
        match (away, &mut state.store_away) {
            (None, None) => false,
            (None, away) => {
                *away = None;
                true
            }
            (Some(why), Some((last, _))) => {
                *last = why;
                false
            }
            (Some(why), away) => {
                *away = Some((why, Instant::now()));
                true
            }
        }
    }

    /// The server stops: it stays so.
    pub fn stops(&self) {
        self.state().is_stopping = true;
    }

    /// Whether the store can be written to.
    pub fn has_store(&self) -> bool {
        self.state().store_away.is_none()
    }

    /// Everything, for people and for who needs a yes or no.
    pub fn report(&self) -> Report {
        let state = self.state();
        let mut text = String::new();
        let engine = self.engine;
        // Writing to a String cannot fail.
        let _ = match &state.store_away {
            None => writeln!(text, "[+] store: {engine} answers"),
            Some((why, since)) => {
                let seconds = since.elapsed().as_secs();
                writeln!(text, "[-] store: {engine} is away for {seconds} s: {why}")
            }
        };
        text.push_str(if state.is_stopping {
            "[-] server: stopping, calls under way are finished\n"
        } else {
            "[+] server: running\n"
        });
        let is_ready = state.store_away.is_none() && !state.is_stopping;
        text.push_str(if is_ready { "ready\n" } else { "not ready\n" });
        Report { is_ready, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_who_has_a_store_and_is_not_stopping_and_the_others_say_why() {
        let health = Health::new("postgres");
        assert!(health.report().is_ready);
        assert!(health.store_answered(Some("connection refused".into())));
        assert!(!health.store_answered(Some("no route".into())));
        let report = health.report();
        assert!(!report.is_ready);
        assert!(
            report
                .text
                .contains("[-] store: postgres is away for 0 s: no route")
        );
        assert!(report.text.ends_with("not ready\n"));
        assert!(health.store_answered(None));
        assert!(!health.store_answered(None));
        assert_eq!(
            health.report().text,
            "[+] store: postgres answers\n[+] server: running\nready\n"
        );
        health.stops();
        let report = health.report();
        assert!(!report.is_ready && report.text.contains("[-] server: stopping"));
    }
}
