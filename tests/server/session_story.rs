//! Random stories, told once by single calls and once by a stream: the answers have to be the same.
//!
//! `SEMEL_TEST_SEED` tells one again.

use std::env;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use semel_proto::v1::{
    self, FailureKind, claim_response, fail_response, lookup_response, session_response::Answer,
};
use tonic::Status;

use crate::support::*;

/// Stories that are told beside each other on one stream, each on its own key.
const STORIES: usize = 32;
const STEPS: usize = 50;

/// One teller's key and tokens of a story.
struct Teller {
    key: String,
    tokens: Vec<bytes::Bytes>,
}

/// What happens next, for whoever tells it.
#[derive(Debug, Clone)]
struct Step {
    kind: u32,
    attempt: u8,
    /// How many grants ago the token was granted.
    token: usize,
    text: &'static str,
    rest: bool,
}

impl Step {
    fn random(random: &mut StdRng) -> Self {
        Self {
            kind: random.random_range(0..16),
            attempt: random.random_range(1..5),
            token: random.random_range(0..6) / 4,
            text: ["", "a", "b"][random.random_range(0..3)],
            rest: random.random_bool(0.2),
        }
    }

    fn call(&self, teller: &Teller) -> Call {
        let (key, text) = (teller.key.as_str(), self.text);
        let granted = teller.tokens.iter().rev().nth(self.token);
        let token = granted.map_or(&b"none"[..], |token| &token[..]);
        match self.kind {
            0..=5 => v1::ClaimRequest {
                fingerprint: if self.rest { b"other" } else { &b"print"[..] }.into(),
                delivery: Some(v1::Delivery {
                    headers: vec![],
                    body: text.into(),
                }),
                ..claim(key, self.attempt)
            }
            .into(),
            6..=8 => complete(key, token, text.as_bytes()).into(),
            9..=10 => v1::FailRequest {
                retry_after: if self.rest { span(1_000, 0) } else { millis(0) },
                ..fail(key, token, FailureKind::Retryable)
            }
            .into(),
            11 if text == "a" => v1::FailRequest {
                result: text.into(),
                ..fail(key, token, FailureKind::Terminal)
            }
            .into(),
            11 => fail(key, token, FailureKind::Unknown).into(),
            12 => extend(key, token).into(),
            13 => checkpoint(key, token, text.as_bytes()).into(),
            _ => v1::LookupRequest {
                include_delivery: self.rest,
                ..lookup(key)
            }
            .into(),
        }
    }
}

impl Teller {
    /// Keeps a token that was granted, and says what the answer comes to without what differs by
    /// key and by time.
    fn comes_to(&mut self, answer: Result<Answer, Status>) -> String {
        let answer = match answer {
            Ok(answer) => answer,
            Err(status) => {
                let error = Told::of(&status);
                return format!("{} {:?} {:?}", error.reason, error.code, error.fields);
            }
        };
        if let Answer::Claim(v1::ClaimResponse {
            outcome: Some(claim_response::Outcome::Claimed(granted)),
        }) = &answer
            && self.tokens.last() != Some(&granted.token)
        {
            self.tokens.push(granted.token.clone());
        }
        match answer {
            Answer::Claim(it) => format!("{:?}", claim_aside(it.outcome.expect("always set"))),
            Answer::Complete(it) => format!("completed, repeat {}", it.repeat),
            Answer::Fail(it) => {
                format!("{:?}, repeat {}", fail_aside(it.outcome), it.repeat)
            }
            Answer::Lookup(mut it) => {
                let outcome = lookup_aside(it.outcome.take().expect("always set"));
                let shown = (it.owner, it.checkpoint, it.fingerprint, it.delivery);
                format!("{outcome:?} {shown:?}")
            }
            Answer::Extend(_) => "extended".into(),
            Answer::Checkpoint(_) => "saved".into(),
            other => panic!("not asked for: {other:?}"),
        }
    }
}

macro_rules! aside {
    ($name:ident, $($outcome:ident)::+, $($variant:ident { $($field:ident),+ }),+) => {
        /// Without fences and times.
        fn $name(mut outcome: $($outcome)::+) -> $($outcome)::+ {
            use $($outcome)::+ as Outcome;
            match &mut outcome {
                $(Outcome::$variant(it) => { $(it.$field = Default::default();)+ })+
            }
            outcome
        }
    };
}
aside!(
    claim_aside,
    claim_response::Outcome,
    Claimed {
        token,
        fence,
        lease
    },
    InProgress {
        fence,
        lease,
        retry_after
    },
    BackingOff { retry_after },
    Completed {
        fence,
        completed_at
    },
    Failed { fence, failed_at },
    Dead { fence, dead_at },
    Uncertain {
        fence,
        uncertain_since
    }
);
aside!(
    lookup_aside,
    lookup_response::Outcome,
    InProgress {
        fence,
        lease,
        retry_after
    },
    BackingOff { retry_after },
    Completed {
        fence,
        completed_at
    },
    Failed { fence, failed_at },
    Dead { fence, dead_at },
    Uncertain {
        fence,
        uncertain_since
    }
);
aside!(
    fail_outcome_aside,
    fail_response::Outcome,
    BackingOff { retry_after },
    Failed { fence, failed_at },
    Dead { fence, dead_at },
    Uncertain {
        fence,
        uncertain_since
    }
);

fn fail_aside(outcome: Option<fail_response::Outcome>) -> fail_response::Outcome {
    fail_outcome_aside(outcome.expect("always set"))
}

#[tokio::test]
async fn a_random_story_is_the_same_by_stream_and_by_single_calls() {
    let seed = env::var("SEMEL_TEST_SEED")
        .map_or_else(|_| rand::random(), |text| text.parse().expect("a number"));
    eprintln!("SEMEL_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let host = Host::start("[namespaces.orders]\nattempts = 4\nkeep_deliveries = true").await;
    let wire = host.wire().await;
    let (mut session, mut client) = (wire.session().await, wire.client());
    let tellers = |name: &str| -> Vec<Teller> {
        (0..STORIES)
            .map(|n| Teller {
                key: format!("{name}{n}"),
                tokens: Vec::new(),
            })
            .collect()
    };
    let (mut by_stream, mut single) = (tellers("stream"), tellers("single"));
    let mut met = std::collections::BTreeSet::new();
    for n in 0..STEPS {
        let steps: Vec<_> = (0..STORIES).map(|_| Step::random(&mut random)).collect();
        // All stories' next commands are under way together.
        let under_way: Vec<_> = steps
            .iter()
            .zip(&by_stream)
            .map(|(step, teller)| session.send(step.call(teller)))
            .collect();
        for (story, (step, id)) in steps.iter().zip(under_way).enumerate() {
            let told = by_stream[story].comes_to(session.answer_to(id).await);
            let teller = &mut single[story];
            let answer = step.call(teller).answer(&mut client).await;
            assert_eq!(
                told,
                teller.comes_to(answer),
                "step {n} of story {story}, {step:?}"
            );
            let word = told.split([' ', '(']).next().unwrap_or_default();
            met.insert(word.to_owned());
        }
    }
    // Else they have become dull.
    for word in [
        "Claimed",
        "InProgress",
        "Completed",
        "BackingOff",
        "LEASE_LOST",
        "extended",
    ] {
        assert!(met.contains(word), "no story came to {word}: {met:?}");
    }
}
