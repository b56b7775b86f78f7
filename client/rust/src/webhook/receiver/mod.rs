//! A layer that lets a handler run once for each delivery, and gives every duplicate its answer.
//!
//! ```no_run
//! # async fn handle() {}
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, routing::post};
//! use semel_client::{Client, webhook::{Preset, Receiver, signature::Secret}};
//!
//! let semel = Client::connect("http://127.0.0.1:7420")?;
//! let secret = Secret::text(std::env::var("STRIPE_WEBHOOK_SECRET")?)?;
//! let app: Router = Router::new()
//!     .route("/stripe", post(handle))
//!     .layer(Receiver::new(semel, "stripe", Preset::stripe(secret)));
//! # Ok(()) }
//! ```
//!
//! # What happens to a delivery, in this order
//! 1. Its body is read, whole, within [`Receiver::body_limit`]. (What is not to be done once, such as a
//!    GET beside [`Preset::idempotency_key`], is handed on as it comes.)
//! 2. Its signature is checked, before anything is asked of Semel: a forged delivery can neither
//!    reserve a key nor find out about one.
//! 3. Its key is found, and claimed with a digest of the delivery as the fingerprint.
//! 4. The handler runs, in a task of its own while the lease is kept alive. A client that hangs up
//!    does not stop it.
//! 5. What it answers is judged by [`Receiver::finality`]: a final answer is stored (its status, the
//!    [headers that are replayed](Receiver::replayed_header) and its body) and is what every duplicate
//!    gets, with `Idempotent-Replayed: true`; another is passed on, and the key may be tried again.
//!
//! # What a duplicate, or a delivery that cannot be taken, is answered
//! As `application/problem+json` (RFC 9457):
//!
//! | status | when |
//! | --- | --- |
//! | 202, no problem | with [`Receiver::accept_at_once`]: every delivery, first or not, unless its key is dead or uncertain |
//! | 400 | no key, or none that can be one; a body that broke off |
//! | 401 | a signature that is missing or wrong, too old or from the future; nobody knows who asks |
//! | 408 | a body that came too slowly |
//! | 409, with `Retry-After` | another delivery is being handled; see [`Receiver::wait`] |
//! | 409 | nobody knows whether the work was done (uncertain) |
//! | 413 | a body over the limit |
//! | 422 | the same key with another payload; an event too old to tell "never seen" from "forgotten" |
//! | 500 | a handler that panicked or gave no answer; one whose answer is too large to be kept; a key whose attempts are used up (dead); a claim that Semel refuses, as the service is set up wrongly |
//! | 503, with `Retry-After` | Semel is away (see [`Receiver::handle_when_away`]); the last attempt failed and the next may not start yet; another delivery took over; too much is under way; the service is about to end |
//!
//! # Traces and metrics
//! With the feature `opentelemetry`, which is on by default, a delivery whose request has a
//! `traceparent` header is in that trace: its claim, its settlement, and what the handler calls, for
//! which the header's context is current (`opentelemetry::Context::current()`), or the span `delivery`
//! within it where `tracing-opentelemetry` is set up. A span that is active where the receiver is called
//! goes before the header. A header that is malformed is ignored. Without the feature the claim and
//! what its holder says name the header's trace, and nothing else does.
//!
//! Each delivery is counted once when it has ended, as `semel.webhook.deliveries` with the labels
//! `namespace` and `result`, in the scope `semel-client` of the process's global meter provider. It has
//! to be set before the first delivery comes.
//!
//! | `result` | when |
//! | --- | --- |
//! | `handled` | the handler ran here and its answer is final, recorded or not |
//! | `failed` | the handler ran here and its answer is not final, or not the one that stands; a claim that Semel refuses |
//! | `replayed` | a duplicate that was given the stored answer, or 202 |
//! | `accepted` | 202 to the first, with [`Receiver::accept_at_once`]; what comes of it is not counted |
//! | `in_progress`, `backing_off`, `dead`, `uncertain` | what stood under the key |
//! | `mismatch` | the same key with another payload |
//! | `unauthenticated` | the signature did not verify |
//! | `invalid` | any other 400, 401, 408, 413 or 422; a client that left before its body was whole |
//! | `unavailable` | Semel is away or has no room; too much is under way here; the service is about to end |
//!
//! With [`Receiver::handle_when_away`] what is handled without a claim is `handled` or `failed`. What is
//! handed on, because it is no delivery, is not counted.
//!
//! # Keys that somebody resolved by hand
//! A result that was not stored by this layer is replayed as it is, with status 200, or 422 where it is
//! a failure's: `semel complete` and `semel fail` may be used on a receiver's keys.

