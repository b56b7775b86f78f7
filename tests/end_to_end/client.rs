//! The client against the real server, on both engines.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use semel_client::{
    Claim, ClaimOutcome, Claimed, Client, Error, FailOutcome, Failure, Held, RecordState, Run,
    Token, Transport,
};
use tokio::{sync::watch, task::JoinSet};

use crate::support::{Engine, PATIENCE, Server, figure, within};

const NAMESPACE: &str = "client";
const CONFIG: &str = "
[namespaces.short-hold]
default_lease = \"100ms\"
longest_lease = \"100ms\"
longest_hold = \"150ms\"
";

macro_rules! on_both_engines {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(crate::support::Engine::Sqlite).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(crate::support::Engine::Postgres).await;
                }
            )+
        }
    };
}

on_both_engines!(
    work_runs_once_and_is_replayed,
    a_failure_for_good_is_replayed,
    a_lease_is_kept_over_several_lengths,
    every_reason_is_its_typed_error,
    a_claim_is_settled_after_its_server_was_killed,
    work_goes_on_while_its_server_is_killed,
    calls_on_sessions_outlive_their_server,
);

async fn serve(engine: Engine) -> (Server, Client) {
    let server = Server::start(&engine.place().await, CONFIG).await;
    let client = server.client();
    (server, client)
}

async fn granted(client: &Client, claim: &Claim) -> Claimed {
    match client.claim(claim).await.expect("a claim is answered") {
        ClaimOutcome::Claimed(claimed) => claimed,
        other => panic!("{}: {other:?}", claim.key()),
    }
}

