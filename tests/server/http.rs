//! The operator's port: liveness, readiness and metrics.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use semel_test_postgres::Cluster;
use tokio::task::spawn_blocking;

use crate::support::*;

#[tokio::test]
async fn a_running_server_is_alive_and_ready() {
    let host = Host::start("").await;
    let http = host.http_address();
    let page = Page::get(http, "/livez", "*/*").await;
    assert_eq!((page.status, page.body.as_str()), (200, "ok\n"));
    let page = Page::get(http, "/readyz", "*/*").await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.body,
        "[+] store: sqlite answers\n[+] server: running\nready\n"
    );
    assert_eq!(page.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn what_is_not_there_is_404_and_says_what_is() {
    let host = Host::start("").await;
    for (path, status) in [("/", 200), ("/nothing", 404), ("/metrics/more", 404)] {
        let page = Page::get(host.http_address(), path, "*/*").await;
        assert_eq!(page.status, status, "{path}");
        for name in ["/livez", "/readyz", "/metrics"] {
            assert!(page.body.contains(name), "{path}: {page:?}");
        }
    }
    let post = "POST /readyz HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let page = within(Page::ask(host.http_address(), post)).await;
    assert_eq!(page.status, 405, "nothing here can be changed");
}

#[tokio::test]
async fn a_scraper_is_given_the_format_that_it_accepts() {
    let host = Host::start("").await;
    let http = host.http_address();
    let page = Page::get(http, "/metrics", "text/plain").await;
    let kind = page.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert!(
        !page.body.contains("# EOF") && !page.body.contains(" # {"),
        "{page:?}"
    );
    // As Prometheus asks.
    let accept =
        "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let page = Page::get(http, "/metrics", accept).await;
    let kind = page.header("content-type").unwrap();
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    assert!(page.body.ends_with("# EOF\n"));
    // But not who says that it does not want it.
    let page = Page::get(
        http,
        "/metrics",
        "application/openmetrics-text;q=0, text/plain",
    )
    .await;
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/plain"),
        "{page:?}"
    );
}

#[tokio::test]
async fn without_its_store_it_is_not_ready_and_says_why_and_is_again_by_itself() {
    let cluster = spawn_blocking(Cluster::start)
        .await
        .unwrap()
        .expect("a Postgres");
    let host = Host::on_url(&cluster.url("postgres"), "").await;
    let http = host.http_address();
    let becomes = |status: u16| async move {
        until("the readiness changes", || async move {
            let page = Page::get(http, "/readyz", "*/*").await;
            (page.status == status).then_some(page)
        })
        .await
    };
    let page = becomes(200).await;
    assert!(
        page.body.contains("[+] store: postgres answers"),
        "{page:?}"
    );
    assert_eq!(host.scrape().sum("semel_store_ready", &[]), 1.0);
    let before = host
        .scrape()
        .sum("semel_store_connections_opened_total", &[]);

    let cluster = spawn_blocking(move || cluster.stop_fast().map(|()| cluster));
    let cluster = cluster.await.unwrap().expect("it stops");
    let page = becomes(503).await;
    assert!(
        page.body.contains("[-] store: postgres is away for "),
        "{page:?}"
    );
    assert!(page.body.ends_with("not ready\n"), "{page:?}");
    assert_eq!(
        Page::get(http, "/livez", "*/*").await.status,
        200,
        "a restart is no remedy"
    );
    assert_eq!(host.scrape().sum("semel_store_ready", &[]), 0.0);
    until("attempts to connect are counted", || async {
        let failed = host
            .scrape()
            .sum("semel_store_connections_failed_total", &[]);
        (failed >= 1.0).then_some(())
    })
    .await;
    let errors = [("result", "unavailable")];
    let calls = host
        .scrape()
        .sum("semel_store_call_duration_seconds_count", &errors);
    assert!(calls >= 1.0);

    let cluster = spawn_blocking(move || cluster.restart().map(|()| cluster));
    let cluster = cluster.await.unwrap().expect("it starts again");
    becomes(200).await;
    assert!(
        host.scrape()
            .sum("semel_store_connections_opened_total", &[])
            > before
    );
    assert!(host.scrape().sum("semel_store_connections", &[]) >= 1.0);
    host.stop().await;
    drop(cluster);
}