mod admit;
mod answer;
mod background;
mod body;
mod ended;
mod finality;
mod flow;
mod handler;
mod problem;
mod scope;
mod service;
mod standing;
mod trace;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, StatusCode, header, request::Parts};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Preset,
    metrics::{Counter, DELIVERIES},
};
use crate::{Claim, Client, OnPanic, Once};
use background::Background;

pub use finality::Finality;
pub use service::{Body, BodyError, ReceiverService};

/// What says that an answer is a duplicate's.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Headers that are replayed by default: what says what the body is, and where to go.
const REPLAYED: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CONTENT_LANGUAGE,
    header::CONTENT_ENCODING,
    header::ETAG,
    header::LINK,
    header::LOCATION,
];

/// Headers that are never replayed: they were for whoever asked first, or for one connection.
const NEVER_REPLAYED: [HeaderName; 17] = [
    HeaderName::from_static("authentication-info"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("proxy-connection"),
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::SET_COOKIE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::WWW_AUTHENTICATE,
];

/// Longest wait that Semel takes.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

type Principal = dyn Fn(&Parts) -> Option<String> + Send + Sync;
type Judge = dyn Fn(StatusCode) -> Finality + Send + Sync;

/// A [`tower::Layer`]; see the [module](self). Cheap to clone, and all clones are one.
#[derive(Clone)]
pub struct Receiver {
    settings: Arc<Settings>,
}

#[derive(Clone)]
struct Settings {
    client: Client,
    namespace: String,
    preset: Preset,
    principal: Option<Arc<Principal>>,
    judge: Arc<Judge>,
    wait: Duration,
    lease: Option<Duration>,
    body_limit_bytes: usize,
    answer_limit_bytes: usize,
    replayed: Vec<HeaderName>,
    handles_when_away: bool,
    keeps_deliveries: bool,
    on_panic: OnPanic,
    settle_deadline: Duration,
    answer_within: Duration,
    body_timeout: Duration,
    places: Arc<Semaphore>,
    /// What runs after it was answered; `None`: nothing does.
    background: Option<Arc<Background>>,
    handlers: TaskTracker,
    stopping: CancellationToken,
    deliveries: Counter,
}

impl Settings {
    fn once(&self, claim: Claim) -> Once {
        self.client
            .once(claim)
            .settle_deadline(self.settle_deadline)
            .if_refused(answer::too_large())
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("namespace", &self.settings.namespace)
            .field("preset", &self.settings.preset)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    /// A receiver of what `preset` describes, whose keys are in `namespace`: one for each provider, or
    /// their keys could meet.
    pub fn new(client: Client, namespace: impl Into<String>, preset: Preset) -> Self {
        Self {
            settings: Arc::new(Settings {
                client,
                namespace: namespace.into(),
                preset,
                principal: None,
                judge: Arc::new(finality::of_status),
                wait: Duration::ZERO,
                lease: None,
                body_limit_bytes: 1024 * 1024,
                answer_limit_bytes: 1024 * 1024,
                replayed: REPLAYED.into(),
                handles_when_away: false,
                keeps_deliveries: false,
                on_panic: OnPanic::default(),
                settle_deadline: Duration::from_secs(10 * 60),
                answer_within: Duration::from_secs(30),
                body_timeout: Duration::from_secs(30),
                places: Arc::new(Semaphore::new(512)),
                background: None,
                handlers: TaskTracker::new(),
                stopping: CancellationToken::new(),
                deliveries: Counter::new(DELIVERIES),
            }),
        }
    }

    fn set(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }

    /// Who asks, where several may choose the same keys: the tenant, the account, the user. It becomes
    /// part of the key, so that nobody is given another's answer. A request of which it says `None` is
    /// refused with 401. Default: everybody is one, and whoever sends another's key and request is given
    /// his answer.
    ///
    /// Authenticate outside of this layer: a 401 or 403 from within is an answer like any other.
    pub fn principal(
        self,
        principal: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.set(|settings| settings.principal = Some(Arc::new(principal)))
    }

    /// Which answers are final. Default: 2xx, 3xx and 4xx are, but for 408, 409, 425 and 429; these and
    /// 5xx are tried again.
    pub fn finality(self, judge: impl Fn(StatusCode) -> Finality + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.judge = Arc::new(judge))
    }

    /// What a handler that panics, or gives no answer, says of the work. Default: that it was not done
    /// and may be tried again. For money [`OnPanic::Unknown`]: the key stays uncertain until somebody
    /// resolves it, as with a [finality](Receiver::finality) of `Unknown` for what the handler answers
    /// with 5xx.
    pub fn on_panic(self, policy: OnPanic) -> Self {
        self.set(|settings| settings.on_panic = policy)
    }

    /// How long to go on trying to record what a handler answered, should Semel go away while it runs.
    /// [`Receiver::drain`] waits for that too. Default: 10 minutes.
    pub fn settle_deadline(self, deadline: Duration) -> Self {
        self.set(|settings| settings.settle_deadline = deadline)
    }

    /// How long a caller waits for what its handler answered to be recorded; then it is answered, and
    /// the recording goes on. Default: 30 seconds.
    pub fn answer_within(self, patience: Duration) -> Self {
        self.set(|settings| settings.answer_within = patience)
    }

    /// How long a body may take to come. Default: 30 seconds.
    pub fn body_timeout(self, patience: Duration) -> Self {
        self.set(|settings| settings.body_timeout = patience)
    }

    /// Most deliveries under way at once, those that wait for another's answer included; what is over
    /// is answered 503 and comes again. Each may hold a whole body, and so may each of those that were
    /// [accepted](Receiver::accept_at_once). Default: 512.
    pub fn concurrency(self, most: usize) -> Self {
        let places = Semaphore::new(most.min(Semaphore::MAX_PERMITS));
        self.set(|settings| settings.places = Arc::new(places))
    }

    /// How long a duplicate waits for a delivery that is being handled, before it is answered 409; at
    /// most 5 minutes. Default: not at all.
    pub fn wait(self, wait: Duration) -> Self {
        self.set(|settings| settings.wait = wait.min(LONGEST_WAIT))
    }

    /// How long a claim stands without an extension: what a crash costs before somebody else may act.
    /// Default: the namespace's.
    pub fn lease(self, lease: Duration) -> Self {
        self.set(|settings| settings.lease = Some(lease))
    }

    /// Longest body of a request, in bytes. Default: 1 MiB.
    pub fn body_limit(self, bytes: usize) -> Self {
        self.set(|settings| settings.body_limit_bytes = bytes)
    }

    /// Longest body of an answer, in bytes; the namespace's largest result, 256 KiB unless it is
    /// configured, bounds answers as well. The work was done by then, so what is larger is replaced by
    /// a problem that says so, with status 500, for the first caller and for every duplicate. Default:
    /// 1 MiB.
    pub fn answer_limit(self, bytes: usize) -> Self {
        self.set(|settings| settings.answer_limit_bytes = bytes)
    }

    /// Replays this header of an answer too. Not those that were for whoever asked first
    /// (`Set-Cookie`, `Cache-Control`, authorisation) or for one connection.
    ///
    /// # Panics
    /// For one of those.
    pub fn replayed_header(self, header: HeaderName) -> Self {
        assert!(
            !NEVER_REPLAYED.contains(&header),
            "{header} is never replayed: it was for whoever asked first"
        );
        self.set(|settings| settings.replayed.push(header))
    }

    /// **Gives up on "once" while Semel cannot be reached**: such a delivery is handled, with a warning in
    /// the log, and may be handled again. For what is harmless to repeat and must not wait. Default: it
    /// is answered 503 and comes again.
    pub fn handle_when_away(self) -> Self {
        self.set(|settings| settings.handles_when_away = true)
    }

    /// Sends the raw delivery along with the claim, for dead letters. It is kept where the namespace
    /// keeps deliveries, with all its headers but those that authorise.
    pub fn keep_deliveries(self) -> Self {
        self.set(|settings| settings.keeps_deliveries = true)
    }

    /// Answers 202 as soon as the key is claimed, and runs the handler afterwards, for senders that wait
    /// for seconds only. Duplicates are answered 202 too. Work that fails is tried again in this
    /// process, by the namespace's backoff, since the sender will not come again. `most` deliveries are
    /// under way at once; those over it are answered 503 and come again.
    ///
    /// **A process that ends takes with it what it has accepted**: the lease lapses, and the key waits
    /// for its delivery to come again, to whatever process. Have deliveries
    /// [kept](Receiver::keep_deliveries), and look after keys whose lease has lapsed.
    pub fn accept_at_once(self, most: usize) -> Self {
        self.set(|settings| settings.background = Some(Arc::new(Background::new(most))))
    }

    /// Waits until the handlers have ended that run now, also those whose clients have hung up, and what
    /// they answered is recorded; makes no further attempts at what was
    /// [accepted at once](Receiver::accept_at_once). For the end of the program, after the server has
    /// stopped.
    pub async fn drain(&self) {
        self.settings.stopping.cancel();
        self.settings.handlers.close();
        self.settings.handlers.wait().await;
    }
}
