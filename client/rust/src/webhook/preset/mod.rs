//! Where providers put what a receiver needs: the key, the event's time, and the signature.

mod key;
mod time;

use std::{fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderName, Method, request::Parts};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::signature::{
    ADYEN_SIGNED, PlainHmac, Scheme, Secret, SignatureError, Verified, Verifier,
};
use crate::digest;
pub(crate) use key::KEY_BYTES;
pub use key::KeyError;
use key::KeySource;
use time::TimeSource;

/// What is known of a provider's deliveries.
///
/// Where a key stands in a header that the signature does not cover (GitHub, Shopify), somebody who
/// has seen a delivery can send it again under another key. Nothing but HTTPS keeps deliveries from
/// being seen.
#[derive(Clone, Debug)]
pub struct Preset {
    provider: &'static str,
    key: KeySource,
    event_time: Option<TimeSource>,
    verifier: Option<Verifier>,
    fingerprint: Fingerprint,
    methods: Methods,
    /// A field of deliveries that only ask whether somebody is there.
    handshake: Option<&'static str>,
}

/// What two requests under one key have to have in common.
#[derive(Clone)]
#[non_exhaustive]
pub enum Fingerprint {
    /// The raw body.
    Body,
    /// Method, path with query, and the raw body: for APIs whose callers choose keys.
    Request,
    /// These fields of a JSON body, as [pointers](https://www.rfc-editor.org/rfc/rfc6901): for events
    /// whose body may change between deliveries, and these do not.
    Json(&'static [&'static str]),
    /// Nothing; not for a namespace that requires fingerprints.
    Nothing,
    /// What the function gives back.
    Of(Arc<Digest>),
}

type Digest = dyn Fn(&Parts, &Bytes) -> Bytes + Send + Sync;

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Body => "Body",
            Self::Request => "Request",
            Self::Json(fields) => return write!(f, "Json({fields:?})"),
            Self::Nothing => "Nothing",
            Self::Of(_) => "Of(..)",
        })
    }
}

/// Which requests are to be done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Methods {
    All,
    /// POST and PATCH; the others are idempotent by themselves or are not what the draft is about.
    NotIdempotent,
}

impl Preset {
    fn new(provider: &'static str, key: KeySource) -> Self {
        Self {
            provider,
            key,
            event_time: None,
            verifier: None,
            fingerprint: Fingerprint::Body,
            methods: Methods::All,
            handshake: None,
        }
    }

    fn signed(mut self, scheme: Scheme, secret: Secret) -> Self {
        self.verifier = Some(Verifier::new(scheme, secret));
        self
    }

    fn timed(mut self, source: TimeSource) -> Self {
        self.event_time = Some(source);
        self
    }

    /// [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md):
    /// the key is `webhook-id`, which is signed; the event's time is `timestamp` in the body, where it
    /// is. The secret is [`Secret::standard`].
    pub fn standard_webhooks(secret: Secret) -> Self {
        Self::new("Standard Webhooks", KeySource::header("webhook-id"))
            .signed(Scheme::Standard, secret)
            .timed(TimeSource::json("/timestamp"))
    }

    /// [Svix](https://docs.svix.com/receiving/verifying-payloads/how-manual): Standard Webhooks under
    /// names that begin with `svix-`, and the key is `svix-id`.
    pub fn svix(secret: Secret) -> Self {
        Self::new("Svix", KeySource::header("svix-id"))
            .signed(Scheme::Svix, secret)
            .timed(TimeSource::json("/timestamp"))
    }

    /// [Stripe](https://docs.stripe.com/webhooks#handle-duplicate-events): the key is the event's `id`,
    /// its time `created`. The secret is [`Secret::text`], `whsec_` included.
    ///
    /// The event's id, type and time are compared, not the body: Stripe writes an event anew for each
    /// delivery, and `pending_webhooks` in it counts down.
    pub fn stripe(secret: Secret) -> Self {
        Self {
            fingerprint: Fingerprint::Json(&["/id", "/type", "/created"]),
            ..Self::new("Stripe", KeySource::json(["/id"]))
                .signed(Scheme::Stripe, secret)
                .timed(TimeSource::json("/created"))
        }
    }

