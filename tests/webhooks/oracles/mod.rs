//! Signatures beside the providers' own libraries: what one signs the other believes, and what was
//! changed on its way neither does.

mod oracle;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use semel_client::webhook::signature::{PlainHmac, Scheme, Secret, Verifier, sign_standard};

use oracle::Oracle;

const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STRIPE_SECRET: &str = "whsec_test_secret";
const GITHUB_SECRET: &str = "It's a Secret to Everybody";
/// Changed deliveries of each scheme.
const MUTATIONS: usize = 400;

const BODIES: [&str; 5] = [
    "",
    "{}",
    r#"{"id":"evt_1","amount":1.0,"currency":"eur"}"#,
    "{ \"id\" : \"evt_1\",\n  \"amount\" : 1.00 }",
    "{\"name\":\"Zoë \u{1F980}\"}",
];

#[derive(Debug, Clone)]
struct Delivery {
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

struct Scene {
    name: &'static str,
    secret: &'static str,
    verifier: Verifier,
    oracle: Oracle,
}

impl Scene {
    fn standard(oracle: Oracle) -> Self {
        let secret = Secret::standard(STANDARD_SECRET).unwrap();
        Self {
            name: "standard",
            secret: STANDARD_SECRET,
            verifier: Verifier::new(Scheme::Standard, secret),
            oracle,
        }
    }

    fn stripe(oracle: Oracle) -> Self {
        let secret = Secret::text(STRIPE_SECRET).unwrap();
        Self {
            name: "stripe",
            secret: STRIPE_SECRET,
            verifier: Verifier::new(Scheme::Stripe, secret),
            oracle,
        }
    }

    fn github(oracle: Oracle) -> Self {
        let secret = Secret::text(GITHUB_SECRET).unwrap();
        Self {
            name: "github",
            secret: GITHUB_SECRET,
            verifier: Verifier::new(Scheme::Plain(PlainHmac::github()), secret),
            oracle,
        }
    }

    /// A delivery that the oracle has signed.
    fn signed(&mut self, body: &str, at: u64) -> Delivery {
        let body = body.as_bytes().to_vec();
        let signature = self.oracle.sign(self.name, self.secret, "msg_1", at, &body);
        let headers = match self.name {
            "standard" => vec![
                ("webhook-id", "msg_1".to_owned()),
                ("webhook-timestamp", at.to_string()),
                ("webhook-signature", signature),
            ],
            "stripe" => vec![("stripe-signature", signature)],
            _ => vec![("x-hub-signature-256", signature)],
        };
        Delivery { headers, body }
    }

    fn we_believe(&self, delivery: &Delivery) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in &delivery.headers {
            let Ok(value) = value.parse() else {
                // It could not have been sent.
                return false;
            };
            headers.append(HeaderName::from_static(name), value);
        }
        let verified = self
            .verifier
            .verify(&headers, &delivery.body, SystemTime::now());
        verified.is_ok()
    }

    fn oracle_believes(&mut self, delivery: &Delivery) -> bool {
        self.oracle
            .believes(self.name, self.secret, &delivery.headers, &delivery.body)
    }

    fn all(&mut self) {
        self.what_it_signs_we_believe();
        self.what_was_changed_neither_believes();
        if self.verifier.scheme() != &Scheme::Plain(PlainHmac::github()) {
            self.stale_and_future_times_neither_believes();
        }
    }

