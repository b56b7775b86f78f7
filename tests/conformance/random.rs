//! Random stories, told to a store and to the rules on a map: the answers and what stands in the
//! end have to be the same.
//!
//! `SEMEL_TEST_CASES` says how many stories; a failure prints the shortest one that fails.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    env,
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use semel_server::key::{
    Fence, KeyId, Span, Timestamp, Token,
    transition::{Claim, Command},
};
use semel_tests::{
    Engine, House, Server, attempt, checkpoint, complete, extend, key_in, model::Model, print,
    retry_after, retryable, secs, terminal, unknown, word,
};

/// Stories told where `SEMEL_TEST_CASES` does not say.
const CASES: u32 = 64;
/// Longest story.
const STEPS: usize = 40;
/// How far apart stories begin: no story is as long, back and forth.
const BETWEEN: i64 = 10_000_000;

/// Answers that so many stories come to by all odds: else they have become dull.
const OFTEN: [&str; 9] = [
    "claimed",
    "in progress",
    "completed",
    "stored",
    "repeat",
    "backing off",
    "LEASE_LOST",
    "FINGERPRINT_MISMATCH",
    "NOT_FOUND",
];

/// The namespaces of a story's keys.
const KEYS: [&str; 4] = ["orders", "orders", "money", "strict"];

/// One step of a story.
#[derive(Debug, Clone)]
enum Step {
    Claim {
        key: usize,
        attempt: u128,
        print: &'static str,
        lease: i64,
        /// How many seconds ago the event was made, if it says so.
        event_age: Option<i64>,
    },
    /// With the token that was granted so many grants ago; one that was never granted where there
    /// were not as many.
    Holder {
        key: usize,
        token: usize,
        call: Call,
    },
    Lookup {
        key: usize,
    },
    Forward(Span),
    Back(Span),
    Purge,
}