    /// [GitHub](https://docs.github.com/en/webhooks/using-webhooks/best-practices-for-using-webhooks):
    /// the key is `X-GitHub-Delivery`, the same when a delivery is sent again. The secret is
    /// [`Secret::text`].
    pub fn github(secret: Secret) -> Self {
        Self::new("GitHub", KeySource::header("x-github-delivery"))
            .signed(Scheme::Plain(PlainHmac::github()), secret)
    }

    /// [Shopify](https://shopify.dev/docs/apps/build/webhooks/ignore-duplicates): the key is the topic
    /// and `X-Shopify-Event-Id`, as subscriptions to several topics are told of one event under one
    /// id; the event's time is `X-Shopify-Triggered-At`. The secret is [`Secret::text`].
    pub fn shopify(secret: Secret) -> Self {
        Self::new(
            "Shopify",
            KeySource::headers(["x-shopify-topic", "x-shopify-event-id"]),
        )
        .signed(Scheme::Plain(PlainHmac::shopify()), secret)
        .timed(TimeSource::header("x-shopify-triggered-at"))
    }

    /// [Slack's Events API](https://docs.slack.dev/apis/events-api/): the key is `event_id`; the event's
    /// time is `event_time`. What only asks whose address this is, with a `challenge` and no event, is
    /// verified and handed on. The secret is [`Secret::text`].
    pub fn slack(secret: Secret) -> Self {
        Self {
            handshake: Some("/challenge"),
            ..Self::new("Slack", KeySource::json(["/event_id"]))
                .signed(Scheme::Slack, secret)
                .timed(TimeSource::json("/event_time"))
        }
    }

    /// [Adyen](https://docs.adyen.com/development-resources/webhooks/handle-webhook-events): the key is
    /// the pair of `pspReference` and `eventCode`, with `success` and `merchantAccountCode`, all of which
    /// are signed; the event's time is `eventDate`. The secret is [`Secret::hex`].
    ///
    /// `success` belongs to it, as what failed may be told again as what went well, and the account, as
    /// names of reports come again in another. What is compared is what is signed; the rest, such as
    /// `eventDate`, may differ between deliveries.
    pub fn adyen(secret: Secret) -> Self {
        let [reference, _, account, _, _, _, event_code, success] = ADYEN_SIGNED;
        const TIME: &str = "/notificationItems/0/NotificationRequestItem/eventDate";
        Self {
            fingerprint: Fingerprint::Json(&ADYEN_SIGNED),
            ..Self::new(
                "Adyen",
                KeySource::json([reference, event_code, success, account]),
            )
            .signed(Scheme::Adyen, secret)
            .timed(TimeSource::json(TIME))
        }
    }

    /// [AWS SNS](https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html) and what
    /// is like it: the key is the message's id, in a header or in the body; its time is `Timestamp`.
    ///
    /// **Nothing is verified**: SNS signs with a certificate that has to be fetched. Verify before this
    /// layer, or be sure that nobody else can reach it.
    pub fn sns_unverified() -> Self {
        let key = KeySource::header("x-amz-sns-message-id").or(KeySource::json(["/MessageId"]));
        Self::new("AWS SNS", key).timed(TimeSource::json("/Timestamp"))
    }

    /// [`Idempotency-Key`](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)
    /// or `X-Idempotency-Key`, as callers of an API send it with POST and PATCH; others are handed on.
    /// What is compared is the method, the path with its query, and the body.
    ///
    /// Callers choose these keys, and two may choose the same: say who asks with the receiver's
    /// [principal](super::Receiver::principal).
    pub fn idempotency_key() -> Self {
        Self {
            fingerprint: Fingerprint::Request,
            methods: Methods::NotIdempotent,
            ..Self::new("Idempotency-Key", KeySource::IdempotencyKey)
        }
    }

