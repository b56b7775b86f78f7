//! Every kind of thing that can stand under a key, each with a holder and an earlier holder.

use crate::key::{
    Fence, PolicySettings, Span, Token,
    transition::{Claim, Command, testing::*},
};

/// Something that stands, and the tokens that were ever given out for it.
#[derive(Debug, Clone)]
pub struct Scene {
    pub key: OneKey,
    /// Of attempt 2, the last one that was granted.
    pub holder: Token,
    /// Of attempt 1, which failed before.
    pub superseded: Token,
}

impl Scene {
    /// Attempt 1 claims and fails; attempt 2 claims and saves a checkpoint. It is second 2.
    fn new(settings: PolicySettings) -> Self {
        let mut key = OneKey::new(settings);
        let first = Claim {
            fingerprint: print("a"),
            delivery: Some(bytes("raw")),
            ..key.claim(1)
        };
        let superseded = granted(&key.send(first)).token;
        key.now = at(1);
        key.send(retry_after(superseded, Span::ZERO)).unwrap();
        let holder = key.claims(2);
        key.now = at(2);
        key.send(checkpoint(holder, "half")).unwrap();
        Self {
            key,
            holder,
            superseded,
        }
    }

    fn then(mut self, command: impl Fn(Token) -> Command) -> Self {
        self.key.send(command(self.holder)).unwrap();
        self
    }

    fn later(mut self, now: i64) -> Self {
        self.key.now = at(now);
        self
    }

    fn stranger_asks(mut self) -> Self {
        self.key.send(self.key.claim(7)).unwrap();
        self
    }

    /// Tokens that are not the holder's: an earlier fence, another attempt id under the holder's
    /// fence, and a fence that was never given out.
    pub fn strangers(&self) -> [Token; 4] {
        let holder = self.holder;
        [
            self.superseded,
            Token {
                attempt_id: attempt(9),
                ..holder
            },
            Token {
                fence: self.superseded.fence,
                ..holder
            },
            Token {
                fence: Fence::from_i64(self.key.now.as_micros() + 1_000),
                ..holder
            },
        ]
    }

    /// One of each command, with every token.
    pub fn commands(&self) -> Vec<Command> {
        let mut commands = vec![Command::Lookup];
        for n in [1, 2, 9] {
            for fingerprint in ["", "a", "b"] {
                let fingerprint = print(fingerprint);
                let claim = Claim {
                    fingerprint,
                    ..self.key.claim(n)
                };
                commands.push(claim.into());
            }
        }
        for token in self.strangers().into_iter().chain([self.holder]) {
            commands.extend(of_holder(token));
        }
        commands
    }
}

/// One of each command that takes a token.
pub fn of_holder(token: Token) -> Vec<Command> {
    vec![
        complete(token, "done"),
        complete(token, "other"),
        complete(token, "too large"),
        retryable(token),
        retry_after(token, Span::ZERO),
        terminal(token, "done"),
        terminal(token, "too large"),
        unknown(token),
        extend(token, None),
        extend(token, Some(secs(30))),
        extend(token, Some(secs(31))),
        checkpoint(token, "half"),
        checkpoint(token, "more"),
    ]
}

/// What is live: everything but absent and forgotten keys.
pub fn all_live() -> Vec<(&'static str, Scene)> {
    let last = |base: PolicySettings| PolicySettings {
        attempts: 2,
        ..base
    };
    vec![
        ("live", Scene::new(settings())),
        ("lapsed", Scene::new(settings()).later(11)),
        ("lapsed, last", Scene::new(last(settings())).later(11)),
        ("lapsed, hold", Scene::new(hold()).later(11)),
        ("held too long", Scene::new(settings()).later(61)),
        ("resting", Scene::new(settings()).then(retryable)),
        ("ready", Scene::new(settings()).then(retryable).later(42)),
        (
            "completed",
            Scene::new(settings()).then(|t| complete(t, "done")),
        ),
        (
            "failed",
            Scene::new(settings()).then(|t| terminal(t, "done")),
        ),
        ("dead", Scene::new(last(settings())).then(retryable)),
        (
            "dead by lapse",
            Scene::new(last(settings())).later(11).stranger_asks(),
        ),
        ("uncertain", Scene::new(settings()).then(unknown)),
        (
            "uncertain, late",
            Scene::new(settings()).then(unknown).later(5_000),
        ),
    ]
}

/// What is past its retention but not purged.
pub fn all_forgotten() -> Vec<(&'static str, Scene)> {
    all_live()
        .into_iter()
        .filter_map(|(name, mut scene)| {
            scene.key.now = scene.key.record().settled()?.expires_at;
            Some((name, scene))
        })
        .collect()
}

/// Both, and the absent key.
pub fn all() -> Vec<(String, Scene)> {
    let mut absent = Scene::new(settings());
    absent.key.standing = None;
    let named = |prefix: &'static str| {
        move |(name, scene): (&'static str, Scene)| (format!("{prefix}{name}"), scene)
    };
    all_live()
        .into_iter()
        .map(named(""))
        .chain(all_forgotten().into_iter().map(named("forgotten: ")))
        .chain([("absent".to_owned(), absent)])
        .collect()
}