#[derive(Debug, Clone)]
enum Call {
    Complete(&'static str),
    Retryable(Option<i64>),
    Terminal(&'static str),
    Unknown,
    Extend(Option<i64>),
    Checkpoint(&'static str),
}

fn call() -> impl Strategy<Value = Call> {
    let text = prop::sample::select(vec!["", "a", "b"]);
    prop_oneof![
        4 => text.clone().prop_map(Call::Complete),
        3 => prop::option::of(prop::sample::select(vec![0, 1, 30, 3_000])).prop_map(Call::Retryable),
        1 => text.clone().prop_map(Call::Terminal),
        1 => Just(Call::Unknown),
        2 => prop::option::of(prop::sample::select(vec![0, 1, 30, 31])).prop_map(Call::Extend),
        1 => text.prop_map(Call::Checkpoint),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    let claim = (
        key.clone(),
        1..4_u128,
        prop::sample::select(vec!["", "p", "p", "p", "q"]),
        prop::sample::select(vec![1, 10, 30]),
        prop::option::weighted(0.2, prop::sample::select(vec![-5, 0, 999, 1_000, 5_000])),
    )
        .prop_map(|(key, attempt, print, lease, event_age)| Step::Claim {
            key,
            attempt,
            print,
            lease,
            event_age,
        });
    let token = prop_oneof![5 => Just(0_usize), 2 => 1..4_usize];
    let forward = prop::sample::select(vec![
        Span::from_micros(1),
        secs(1),
        secs(10),
        secs(20),
        secs(60),
        secs(1_000),
        secs(5_000),
    ]);
    let back = prop::sample::select(vec![Span::from_micros(1), secs(1), secs(15), secs(2_000)]);
    prop_oneof![
        160 => claim,
        160 => (key.clone(), token, call()).prop_map(|(key, token, call)| Step::Holder { key, token, call }),
        20 => key.prop_map(|key| Step::Lookup { key }),
        60 => forward.prop_map(Step::Forward),
        15 => back.prop_map(Step::Back),
        // Each sweeps all buckets, so it costs as much as a story.
        6 => Just(Step::Purge),
    ]
}

impl Call {
    fn command(&self, token: Token) -> Command {
        match self {
            Self::Complete(result) => complete(token, *result),
            Self::Retryable(None) => retryable(token),
            Self::Retryable(Some(rest)) => retry_after(token, secs(*rest)),
            Self::Terminal(result) => terminal(token, *result),
            Self::Unknown => unknown(token),
            Self::Extend(lease) => extend(token, lease.map(secs)),
            Self::Checkpoint(text) => checkpoint(token, *text),
        }
    }
}

/// A story on its way, in the store and in the model.
struct Story<'h> {
    house: &'h House,
    other: &'h Server,
    keys: Vec<KeyId>,
    tokens: Vec<Vec<Token>>,
    model: Model,
    met: &'h RefCell<BTreeSet<&'static str>>,
}

impl Story<'_> {
    async fn tell(&mut self, n: usize, step: &Step) -> Result<(), TestCaseError> {
        let now = self.house.clock.now();
        let (key, command) = match step {
            Step::Forward(span) => {
                self.house.clock.advance(*span);
                return Ok(());
            }
            Step::Back(span) => {
                self.house.clock.set(now - *span);
                return Ok(());
            }
            Step::Purge => return self.purge(now).await,
            Step::Lookup { key } => (*key, Command::Lookup),
            Step::Holder { key, token, call } => {
                let granted = &self.tokens[*key];
                let granted = granted.iter().rev().nth(*token).copied();
                let token = granted.unwrap_or(Token {
                    fence: Fence::from_i64(1),
                    attempt_id: attempt(99),
                    policy_id: self.house.draft(&self.keys[*key], 1).policy.id(),
                });
                (*key, call.command(token))
            }
            Step::Claim {
                key,
                attempt,
                print: text,
                lease,
                event_age,
            } => {
                let claim = Claim {
                    fingerprint: print(text),
                    lease: secs(*lease),
                    event_time: event_age
                        .map(|age| Timestamp::from_micros(now.as_micros() - age * 1_000_000)),
                    ..self.house.draft(&self.keys[*key], *attempt)
                };
                (*key, Command::Claim(claim))
            }
        };
        // Every other step goes through the other server.
        let server = if n.is_multiple_of(2) {
            &**self.house
        } else {
            self.other
        };
        let id = &self.keys[key];
        let answer = server.call(id, command.clone()).await;
        let expected = self.model.call(id, &command, now).map_err(Into::into);
        prop_assert_eq!(&answer, &expected, "the answer to step {}", n);
        let record = server.record(id).await;
        prop_assert_eq!(
            record.as_ref(),
            self.model.record(id),
            "what stands after step {}",
            n
        );
        self.met.borrow_mut().insert(word(&answer));
        if word(&answer) == "claimed" {
            let token = record.expect("just claimed").token();
            if self.tokens[key].last() != Some(&token) {
                self.tokens[key].push(token);
            }
        }
        Ok(())
    }

    async fn purge(&mut self, now: Timestamp) -> Result<(), TestCaseError> {
        self.house.purge().await;
        for id in &self.keys {
            let record = self.house.record(id).await;
            if record.is_none() && self.model.record(id).is_some() {
                self.model.purged(id, now);
                self.met.borrow_mut().insert("purged");
            }
            prop_assert_eq!(
                record.as_ref(),
                self.model.record(id),
                "what stands after a purge"
            );
        }
        Ok(())
    }
}

/// Tells random stories to an engine.
pub fn stories<E: Engine>() {
    let cases = env::var("SEMEL_TEST_CASES").map_or(CASES, |cases| {
        cases.parse().expect("SEMEL_TEST_CASES is a number")
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let database = runtime.block_on(E::create());
    let house = runtime.block_on(House::open(database.clone()));
    let other = runtime.block_on(house.another_server());
    let (told, met) = (Cell::new(0), RefCell::default());

    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    });
    let outcome = runner.run(&prop::collection::vec(step(), 1..=STEPS), |steps| {
        told.set(told.get() + 1);
        // Fresh keys, later than anything that earlier stories left behind.
        let number = told.get();
        let keys = KEYS.iter().enumerate();
        let keys = keys.map(|(n, namespace)| key_in(namespace, &format!("{number}/{n}")));
        house
            .clock
            .set(Timestamp::from_micros(number * BETWEEN * 1_000_000));
        let mut story = Story {
            house: &house,
            other: &other,
            keys: keys.collect(),
            tokens: vec![Vec::new(); KEYS.len()],
            model: Model::default(),
            met: &met,
        };
        runtime.block_on(async {
            for (n, step) in steps.iter().enumerate() {
                story.tell(n, step).await?;
            }
            Ok(())
        })
    });
    runtime.block_on(database.remove());
    if let Err(error) = outcome {
        panic!("store and rules differ: {error}");
    }
    if cases >= CASES {
        let met = met.into_inner();
        for answer in OFTEN {
            assert!(met.contains(answer), "no story came to {answer}: {met:?}");
        }
    }
}
