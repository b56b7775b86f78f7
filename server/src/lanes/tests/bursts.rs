//! Random bursts of commands on one key, each in one round, beside the rules told one by one.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    key::transition::{Decision, Extend, Standing, decide},
    lanes::{round::Round, waiters::Waiters, worker::Worker},
    store::Store,
};

struct Story {
    house: House,
    worker: Worker,
    tokens: Vec<Token>,
    rng: StdRng,
}

impl Story {
    async fn begin(seed: u64) -> Self {
        let house = house(LaneSettings::default()).await;
        let store: SharedStore = house.store.clone();
        let policies = Policies::seed(&store, None, vec![]).await.unwrap();
        let waiters = Arc::new(Waiters::new(1));
        let telemetry = Telemetry::local(&TelemetrySettings::default());
        let worker = Worker::new(0, store, Arc::new(policies), waiters, 64, telemetry);
        let token = house.claimed("k", 1).await.token;
        Self {
            house,
            worker,
            tokens: vec![token],
            rng: StdRng::seed_from_u64(seed),
        }
    }

    fn command(&mut self) -> Command {
        // The last one more often than those it has superseded.
        let back = self.rng.random_range(0..4) / 3;
        let token = self.tokens[self.tokens.len().saturating_sub(1 + back)];
        let failure = |failure| {
            Command::Fail(Fail {
                token,
                error: "no".into(),
                failure,
            })
        };
        match self.rng.random_range(0..20) {
            0..5 => Command::Lookup,
            5..8 => Command::Claim(self.house.claim(self.rng.random_range(1..5))),
            8..12 => Command::Checkpoint {
                token,
                checkpoint: self.rng.random_range(0..9).to_string().into(),
            },
            12..15 => Command::Extend(Extend { token, lease: None }),
            15..17 => release(token),
            17 => complete(token, ["paid", "not paid"][self.rng.random_range(0..2)]),
            18 => failure(Failure::Unknown),
            _ => failure(Failure::Terminal {
                result: "refused".into(),
            }),
        }
    }

    /// What stands, under its policy.
    async fn standing(&self) -> Standing {
        let loaded = self.house.store.load(0, &[&id("k")]).await.unwrap();
        let record = loaded.records.into_iter().next().unwrap().unwrap();
        let policy = self.worker.policies.by_id(record.policy_id).unwrap();
        Standing { record, policy }
    }

    async fn burst(&mut self) {
        let commands: Vec<_> = (0..self.rng.random_range(1..12))
            .map(|_| self.command())
            .collect();
        let (mut standing, now) = (self.standing().await, self.house.clock.now());
        let mut expected = Vec::new();
        for command in &commands {
            expected.push(match decide(&id("k"), command, Some(&standing), now) {
                Decision::Answer(answer) => answer.map_err(LaneError::Refused),
                Decision::Replace { record, reply } => {
                    standing.record = *record;
                    Ok(reply)
                }
                Decision::Insert(_) => unreachable!("it stands, and is kept for days"),
            });
        }

        let (jobs, answers): (Vec<_>, Vec<_>) = commands
            .into_iter()
            .map(|command| {
                let (answer, answered) = oneshot::channel();
                let job = Job::new(id("k").into(), command, AnswerTo::Caller(answer), None);
                (job, answered)
            })
            .unzip();
        let calls = self.house.store.calls();
        assert!(Round::new(&self.worker, jobs).run().await.is_empty());
        assert!(self.house.store.calls() - calls <= 3);
        for (answer, expected) in answers.into_iter().zip(expected) {
            let answer = answer.await.unwrap();
            assert_eq!(answer, expected);
            if let Ok(Reply::Claim(ClaimReply::Claimed(grant))) = answer {
                self.tokens.push(grant.token);
            }
        }
        assert_eq!(self.standing().await.record, standing.record);
    }
}

#[tokio::test]
async fn a_burst_on_one_key_is_answered_as_if_its_commands_had_come_one_by_one() {
    for seed in 0..60 {
        let mut story = Story::begin(seed).await;
        for _ in 0..8 {
            story.burst().await;
            let lapses = story.rng.random_bool(0.3);
            let time = Span::from_secs(if lapses { 31 } else { 1 });
            story.house.clock.advance(time);
        }
    }
}
