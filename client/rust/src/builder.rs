//! The settings of a [`Client`], and the channels it is made of.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::client::{Client, Pool, Settings};
use crate::connection::Connection;
use crate::error::Error;
use crate::retry::Backoff;
use crate::rpc::Stub;
use crate::session::{self, Session, WithoutSession};

/// Longest owner text that the server takes, in bytes.
const OWNER_LIMIT_BYTES: usize = 255;

/// How calls go over a connection.
///
/// On a *session* many calls share one HTTP/2 stream, for a fraction of what a request for each
/// costs, on both sides. Claims that [wait](crate::Claim::wait) and calls of more than 64 KiB are
/// requests of their own in any case, and so are the further tries of a call that was not answered
/// within a [try](Builder::try_timeout), or that two streams were lost under, and the next try of
/// one that was refused for want of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Transport {
    /// On a session where one can be had. Where a server is older, or a proxy in between refuses
    /// streams or holds either side of them back, calls are requests of their own, and a session is
    /// tried again from time to time.
    #[default]
    Auto,
    /// On a session only: where none can be had, calls fail.
    Session,
    /// Each call is an HTTP request of its own.
    Unary,
}

/// Settings of a [`Client`]; each method says its default.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    channels: usize,
    connect_timeout: Duration,
    keepalive_interval: Duration,
    keepalive_timeout: Duration,
    deadline: Duration,
    try_timeout: Duration,
    backoff: Backoff,
    owner: String,
    bearer_token: Option<Secret>,
    max_decoding_bytes: usize,
    transport: Transport,
}

/// A credential that `Debug` does not show.
#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("redacted")
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            channels: 4,
            connect_timeout: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(10),
            try_timeout: Duration::from_secs(3),
            backoff: Backoff {
                initial: Duration::from_millis(20),
                longest: Duration::from_secs(2),
            },
            owner: default_owner(),
            bearer_token: None,
            max_decoding_bytes: 8 * 1024 * 1024,
            transport: Transport::default(),
        }
    }
}

impl Builder {
    /// How many HTTP/2 connections calls are spread over, round robin; at least 1. What holders say
    /// has one more of its own. One connection is a handful of tasks, so a single one caps
    /// throughput. Default: 4.
    pub fn channels(mut self, channels: usize) -> Self {
        self.channels = channels.max(1);
        self
    }

