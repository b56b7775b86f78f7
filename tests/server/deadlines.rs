//! The caller's deadline, as the server keeps it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use semel_proto::v1::{self, claim_response::Outcome};
use semel_tests::Postgres;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic::{Code, Request};

use crate::support::*;

#[tokio::test]
async fn a_wait_longer_than_the_deadline_answers_in_progress_before_it() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    claimed(&mut client, claim("k", 1)).await;
    for timeout in [Duration::from_millis(1_000), Duration::from_millis(300)] {
        let waiting = v1::ClaimRequest {
            wait: span(300, 0),
            ..claim("k", 2)
        };
        let started = Instant::now();
        let answer = within(client.claim(by(waiting, timeout))).await;
        let took = started.elapsed();
        let outcome = answer
            .expect("never DEADLINE_EXCEEDED")
            .into_inner()
            .outcome;
        assert!(
            matches!(outcome, Some(Outcome::InProgress(_))),
            "{outcome:?}"
        );
        // It waited for most of the time, and left some for the answer to arrive.
        assert!(
            took > timeout / 3 && took < timeout,
            "{took:?} of {timeout:?}"
        );
    }
}

#[tokio::test]
async fn a_wait_shorter_than_the_deadline_ends_by_itself() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    claimed(&mut client, claim("k", 1)).await;
    let waiting = v1::ClaimRequest {
        wait: millis(100),
        ..claim("k", 2)
    };
    let started = Instant::now();
    let answer = within(client.claim(by(waiting, Duration::from_secs(60))))
        .await
        .unwrap();
    assert!(matches!(
        answer.into_inner().outcome,
        Some(Outcome::InProgress(_))
    ));
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_malformed_timeout_counts_as_none() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    for (n, bad) in ["", "1", "S", "soon", "-1S", "1.5S", "123456789S"]
        .iter()
        .enumerate()
    {
        let mut request = Request::new(claim(&format!("k{n}"), 1));
        request
            .metadata_mut()
            .insert("grpc-timeout", bad.parse().unwrap());
        within(client.claim(request))
            .await
            .unwrap_or_else(|error| panic!("{bad:?}: {error}"));
    }
}

/// A server on Postgres with one lane, and a session that holds the table's lock, so that no
/// statement on it ends until the session is over.
struct Hung {
    host: Host,
    client: Client,
    locker: PgConnection,
}

impl Hung {
    async fn new(database: &Postgres) -> Self {
        let host = Host::on_url(&database.url(), "lanes = 1\npurge_interval = \"0s\"").await;
        let client = host.client().await;
        let locker = database.connect().await;
        Self {
            host,
            client,
            locker,
        }
    }

    async fn lock(&mut self) {
        let sql = "BEGIN; LOCK TABLE records IN ACCESS EXCLUSIVE MODE";
        self.locker.execute(sql).await.expect("the lock is free");
    }

    async fn unlock(&mut self) {
        self.locker
            .execute("ROLLBACK")
            .await
            .expect("the session is there");
    }

    /// Sends a call whose deadline passes while the store hangs.
    async fn runs_out(&self, call: impl Into<Call>) {
        let timeout = Duration::from_millis(400);
        let mut client = self.client.clone();
        let started = Instant::now();
        let answer = async {
            match call.into() {
                Call::Claim(request) => client.claim(by(request, timeout)).await.map(drop),
                Call::Complete(request) => client.complete(by(request, timeout)).await.map(drop),
                Call::Lookup(request) => client.lookup(by(request, timeout)).await.map(drop),
                other => panic!("not needed here: {other:?}"),
            }
        };
        let error = told(within(answer).await);
        error.expect(Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        assert!(error.message.contains("may have been applied"), "{error:?}");
        let took = started.elapsed();
        assert!(took >= timeout && took < Duration::from_secs(5), "{took:?}");
    }

    async fn end(self) {
        drop(self.client);
        self.locker.close().await.expect("the session ends");
        self.host.stop().await;
    }
}

#[tokio::test]
async fn a_claim_whose_store_hangs_runs_out_of_time_and_a_repeat_finds_it() {
    on_postgres(|database: Arc<Postgres>| async move {
        let mut hung = Hung::new(&database).await;
        hung.lock().await;
        hung.runs_out(claim("k", 1)).await;
        hung.unlock().await;
        // Nobody waited for it, and it was carried out all the same: the lane had accepted it.
        let v1::lookup_response::Outcome::InProgress(shown) = stands(&mut hung.client, "k").await
        else {
            panic!("not in progress")
        };
        let repeated = claimed(&mut hung.client, claim("k", 1)).await;
        assert_eq!((repeated.fence, repeated.attempt), (shown.fence, 1));
        hung.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_completion_whose_store_hangs_runs_out_of_time_and_is_applied() {
    on_postgres(|database: Arc<Postgres>| async move {
        let mut hung = Hung::new(&database).await;
        let granted = claimed(&mut hung.client, claim("k", 1)).await;
        hung.lock().await;
        hung.runs_out(complete("k", &granted.token, b"done")).await;
        hung.unlock().await;
        let request = complete("k", &granted.token, b"done");
        let repeated = within(hung.client.complete(request))
            .await
            .unwrap()
            .into_inner();
        assert!(repeated.repeat, "the first one was applied before");
        assert_eq!(word(&mut hung.client, "k").await, "completed");
        hung.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_lookup_whose_store_hangs_runs_out_of_time_too() {
    on_postgres(|database: Arc<Postgres>| async move {
        let mut hung = Hung::new(&database).await;
        hung.lock().await;
        hung.runs_out(lookup("k")).await;
        hung.unlock().await;
        assert_eq!(word(&mut hung.client, "k").await, "absent");
        hung.end().await;
    })
    .await;
}