#[tokio::test]
async fn a_server_that_drains_is_alive_and_not_ready_to_the_end() {
    let host = Host::start("drain = \"10s\"").await;
    let (http, wire) = (host.http_address(), host.wire().await);
    // A call whose message does not come holds the drain up.
    let never = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let uri = format!("{}semel.v1.IdempotencyService/Claim", wire.origin);
    let request = http::Request::post(uri)
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(never))
        .expect("a request");
    let call = tokio::spawn(tower::ServiceExt::oneshot(wire.clone(), request));
    until("the call has come", || async {
        // Behind it on the same connection.
        wire.client().lookup(lookup("k")).await.unwrap_err();
        Some(())
    })
    .await;
    host.ask_to_stop();
    let page = until("it says that it stops", || async {
        let page = Page::get(http, "/readyz", "*/*").await;
        (page.status == 503).then_some(page)
    })
    .await;
    assert!(page.body.contains("[-] server: stopping"), "{page:?}");
    assert_eq!(Page::get(http, "/livez", "*/*").await.status, 200);
    call.abort();
    drop(wire);
    host.stop().await;
    assert!(tokio::net::TcpStream::connect(http).await.is_err());
}

#[tokio::test]
async fn the_port_can_be_turned_off_and_a_taken_one_ends_the_start() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json"];
    let mut command = semel(&serve);
    command.args(["--http-listen", "off", "--data-dir", data.to_str().unwrap()]);
    let server = Process::start(command);
    server.serving().await;
    let serving = server.lines().into_iter().find(|it| it.contains("serving"));
    assert!(!serving.unwrap().contains("\"http\""));
    server.signal("TERM").await;
    server.ended().await.expect_code(0);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = semel(&serve);
    command.args([
        "--http-listen",
        &address,
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    let ended = Process::finish(command).await;
    ended.expect(4).says(&["cannot listen on", &address]);

    for (bad, told) in [
        ("everywhere", "must be an IP address and a port"),
        ("0.0.0.0:7421", "can be reached from other machines"),
    ] {
        let mut command = semel(&serve);
        command.args(["--http-listen", bad]);
        Process::finish(command)
            .await
            .expect(3)
            .says(&["http", told]);
    }
    let mut command = semel(&["serve", "--listen", "127.0.0.1:7999"]);
    command.args(["--http-listen", "127.0.0.1:7999"]);
    Process::finish(command)
        .await
        .expect(3)
        .says(&["must be another address"]);
}

#[tokio::test]
async fn nobody_can_keep_a_probe_out() {
    let host = Host::start("").await;
    let http = host.http_address();
    let mut stuck = Vec::new();
    for n in 0..200 {
        let mut stream = tokio::net::TcpStream::connect(http).await.unwrap();
        // Some never ask to the end, some never read.
        let request = match n % 2 {
            0 => "GET /readyz HTTP/1.1\r\nhost: x\r\n".to_owned(),
            _ => "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50),
        };
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await;
        stuck.push(stream);
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(Page::get(http, path, "*/*").await.status, 200, "{path}");
    }
    drop(stuck);
}

#[tokio::test]
async fn a_database_that_lets_in_the_probe_and_no_lane_is_not_ready() {
    let cluster = spawn_blocking(Cluster::start).await.unwrap();
    let cluster = cluster.expect("a Postgres");
    let host = Host::on_url(&cluster.url("postgres"), "lanes = 2").await;
    let http = host.http_address();
    until("it is ready", || async {
        (Page::get(http, "/readyz", "*/*").await.status == 200).then_some(())
    })
    .await;
    let few = "CREATE ROLE few LOGIN SUPERUSER CONNECTION LIMIT 2; ALTER ROLE few NOSUPERUSER; \
               GRANT ALL ON ALL TABLES IN SCHEMA public TO few; GRANT pg_monitor TO few";
    for statement in few.split("; ") {
        cluster.query("postgres", statement).unwrap();
    }
    let url = cluster.url("postgres");
    let (before, after) = url.split_once("@").expect("a user");
    let (scheme, _) = before.split_once("://").expect("a scheme");
    let url = format!("{scheme}://few@{after}");
    let poor = Host::on_url(&url, "lanes = 2\nmigrate = false").await;
    let page = until("it finds out", || async {
        let page = Page::get(poor.http_address(), "/readyz", "*/*").await;
        (page.status == 503).then_some(page)
    })
    .await;
    assert!(page.body.contains("too many connections"), "{page:?}");
    poor.stop().await;
    host.stop().await;
    drop(cluster);
}