async fn work_runs_once_and_is_replayed(engine: Engine) {
    let (_server, client) = serve(engine).await;
    let ran = AtomicU32::new(0);
    let run = async || {
        client
            .run_once(
                Claim::new(NAMESPACE, "once").fingerprint(vec![1; 32]),
                async |work| {
                    ran.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, Failure>(format!("\0 made under {}", work.fence()))
                },
            )
            .await
            .expect("a run ends")
    };
    let Run::Ran {
        result,
        fence,
        attempt: 1,
    } = run().await
    else {
        panic!("it did not run");
    };
    for _ in 0..3 {
        match run().await {
            Run::Replayed(it) => assert_eq!((&it.result, it.fence), (&result, fence)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    let record = client.lookup(NAMESPACE, "once").await.expect("answered");
    let record = record.expect("it stands");
    assert!(matches!(record.state, RecordState::Completed(it) if it.result == result));
    assert_eq!(record.fingerprint.as_ref(), [1; 32]);
}

async fn a_failure_for_good_is_replayed(engine: Engine) {
    let (_server, client) = serve(engine).await;
    let ran = AtomicU32::new(0);
    let run = async || {
        let claim = Claim::new(NAMESPACE, "refused");
        let work = async |_| {
            ran.fetch_add(1, Ordering::SeqCst);
            Err::<String, _>(Failure::terminal("card refused", "402"))
        };
        client.run_once(claim, work).await.expect("a run ends")
    };
    let first = run().await;
    assert!(
        matches!(&first, Run::Failed { outcome: FailOutcome::Failed(it), .. } if it.result == "402"),
        "{first:?}"
    );
    let again = run().await;
    assert!(
        matches!(&again, Run::ReplayedFailure(it) if it.result == "402" && it.error == "card refused"),
        "{again:?}"
    );
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

/// A lease that others would take as soon as it lapsed. A machine that stands still for as long as
/// a lease is proves nothing about the client, so such a run is made again.
async fn a_lease_is_kept_over_several_lengths(engine: Engine) {
    const LEASE: Duration = Duration::from_millis(300);
    const WORK: Duration = Duration::from_millis(1_500);
    let (_server, client) = serve(engine).await;
    for turn in 1..=5 {
        let key = format!("kept-{turn}");
        let (done, mut over) = watch::channel(false);
        let pulse = tokio::spawn(pulse(client.clone(), turn, over.clone()));
        let claimed = granted(&client, &Claim::new(NAMESPACE, &key).lease(LEASE)).await;
        let guard = claimed.guard().await.expect("the lease has just begun");
        let rival = tokio::spawn({
            let (client, key) = (client.clone(), key.clone());
            async move {
                let mut asked = 0;
                while !*over.borrow_and_update() {
                    let claim = Claim::new(NAMESPACE, &key);
                    match client.claim(&claim).await.expect("answered") {
                        ClaimOutcome::InProgress(_) => asked += 1,
                        ClaimOutcome::Completed(_) => break,
                        other => return Err(format!("a rival was told {other:?}")),
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(asked)
            }
        });
        let lost = tokio::time::timeout(WORK, guard.lease_lost()).await.ok();
        let completed = guard.complete("kept").await;
        done.send_replace(true);
        let asked = within(PATIENCE, "the rival", rival)
            .await
            .expect("no panic");
        let longest = within(PATIENCE, "the pulse", pulse)
            .await
            .expect("no panic");
        if longest > LEASE / 3 {
            figure(
                "keeping a lease",
                &format!("{engine:?}: a call took {longest:?}, so turn {turn} does not count"),
            );
            continue;
        }
        assert_eq!(lost, None, "longest call {longest:?}");
        let asked = asked.unwrap_or_else(|problem| panic!("{problem}; longest call {longest:?}"));
        assert!(asked >= 10, "the rival asked only {asked} times");
        assert!(!completed.expect("completed").repeat);
        let record = client.lookup(NAMESPACE, &key).await.expect("answered");
        let state = record.expect("it stands").state;
        assert!(
            matches!(&state, RecordState::Completed(it) if it.result == "kept" && it.attempt == 1),
            "{state:?}"
        );
        figure(
            "keeping a lease",
            &format!(
                "{engine:?}: lease {LEASE:?}, work {WORK:?}, a rival asked {asked} times, longest \
                 other call {longest:?}"
            ),
        );
        return;
    }
    figure(
        "keeping a lease",
        &format!("{engine:?}: NOT PROVED, the machine was too busy five times"),
    );
}

/// The longest that a call with a commit took here meanwhile.
async fn pulse(client: Client, turn: u32, mut over: watch::Receiver<bool>) -> Duration {
    let mut longest = Duration::ZERO;
    let mut number = 0;
    while !*over.borrow_and_update() {
        number += 1;
        let began = Instant::now();
        let claim = Claim::new(NAMESPACE, format!("pulse-{turn}-{number}"));
        client.claim(&claim).await.expect("answered");
        tokio::time::sleep(Duration::from_millis(10)).await;
        longest = longest.max(began.elapsed());
    }
    longest
}

async fn every_reason_is_its_typed_error(engine: Engine) {
    for transport in [Transport::Session, Transport::Unary] {
        every_reason_over(engine, transport).await;
    }
}

async fn every_reason_over(engine: Engine, transport: Transport) {
    let server = Server::start(&engine.place().await, CONFIG).await;
    let client = server.client_with(|builder| builder.transport(transport));
    let claim = |key: &str| Claim::new(NAMESPACE, key).lease(Duration::from_secs(60));

    // Another request under the same key.
    let held = granted(&client, &claim("printed").fingerprint(vec![1; 32])).await;
    let other = client
        .claim(&claim("printed").fingerprint(vec![2; 32]))
        .await;
    assert!(
        matches!(other, Err(Error::FingerprintMismatch)),
        "{other:?}"
    );

    // A result that is too large leaves the claim standing.
    let large = client.complete(&held.held, vec![0; 256 * 1024 + 1]).await;
    assert_field(large, "result");
    client.complete(&held.held, "first").await.expect("stands");

    // Settled already, in another way.
    let again = client
        .complete(&held.held, "first")
        .await
        .expect("the same");
    assert!(again.repeat);
    let conflict = client.complete(&held.held, "second").await;
    assert!(
        matches!(conflict, Err(Error::ResultConflict)),
        "{conflict:?}"
    );
    for failure in [
        Failure::retryable("no"),
        Failure::terminal("no", "402"),
        Failure::unknown("?"),
    ] {
        let late = client.fail(&held.held, &failure).await;
        assert!(matches!(late, Err(Error::AlreadySettled)), "{late:?}");
    }
    let late = client.extend(&held.held, None).await;
    assert!(matches!(late, Err(Error::AlreadySettled)), "{late:?}");

    // Somebody took over.
    let lapsed = granted(&client, &claim("lapsed").lease(Duration::from_millis(1))).await;
    let next = within(PATIENCE, "a lease of a millisecond", async {
        loop {
            match client.claim(&claim("lapsed")).await.expect("answered") {
                ClaimOutcome::Claimed(next) => return next,
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    })
    .await;
    assert_eq!(next.attempt, 2);
    for lost in [
        client.complete(&lapsed.held, "late").await.err(),
        client.extend(&lapsed.held, None).await.err(),
        client.checkpoint(&lapsed.held, "late").await.err(),
        client
            .fail(&lapsed.held, &Failure::retryable("late"))
            .await
            .err(),
    ] {
        let fence = match lost {
            Some(Error::LeaseLost { current_fence }) => current_fence,
            other => panic!("{other:?}"),
        };
        assert_eq!(fence, Some(next.fence));
    }

    // An attempt that failed is over.
    let failing = claim("failing");
    let failed = granted(&client, &failing).await;
    let rest = Failure::retryable_after("not now", Duration::from_millis(1));
    client.fail(&failed.held, &rest).await.expect("recorded");
    let over = within(PATIENCE, "a rest of a millisecond", async {
        loop {
            match client.claim(&failing).await {
                Ok(ClaimOutcome::BackingOff(_)) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                other => return other,
            }
        }
    })
    .await;
    assert!(
        matches!(over, Err(Error::Superseded { current_fence: Some(fence) }) if fence == failed.fence),
        "{over:?}"
    );

    // Nobody knows the key.
    let unknown = Held::new(NAMESPACE, "unknown", next.held.token().clone());
    for missing in [
        client.complete(&unknown, "x").await.err(),
        client.fail(&unknown, &Failure::retryable("x")).await.err(),
        client.extend(&unknown, None).await.err(),
        client.checkpoint(&unknown, "x").await.err(),
    ] {
        assert!(matches!(missing, Some(Error::NotFound)), "{missing:?}");
    }
    assert_eq!(
        client.lookup(NAMESPACE, "unknown").await.expect("answered"),
        None
    );

    // An event from before the namespace's memory.
    let long_ago = SystemTime::now() - Duration::from_secs(8 * 24 * 3_600);
    let old = client.claim(&claim("old").event_time(long_ago)).await;
    assert!(matches!(old, Err(Error::EventTooOld)), "{old:?}");
    let recent = SystemTime::now() - Duration::from_secs(6 * 24 * 3_600);
    granted(&client, &claim("recent").event_time(recent)).await;

    // The longest hold.
    let capped = granted(&client, &Claim::new("short-hold", "capped")).await;
    let limit = within(PATIENCE, "the longest hold", async {
        loop {
            match client.extend(&capped.held, None).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => return error,
            }
        }
    })
    .await;
    assert!(matches!(limit, Error::HoldLimitReached), "{limit:?}");

    // Fields.
    let field = async |claim: Claim, field| {
        assert_field(client.claim(&claim).await, field);
    };
    field(Claim::new("Capitals", "x"), "namespace").await;
    field(Claim::new(NAMESPACE, ""), "key").await;
    field(Claim::new(NAMESPACE, "x".repeat(256)), "key").await;
    field(Claim::new(NAMESPACE, "tab\t"), "key").await;
    field(claim("x").fingerprint(vec![0; 65]), "fingerprint").await;
    field(claim("x").owner("o".repeat(256)), "owner").await;
    field(claim("x").lease(Duration::from_secs(3_600)), "lease").await;
    field(claim("x").lease(Duration::ZERO), "lease").await;
    field(claim("x").wait(Duration::from_secs(600)), "wait").await;
    let odd = Held::new(NAMESPACE, "printed", Token::new("no token"));
    assert_field(client.complete(&odd, "x").await, "token");
    assert_field(client.lookup("Capitals", "x").await, "namespace");
    assert_field(
        client.checkpoint(&next.held, vec![0; 16 * 1024 + 1]).await,
        "checkpoint",
    );
    let rest = Failure::retryable_after("x", Duration::from_secs(8 * 24 * 3_600));
    assert_field(client.fail(&next.held, &rest).await, "retry_after");
    assert_eq!(client.lookup(NAMESPACE, "x").await.expect("answered"), None);
}

#[track_caller]
fn assert_field<T: std::fmt::Debug>(answer: Result<T, Error>, field: &str) {
    match answer {
        Err(Error::InvalidArgument { violations, .. })
            if violations.len() == 1 && violations[0].field == field => {}
        other => panic!("{field}: {other:?}"),
    }
}

async fn a_claim_is_settled_after_its_server_was_killed(engine: Engine) {
    let (mut server, client) = serve(engine).await;
    let claim = Claim::new(NAMESPACE, "outlives").lease(Duration::from_secs(60));
    let claimed = granted(&client, &claim).await;
    client
        .checkpoint(&claimed.held, "half")
        .await
        .expect("saved");
    server.kill().await;
    let away = client
        .with_deadline(Duration::from_millis(300))
        .complete(&claimed.held, "done")
        .await;
    assert!(
        matches!(&away, Err(error) if error.is_unavailable()),
        "{away:?}"
    );
    server.restart().await;

    // The same attempt finds its claim, another finds somebody at it.
    let found = granted(&client, &claim).await;
    assert_eq!(found.held, claimed.held);
    assert_eq!((found.fence, found.attempt), (claimed.fence, 1));
    let other = client.claim(&claim.fresh()).await.expect("answered");
    assert!(
        matches!(&other, ClaimOutcome::InProgress(it) if it.fence == claimed.fence),
        "{other:?}"
    );
    let record = client
        .lookup(NAMESPACE, "outlives")
        .await
        .expect("answered");
    assert_eq!(
        record.expect("it stands").checkpoint.as_deref(),
        Some(&b"half"[..])
    );

    let extended = client
        .extend(&claimed.held, Some(Duration::from_secs(60)))
        .await;
    extended.expect("the claim stands");
    let completed = client
        .complete(&claimed.held, "done")
        .await
        .expect("it counts");
    assert!(!completed.repeat);
    server.kill().await;
    server.restart().await;
    let repeat = client
        .complete(&claimed.held, "done")
        .await
        .expect("it stands");
    assert!(repeat.repeat);
    assert_eq!(repeat.completed_at, completed.completed_at);
    let replayed = client.claim(&claim.fresh()).await.expect("answered");
    assert!(
        matches!(&replayed, ClaimOutcome::Completed(it) if it.result == "done"),
        "{replayed:?}"
    );
}

/// The server is gone at the end of the work and comes back before the settle deadline.
async fn work_goes_on_while_its_server_is_killed(engine: Engine) {
    let (mut server, client) = serve(engine).await;
    let (begun, mut has_begun) = watch::channel(false);
    let (finish, mut may_finish) = watch::channel(false);
    let ran = Arc::new(AtomicU32::new(0));
    let run = tokio::spawn({
        let (client, ran) = (client.clone(), ran.clone());
        async move {
            let claim = Claim::new(NAMESPACE, "goes-on").lease(Duration::from_secs(60));
            let work = async |_| {
                ran.fetch_add(1, Ordering::SeqCst);
                begun.send_replace(true);
                let _ = may_finish.wait_for(|it| *it).await;
                Ok::<_, Failure>("done")
            };
            client.once(claim).settle_deadline(PATIENCE).run(work).await
        }
    });
    within(PATIENCE, "the work", has_begun.wait_for(|it| *it))
        .await
        .expect("it begins");
    server.kill().await;
    finish.send_replace(true);
    server.restart().await;
    let run = within(PATIENCE, "the run", run).await.expect("no panic");
    let run = run.expect("it is recorded");
    assert!(
        matches!(&run, Run::Ran { result, attempt: 1, .. } if result == "done"),
        "{run:?}"
    );
    let again = client
        .run_once(Claim::new(NAMESPACE, "goes-on"), async |_| {
            ran.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Failure>("twice")
        })
        .await;
    assert!(
        matches!(&again, Ok(Run::Replayed(it)) if it.result == "done"),
        "{again:?}"
    );
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

/// Many calls are under way on few streams when the server is killed: each is answered in the end,
/// none twice over, and none with another's answer.
async fn calls_on_sessions_outlive_their_server(engine: Engine) {
    const CALLERS: u32 = 300;
    let mut server = Server::start(&engine.place().await, CONFIG).await;
    let client = server.client_with(|builder| {
        let builder = builder.transport(Transport::Session);
        builder.channels(1).deadline(PATIENCE)
    });
    let (claimed, mut has_claimed) = watch::channel(0);
    let mut callers = JoinSet::new();
    for n in 0..CALLERS {
        let (client, claimed) = (client.clone(), claimed.clone());
        callers.spawn(async move {
            let key = format!("outlives-{n}");
            let claim = Claim::new(NAMESPACE, &key).lease(Duration::from_secs(60));
            let mine = granted(&client, &claim).await;
            assert_eq!(mine.attempt, 1);
            claimed.send_modify(|n| *n += 1);
            let done = client.complete(&mine.held, key.clone()).await;
            done.expect("completed in the end");
            (key, mine.fence)
        });
    }
    let some = has_claimed.wait_for(|n| *n >= CALLERS / 4);
    within(PATIENCE, "some claims", some).await.expect("open");
    server.kill().await;
    server.restart().await;

    while let Some(caller) = within(PATIENCE, "a caller", callers.join_next()).await {
        let (key, fence) = caller.expect("no panic");
        let record = client.lookup(NAMESPACE, &key).await.expect("answered");
        let state = record.expect("it stands").state;
        assert!(
            matches!(&state, RecordState::Completed(it) if it.result == key && it.fence == fence),
            "{key}: {state:?}"
        );
    }
}
