//! Signals that are meant for the command that runs.

use std::io::{self, IsTerminal as _};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that asks to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Hangup,
    Interrupt,
    Terminate,
}

impl Stop {
    /// What shells add to 128. POSIX fixes these three.
    pub fn number(self) -> u8 {
        match self {
            Self::Hangup => 1,
            Self::Interrupt => 2,
            Self::Terminate => 15,
        }
    }

    fn to_send(self) -> rustix::process::Signal {
        match self {
            Self::Hangup => rustix::process::Signal::HUP,
            Self::Interrupt => rustix::process::Signal::INT,
            Self::Terminate => rustix::process::Signal::TERM,
        }
    }

    /// Hands the signal on to a child that has not been waited for yet, so that its id cannot have
    /// become another process's.
    pub fn forward(self, child: u32) {
        // A terminal sends Ctrl-C and its own end to everybody in the foreground, so the child has
        // had it; a second one would cut its cleaning up short.
        if self != Self::Terminate && io::stdin().is_terminal() {
            return;
        }
        let sent = i32::try_from(child)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .map(|child| rustix::process::kill_process(child, self.to_send()));
        // A child that has ended in the meantime cannot be signalled, and need not be.
        if let Some(Err(error)) = sent
            && error != rustix::io::Errno::SRCH
        {
            eprintln!("semel: cannot hand the signal on to the command: {error}");
        }
    }
}

/// The signals that ask this process to stop; once listened for, they no longer end it.
pub(super) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next one. Safe to cancel.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.hangup.recv() => Stop::Hangup,
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::Terminate,
        }
    }
}