    /// A key of your own, from the request's head and body.
    pub fn custom(
        key: impl Fn(&Parts, &Bytes) -> Result<String, KeyError> + Send + Sync + 'static,
    ) -> Self {
        Self::new("custom", KeySource::Of(Arc::new(key)))
    }

    /// Verifies with this, instead of what the preset has.
    pub fn verified_by(mut self, verifier: Verifier) -> Self {
        self.verifier = Some(verifier);
        self
    }

    /// Takes signatures of this secret too, while the provider changes over from one to another.
    ///
    /// # Panics
    /// For a preset without a signature, which would take anything.
    pub fn or_secret(mut self, secret: Secret) -> Self {
        let verifier = self.verifier.expect("a preset that verifies signatures");
        self.verifier = Some(verifier.or(secret));
        self
    }

    /// What two requests under one key have to have in common, instead of what the preset says.
    pub fn fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.fingerprint = fingerprint;
        self
    }

    /// Does not read the event's time, so that no event is too old.
    pub fn without_event_time(mut self) -> Self {
        self.event_time = None;
        self
    }

    /// The provider's name, for people.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// Whether a request with this method is to be done once.
    pub fn is_for(&self, method: &Method) -> bool {
        match self.methods {
            Methods::All => true,
            Methods::NotIdempotent => [Method::POST, Method::PATCH].contains(method),
        }
    }

    /// Whether it has a signature to check.
    pub fn is_verified(&self) -> bool {
        self.verifier.is_some()
    }

    /// Whether a delivery is no event, but only asks whether somebody is there.
    pub(crate) fn is_handshake(&self, parts: &Parts, body: &Bytes) -> bool {
        let Some(field) = self.handshake else {
            return false;
        };
        let body_has = |body: Value| body.pointer(field).is_some_and(Value::is_string);
        let has_no_key = matches!(self.key(parts, body), Err(KeyError::Missing { .. }));
        has_no_key && serde_json::from_slice(body).is_ok_and(body_has)
    }

    /// Checks the signature; `None` where the preset has none.
    ///
    /// # Errors
    /// Why the delivery must not be believed.
    pub fn verify(
        &self,
        parts: &Parts,
        body: &[u8],
        now: SystemTime,
    ) -> Result<Option<Verified>, SignatureError> {
        self.verifier
            .as_ref()
            .map(|verifier| verifier.verify(&parts.headers, body, now))
            .transpose()
    }

    /// The key of a delivery.
    ///
    /// # Errors
    /// That it has none, or not one that can be a key.
    pub fn key(&self, parts: &Parts, body: &Bytes) -> Result<String, KeyError> {
        self.key.read(parts, body)
    }

    /// When the sender made the event, where that is known and can be read.
    pub fn event_time(&self, parts: &Parts, body: &Bytes) -> Option<SystemTime> {
        self.event_time.as_ref()?.read(&parts.headers, body)
    }

    /// The digest of what has to be the same under one key.
    pub(crate) fn digest(&self, parts: &Parts, body: &Bytes) -> Bytes {
        let digest: [u8; 32] = match &self.fingerprint {
            Fingerprint::Nothing => return Bytes::new(),
            Fingerprint::Of(of) => return of(parts, body),
            Fingerprint::Json(fields) => match serde_json::from_slice::<Value>(body) {
                Ok(body) => fields_digest(&body, fields),
                Err(_) => Sha256::digest(body).into(),
            },
            Fingerprint::Body => Sha256::digest(body).into(),
            Fingerprint::Request => {
                let target = parts.uri.path_and_query().map_or("", |it| it.as_str());
                // Neither a method nor a target has a line feed in it.
                Sha256::new()
                    .chain_update(parts.method.as_str())
                    .chain_update("\n")
                    .chain_update(target)
                    .chain_update("\n")
                    .chain_update(body)
                    .finalize()
                    .into()
            }
        };
        Bytes::copy_from_slice(&digest)
    }
}

fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

fn fields_digest(body: &Value, fields: &[&str]) -> [u8; 32] {
    digest::of_parts(fields.iter().map(|field| match body.pointer(field) {
        // As it is signed: whether a number has quotes says nothing.
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }))
}