    /// GitHub's library signs no empty body, and GitHub sends none.
    fn bodies(&self) -> &'static [&'static str] {
        match self.name {
            "github" => &BODIES[1..],
            _ => &BODIES,
        }
    }

    fn what_it_signs_we_believe(&mut self) {
        for body in self.bodies() {
            let delivery = self.signed(body, now());
            assert!(self.we_believe(&delivery), "{}: {delivery:?}", self.name);
        }
    }

    fn stale_and_future_times_neither_believes(&mut self) {
        for (at, is_stale) in [(now() - 290, false), (now() - 310, true)] {
            let delivery = self.signed("{}", at);
            assert_eq!(self.we_believe(&delivery), !is_stale);
            assert_eq!(self.oracle_believes(&delivery), !is_stale);
        }
        let delivery = self.signed("{}", now() + 290);
        assert!(self.we_believe(&delivery));
        let delivery = self.signed("{}", now() + 330);
        assert!(!self.we_believe(&delivery));
        // Stripe's own library does not look into the future; ours does, as the others do.
        assert_eq!(self.oracle_believes(&delivery), self.name == "stripe");
    }

    fn what_was_changed_neither_believes(&mut self) {
        let seed = rand::rng().next_u64();
        let mut choices = StdRng::seed_from_u64(seed);
        for n in 0..MUTATIONS {
            let bodies = self.bodies();
            let body = bodies[choices.random_range(0..bodies.len())];
            let genuine = self.signed(body, now());
            let changed = changed(&genuine, &mut choices);
            let (ours, theirs) = (self.we_believe(&changed), self.oracle_believes(&changed));
            let what = format!(
                "{} {n} of seed {seed}: {genuine:?} → {changed:?}",
                self.name
            );
            // What we believe, they must believe, and it must say the same.
            let believed = theirs || is_in_another_case(&genuine, &changed);
            assert!(!ours || believed, "we alone believe {what}");
            assert!(
                !ours || changed.body == genuine.body,
                "both believe another body: {what}"
            );
        }
        // JSON that was read and written again is another body.
        let genuine = self.signed(BODIES[3], now());
        let read: serde_json::Value = serde_json::from_slice(&genuine.body).unwrap();
        let written = Delivery {
            body: serde_json::to_vec(&read).unwrap(),
            ..genuine
        };
        assert!(!self.we_believe(&written) && !self.oracle_believes(&written));
    }
}

/// Hexadecimal says the same in capitals. Libraries that compare texts do not think so.
fn is_in_another_case(one: &Delivery, other: &Delivery) -> bool {
    let hex = one.headers[0].0 != "webhook-id";
    let alike = |(a, b): (&(&str, String), &(&str, String))| a.1.eq_ignore_ascii_case(&b.1);
    hex && one.headers.len() == other.headers.len()
        && one.headers.iter().zip(&other.headers).all(alike)
}

/// One thing changed, in the body or in a header.
fn changed(delivery: &Delivery, choices: &mut StdRng) -> Delivery {
    let mut changed = delivery.clone();
    let at = choices.random_range(0..changed.headers.len());
    let value = changed.headers[at].1.clone();
    match choices.random_range(0..7) {
        0 => changed.body.push(choices.random_range(b' '..=b'~')),
        1 if !changed.body.is_empty() => drop(changed.body.pop()),
        2 if !changed.body.is_empty() => {
            let byte = choices.random_range(0..changed.body.len());
            if changed.body[byte].is_ascii() {
                changed.body[byte] = choices.random_range(b' '..=b'~');
            }
        }
        3 => drop(changed.headers.remove(at)),
        // Twice, so that nobody knows which one counts.
        4 => changed.headers.push(changed.headers[at].clone()),
        5 => {
            let len = choices.random_range(0..value.len());
            changed.headers[at].1 = value[..len].to_owned();
        }
        _ => {
            let mut bytes = value.into_bytes();
            let byte = choices.random_range(0..bytes.len());
            bytes[byte] = choices.random_range(b'0'..=b'z');
            changed.headers[at].1 = String::from_utf8(bytes).expect("ASCII");
        }
    }
    changed
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

#[test]
fn standard_webhooks_beside_its_reference_library() {
    if let Some(oracle) = Oracle::python() {
        Scene::standard(oracle).all();
    }
}

#[test]
fn stripe_beside_its_own_library() {
    if let Some(oracle) = Oracle::python() {
        Scene::stripe(oracle).all();
    }
}

#[test]
fn github_beside_its_own_library() {
    if let Some(oracle) = Oracle::node() {
        Scene::github(oracle).all();
    }
}

#[test]
fn what_we_sign_the_reference_library_believes() {
    let Some(mut oracle) = Oracle::python() else {
        return;
    };
    let secret = Secret::standard(STANDARD_SECRET).unwrap();
    let at = SystemTime::now() - Duration::from_secs(2);
    let time = at.duration_since(UNIX_EPOCH).unwrap().as_secs();
    for body in BODIES {
        let signature = sign_standard(&secret, "msg_1", at, body.as_bytes());
        let theirs = oracle.sign("standard", STANDARD_SECRET, "msg_1", time, body.as_bytes());
        assert_eq!(signature, theirs);
        let headers = [
            ("webhook-id", "msg_1".to_owned()),
            ("webhook-timestamp", time.to_string()),
            ("webhook-signature", signature),
        ];
        assert!(oracle.believes("standard", STANDARD_SECRET, &headers, body.as_bytes()));
    }
}
