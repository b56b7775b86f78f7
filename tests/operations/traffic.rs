//! Something of everything that a server counts.

use std::time::Duration;

use semel_client::{Claim, ClaimOutcome, Client, Failure, Held};

/// Namespaces beside those of the compose file: one whose first failure is its last.
pub const NAMESPACES: &str = "
[namespaces.once]
attempts = 1
";

const LAPSES: Duration = Duration::from_millis(50);

/// Claims of every outcome that a caller sees daily, settlements of every kind, leases that lapse, and what
/// nobody wants to see: dead letters and uncertain keys.
pub async fn drive(client: &Client, name: &str) {
    let key = |what: &str| format!("{name}-{what}");
    let orders = |what: &str| Claim::new("orders", key(what));

    // Done, and told again; in progress for another; another request under the same key.
    let claim = orders("done").fingerprint(vec![1; 32]);
    let done = granted(client, &claim).await;
    let other = client.claim(&claim.fresh()).await.expect("an answer");
    assert!(matches!(other, ClaimOutcome::InProgress(_)), "{other:?}");
    client.extend(&done, None).await.expect("extended");
    client.checkpoint(&done, "half").await.expect("kept");
    client.complete(&done, "result").await.expect("completed");
    client.complete(&done, "result").await.expect("a repeat");
    client
        .complete(&done, "another")
        .await
        .expect_err("a conflict");
    let again = client.claim(&claim.fresh()).await.expect("an answer");
    assert!(matches!(again, ClaimOutcome::Completed(_)), "{again:?}");
    let another = orders("done").fingerprint(vec![2; 32]);
    client.claim(&another).await.expect_err("a mismatch");
    client
        .lookup("orders", &key("done"))
        .await
        .expect("an answer");

    // Each kind of failure, and what a caller is told after it.
    for (namespace, failure) in [
        (
            "orders",
            Failure::retryable_after("later", Duration::from_secs(60)),
        ),
        ("orders", Failure::terminal("refused", "402")),
        ("payments", Failure::unknown("no answer")),
        ("once", Failure::retryable("never")),
    ] {
        let claim = Claim::new(
            namespace,
            key(&format!("{failure:?}").replace([' ', '"'], "_")),
        );
        let held = granted(client, &claim).await;
        client.fail(&held, &failure).await.expect("recorded");
        let told = client.claim(&claim.fresh()).await.expect("an answer");
        assert!(
            !matches!(told, ClaimOutcome::Claimed(_)),
            "{failure:?}: {told:?}"
        );
    }

    // Leases that lapse: one is taken over, one settles late, and one is left.
    let taken = orders("taken").lease(LAPSES);
    let first = granted(client, &taken).await;
    let late = granted(client, &orders("late").lease(LAPSES)).await;
    granted(client, &orders("left").lease(LAPSES)).await;
    tokio::time::sleep(3 * LAPSES).await;
    let second = granted(client, &taken.fresh()).await;
    client
        .complete(&first, "too late")
        .await
        .expect_err("it lost the lease");
    client
        .complete(&second, "in time")
        .await
        .expect("completed");
    client
        .complete(&late, "late")
        .await
        .expect("nobody took over");
}

async fn granted(client: &Client, claim: &Claim) -> Held {
    match client.claim(claim).await.expect("an answer") {
        ClaimOutcome::Claimed(claimed) => claimed.held.clone(),
        other => panic!("{}: {other:?}", claim.key()),
    }
}