    /// How long to wait for a connection. Default: 2 seconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How often a busy connection is pinged, and how long it may take to answer before it is
    /// given up. One with an open session is busy. Default: every 20 seconds, 10 seconds.
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keepalive_interval = interval;
        self.keepalive_timeout = timeout;
        self
    }

    /// How long a call goes on, all its tries together; a claim's `wait` comes on top. Default: 10
    /// seconds. See also [`Client::with_deadline`].
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The longest that one try of a call may take, so that a hung connection does not eat the
    /// whole deadline; a claim's `wait` comes on top. Sent as `grpc-timeout` with a call that is a
    /// request of its own. A session that owes answers and is silent for two to three times this
    /// long is given up, and not tried again for a while if it never gave one. Default: 3 seconds.
    pub fn try_timeout(mut self, timeout: Duration) -> Self {
        self.try_timeout = timeout;
        self
    }

    /// The bounds of the wait between two tries: the first, and the longest. Each wait is random
    /// below its bound. Default: 20 milliseconds, 2 seconds.
    pub fn backoff(mut self, initial: Duration, longest: Duration) -> Self {
        self.backoff = Backoff { initial, longest };
        self
    }

    /// The owner text of claims that name none. Default: `hostname:pid`.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }

    /// A credential, sent as `authorization: Bearer …` with every call. Default: none.
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.bearer_token = Some(Secret(token.into()));
        self
    }

    /// The longest answer that is taken in, in bytes. Default: 8 MiB.
    pub fn max_decoding_bytes(mut self, bytes: usize) -> Self {
        self.max_decoding_bytes = bytes;
        self
    }

    /// Whether calls share streams. Default: [`Transport::Auto`].
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// A client of the server at `address`, for example `http://127.0.0.1:7420`.
    ///
    /// Connections are made when they are first used: this returns at once, and a server that is
    /// away shows in the calls. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// `Configuration` when the address is no `http` URI (for `https` see
    /// [`Builder::connect_endpoint`]), or the credential cannot be a header.
    pub fn connect(self, address: impl Into<String>) -> Result<Client, Error> {
        let endpoint = self.endpoint(address.into())?;
        self.connect_endpoint(endpoint)
    }

    /// A client over an endpoint of your own making, for what this builder does not offer (TLS,
    /// window sizes, an origin). Of this builder's settings, those of the connection (timeouts of
    /// connecting and keepalive) are then the endpoint's. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// `Configuration` when the credential cannot be a header.
    pub fn connect_endpoint(self, endpoint: Endpoint) -> Result<Client, Error> {
        self.connect_channels(|| endpoint.connect_lazy())
    }

    fn endpoint(&self, address: String) -> Result<Endpoint, Error> {
        let unusable = |message: String| Error::Configuration { message };
        let endpoint = Endpoint::from_shared(address.clone())
            .map_err(|error| unusable(format!("address {address:?}: {error}")))?;
        let uri = endpoint.uri();
        match uri.scheme_str() {
            Some("http") if uri.host().is_some() => {}
            // Without this, every call would fail as if the server were away.
            Some("https") => {
                return Err(unusable(format!(
                    "address {address:?} asks for TLS: set it up on an Endpoint and use \
                     connect_endpoint"
                )));
            }
            _ => {
                return Err(unusable(format!(
                    "address {address:?} is not like http://host:port"
                )));
            }
        }
        Ok(endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(self.keepalive_interval))
            .http2_keep_alive_interval(self.keepalive_interval)
            .keep_alive_timeout(self.keepalive_timeout))
    }

    fn connect_channels(self, channel: impl Fn() -> Channel) -> Result<Client, Error> {
        let authorization = self.bearer_token.map(|token| bearer(&token)).transpose()?;
        let without = match self.transport {
            Transport::Auto => Some(WithoutSession::GoAlone),
            Transport::Session => Some(WithoutSession::Fail),
            Transport::Unary => None,
        };
        let limits = session::Limits::new(self.connect_timeout, self.try_timeout);
        let connection = || {
            let channel = channel();
            let session = without.map(|without| {
                Session::new(
                    channel.clone(),
                    authorization.clone(),
                    self.max_decoding_bytes,
                    limits,
                    without,
                )
            });
            Connection {
                stub: Stub::new(channel).max_decoding_message_size(self.max_decoding_bytes),
                session,
                authorization: authorization.clone(),
            }
        };
        Ok(Client {
            pool: Arc::new(Pool {
                connections: (0..self.channels).map(|_| connection()).collect(),
                holders: connection(),
                next: AtomicUsize::new(0),
            }),
            settings: Arc::new(Settings {
                try_timeout: self.try_timeout,
                backoff: self.backoff,
                owner: self.owner,
            }),
            deadline: self.deadline,
        })
    }
}

fn bearer(token: &Secret) -> Result<AsciiMetadataValue, Error> {
    let mut value: AsciiMetadataValue =
        format!("Bearer {}", token.0)
            .parse()
            .map_err(|_| Error::Configuration {
                message: "the bearer token is not visible ASCII".to_owned(),
            })?;
    value.set_sensitive(true);
    Ok(value)
}

/// `hostname:pid` where the platform tells the host's name for the price of a small read, and else
/// the pid alone. For people only, so a wrong guess costs nothing.
fn default_owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|c| c.is_ascii_graphic())
        .take(OWNER_LIMIT_BYTES - "pid:4294967295".len())
        .collect();
    let pid = std::process::id();
    if host.is_empty() {
        format!("pid:{pid}")
    } else {
        format!("{host}:{pid}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_owner_names_this_process_and_fits() {
        let owner = default_owner();
        assert!(owner.ends_with(&std::process::id().to_string()));
        assert!(owner.len() <= OWNER_LIMIT_BYTES);
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_before_any_call() {
        for address in [
            "",
            "127.0.0.1:7420",
            "http://",
            "https://semel.example",
            "not a uri",
        ] {
            let refused = Client::connect(address);
            assert!(
                matches!(refused, Err(Error::Configuration { .. })),
                "{address:?}"
            );
        }
    }

    #[test]
    fn the_credential_is_not_shown() {
        let shown = format!("{:?}", Builder::default().bearer_token("hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
