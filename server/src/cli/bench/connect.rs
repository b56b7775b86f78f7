//! The way to the server, and what to say when there is none.

use std::time::Duration;

use semel_proto::v1::LookupRequest;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::service_fn;

use super::args::Settings;
use super::dial::dial;
use super::session::Link;
use super::unary::client;
use crate::cli::Exit;

const CONNECTING: Duration = Duration::from_secs(5);
/// Windows of HTTP/2, so large that the server never waits for them.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Fewer pieces where answers are large.
const FRAME: u32 = 256 * 1024;

/// Why a run has no figures.
#[derive(Debug)]
pub(super) enum Ended {
    /// Ctrl-C before anything was measured.
    Stopped,
    Failed(Exit, String),
}

/// The connections to the server, which has been asked whether it takes our keys.
pub(super) async fn connect(settings: &Settings) -> Result<Vec<Channel>, Ended> {
    let address = &settings.address;
    let endpoint = Endpoint::from_shared(address.clone()).map_err(|error| {
        let sentence = format!(
            "--address {address} is no address ({error}); write one such as http://127.0.0.1:7420"
        );
        Ended::Failed(Exit::Usage, sentence)
    })?;
    let endpoint = endpoint
        .connect_timeout(CONNECTING)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME);
    let mut channels = Vec::new();
    for _ in 0..settings.connections {
        let channel = endpoint
            .connect_with_connector(service_fn(dial))
            .await
            .map_err(|error| {
                let sentence = format!(
                    "cannot reach a server at {address}: {}. Is it running (`semel serve`), and is \
                 --address right?",
                    cause(&error)
                );
                Ended::Failed(Exit::Unavailable, sentence)
            })?;
        channels.push(channel);
    }
    if let Some(channel) = channels.first() {
        ask(settings, channel.clone()).await?;
    }
    Ok(channels)
}

/// Looks a key up: what is wrong with the namespace, the keys or our rights is better told once
/// than for each operation.
async fn ask(settings: &Settings, channel: Channel) -> Result<(), Ended> {
    let request = LookupRequest {
        namespace: settings.namespace.clone(),
        key: settings.first_key(),
        include_delivery: false,
    };
    let mut client = client(channel);
    let answer = tokio::time::timeout(CONNECTING, client.lookup(request)).await;
    let address = &settings.address;
    match answer.unwrap_or_else(|_| Err(Status::unavailable("no answer"))) {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::NotFound => Ok(()),
        Err(status) if status.code() == Code::Unimplemented => {
            let sentence = format!(
                "unexpected answer from {address}: {}. Is it a Semel server?",
                said(&status)
            );
            Err(Ended::Failed(Exit::Failure, sentence))
        }
        Err(status) => Err(refused(address, &status)),
    }
}

/// A session on each connection; `None` where the server has none.
pub(super) async fn open_sessions(
    settings: &Settings,
    channels: &[Channel],
) -> Result<Option<Vec<Link>>, Ended> {
    let address = &settings.address;
    let mut links = Vec::new();
    for channel in channels {
        match Link::open(channel.clone()).await {
            Ok(link) => links.push(link),
            Err(status) if status.code() == Code::Unimplemented => return Ok(None),
            Err(status) => return Err(refused(address, &status)),
        }
    }
    Ok(Some(links))
}

/// What to say when there are none and some are needed.
pub(super) fn no_sessions(settings: &Settings) -> Ended {
    let sentence = format!(
        "the server at {} has no sessions; try --transport unary, without --preload",
        settings.address
    );
    Ended::Failed(Exit::Failure, sentence)
}

fn refused(address: &str, status: &Status) -> Ended {
    let said = said(status);
    match status.code() {
        Code::InvalidArgument => {
            Ended::Failed(Exit::Usage, format!("the server refuses the keys: {said}"))
        }
        Code::Unauthenticated | Code::PermissionDenied => Ended::Failed(
            Exit::NotAllowed,
            format!("the server at {address} does not allow it: {said}"),
        ),
        _ => Ended::Failed(
            Exit::Unavailable,
            format!("the server at {address} cannot answer: {said}; try again"),
        ),
    }
}

fn said(status: &Status) -> String {
    status.message().escape_debug().to_string()
}

/// The innermost of an error's causes: what the system said.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
