//! Connections: how many, how large their headers, how many calls on one, and silence.

use std::time::Duration;

use semel_proto::v1::{self, claim_response::Outcome};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::Request;

use crate::support::*;

/// Long enough for something that happens at once, short enough to wait for in vain.
const A_MOMENT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn over_the_most_connections_the_next_one_waits_until_one_leaves() {
    let host = Host::start("max_connections = 2").await;
    let (first, second) = (host.wire().await, host.wire().await);
    claimed(&mut first.client(), claim("a", 1)).await;
    claimed(&mut second.client(), claim("b", 1)).await;
    let address = host.address();
    let mut third = tokio::spawn(async move {
        let wire = Wire::try_connect(address).await.expect("its turn comes");
        claimed(&mut wire.client(), claim("c", 1)).await
    });
    assert!(
        timeout(A_MOMENT, &mut third).await.is_err(),
        "there is no place for it"
    );
    assert_eq!(word(&mut second.client(), "c").await, "absent");
    drop(first);
    assert_eq!(within(third).await.unwrap().attempt, 1);
    claimed(&mut second.client(), claim("d", 1)).await;
}

#[tokio::test]
async fn a_list_of_headers_that_is_too_large_is_refused_without_harm_to_the_connection() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let mut client = wire.client();
    let with = |bytes: usize, key: &str| {
        let mut request = Request::new(claim(key, 1));
        let value = "x".repeat(bytes).parse().unwrap();
        request.metadata_mut().insert("x-filler", value);
        request
    };
    within(client.claim(with(12 * 1024, "fits"))).await.unwrap();
    within(client.claim(with(20 * 1024, "large")))
        .await
        .expect_err("it is over 16 KiB");
    assert_eq!(word(&mut client, "large").await, "absent");
    assert!(!wire.is_closed());
    assert_eq!(word(&mut client, "fits").await, "in progress");
}

#[tokio::test]
async fn over_the_most_calls_on_a_connection_the_next_one_waits_its_turn() {
    let scratch = Scratch::new();
    let mut config = scratch.config("");
    config.net.streams_per_connection = 1;
    let host = Host::serve(config).await;
    let mut holder = host.client().await;
    let granted = claimed(&mut holder, claim("k", 1)).await;

    let mut crowded = host.client().await;
    // One call through and back, so that the client has heard of the limit.
    assert_eq!(word(&mut crowded, "k").await, "in progress");
    let mut waits = {
        let mut crowded = crowded.clone();
        let waiting = v1::ClaimRequest {
            wait: span(60, 0),
            ..claim("k", 2)
        };
        tokio::spawn(async move { outcome(&mut crowded, waiting).await })
    };
    assert!(
        timeout(A_MOMENT, &mut waits).await.is_err(),
        "it waits for the holder"
    );
    let mut next = tokio::spawn(async move { word(&mut crowded, "k").await });
    assert!(
        timeout(A_MOMENT, &mut next).await.is_err(),
        "it waits for the claim"
    );
    holder
        .complete(complete("k", &granted.token, b""))
        .await
        .unwrap();
    assert!(matches!(
        within(waits).await.unwrap(),
        Outcome::Completed(_)
    ));
    assert_eq!(within(next).await.unwrap(), "completed");
}

/// A server that looks for signs of life every tenth of a second.
async fn impatient(scratch: &Scratch) -> Host {
    let mut config = scratch.config("max_connections = 1");
    config.net.greeting_timeout = Duration::from_millis(300);
    config.net.keepalive_interval = Duration::from_millis(100);
    config.net.keepalive_timeout = Duration::from_millis(100);
    Host::serve(config).await
}

/// Whether the server hangs up on a client that says this and nothing more.
async fn hangs_up_after(said: &[u8]) {
    let scratch = Scratch::new();
    let host = impatient(&scratch).await;
    let mut stream = TcpStream::connect(host.address()).await.unwrap();
    stream.write_all(said).await.unwrap();
    let mut answer = Vec::new();
    let end = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "the connection is still open");
    // The only place is free again.
    claimed(&mut host.client().await, claim("k", 1)).await;
}

#[tokio::test]
async fn a_client_that_goes_silent_is_hung_up_on() {
    // The preface and empty settings.
    hangs_up_after(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
}

#[tokio::test]
async fn a_client_that_answers_pings_stays_connected() {
    let scratch = Scratch::new();
    let host = impatient(&scratch).await;
    let wire = host.wire().await;
    claimed(&mut wire.client(), claim("k", 1)).await;
    let closed = timeout(
        3 * A_MOMENT,
        until("it is hung up on", || async {
            wire.is_closed().then_some(())
        }),
    )
    .await;
    assert!(closed.is_err(), "it answered");
    assert_eq!(word(&mut wire.client(), "k").await, "in progress");
}

#[tokio::test]
async fn a_client_that_never_says_anything_is_hung_up_on() {
    hangs_up_after(b"").await;
}

#[tokio::test]
async fn a_client_that_breaks_off_its_preface_is_hung_up_on() {
    hangs_up_after(b"PRI * HTTP/2.0\r\n").await;
}

#[tokio::test]
async fn a_client_that_speaks_something_else_is_hung_up_on() {
    hangs_up_after(b"GET / HTTP/1.1\r\nHost: semel\r\n\r\n").await;
}
