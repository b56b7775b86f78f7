//! Two servers on one database are one service.

use super::*;

semel_tests::cases!(two_servers:
    of_fifty_claims_at_once_on_two_servers_exactly_one_is_granted,
    of_fifty_claims_at_once_on_a_lapsed_key_exactly_one_takes_over,
    of_fifty_claims_at_once_on_a_forgotten_key_exactly_one_is_granted,
    the_same_attempt_on_both_servers_at_once_is_one_claim,
    a_claim_of_one_server_is_completed_through_the_other,
    a_claim_taken_over_through_one_server_is_lost_on_the_other,
    completions_with_two_results_at_once_store_one_and_the_other_conflicts,
    a_completion_and_a_takeover_at_once_do_not_both_win,
    a_completion_and_a_failure_at_once_do_not_both_win,
    extends_and_checkpoints_at_once_are_all_applied,
    fences_strictly_increase_over_attempts_on_alternating_servers,
    what_one_server_acknowledged_the_other_sees_at_once,
    many_keys_on_both_servers_at_once_are_each_done_once,
);

/// Sends `count` Claims on one key at once, half of them through each server.
async fn at_once(
    here: &Server,
    there: &Server,
    id: &KeyId,
    first: u128,
    count: u128,
) -> Vec<Answer> {
    let calls: Vec<_> = (first..first + count)
        .map(|n| {
            let server = if n % 2 == 0 { here } else { there }.clone();
            let id = id.clone();
            tokio::spawn(async move { server.claim(&id, n).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(within(call).await.expect("no panic"));
    }
    answers
}

/// The one grant among the answers; all others have to be in progress under its fence.
fn only_grant(answers: Vec<Answer>) -> ClaimGrant {
    let (granted, others): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .map(claim_of)
        .partition(|reply| matches!(reply, ClaimReply::Claimed(_)));
    let [ClaimReply::Claimed(grant)] = granted.as_slice() else {
        panic!("not exactly one was granted: {granted:?}")
    };
    for other in others {
        let ClaimReply::Standing(Outcome::InProgress { fence, .. }) = other else {
            panic!("not in progress: {other:?}")
        };
        assert_eq!(
            fence, grant.token.fence,
            "under another claim than the one granted"
        );
    }
    grant.clone()
}

pub async fn of_fifty_claims_at_once_on_two_servers_exactly_one_is_granted(house: House) {
    let other = house.another_server().await;
    for id in orders("k", 5) {
        let grant = only_grant(at_once(&house, &other, &id, 1, 50).await);
        assert_eq!(grant.attempt, 1);
        assert_eq!(house.standing(&id).await.token(), grant.token);
    }
}

pub async fn of_fifty_claims_at_once_on_a_lapsed_key_exactly_one_takes_over(house: House) {
    let other = house.another_server().await;
    let id = order("k");
    let mut last = house.claimed(&id, 1).await;
    for attempt in 2..=3 {
        house.clock.advance(LEASE);
        let grant = only_grant(at_once(&house, &other, &id, 100 * u128::from(attempt), 50).await);
        assert_eq!(grant.attempt, attempt);
        assert!(grant.token.fence > last.token.fence);
        last = grant;
    }
    house.clock.advance(LEASE);
    for answer in at_once(&house, &other, &id, 1_000, 50).await {
        assert_eq!(word(&answer), "dead");
    }
}

pub async fn of_fifty_claims_at_once_on_a_forgotten_key_exactly_one_is_granted(house: House) {
    let other = house.another_server().await;
    let id = order("k");
    let first = house.claimed(&id, 1).await.token;
    house.word(&id, complete(first, "r")).await;
    house.clock.advance(RETENTION);
    let grant = only_grant(at_once(&house, &other, &id, 2, 50).await);
    assert_eq!(grant.attempt, 1);
    assert!(grant.token.fence > first.fence);
}

pub async fn the_same_attempt_on_both_servers_at_once_is_one_claim(house: House) {
    let other = house.another_server().await;
    for id in orders("k", 20) {
        let (here, there) = tokio::join!(house.claimed(&id, 1), other.claimed(&id, 1));
        assert_eq!(here, there);
    }
}

pub async fn a_claim_of_one_server_is_completed_through_the_other(house: House) {
    let other = house.another_server().await;
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    assert_eq!(other.word(&id, extend(token, None)).await, "extended");
    assert_eq!(other.word(&id, checkpoint(token, "page")).await, "saved");
    assert_eq!(other.word(&id, complete(token, "r")).await, "stored");
    assert_eq!(house.word(&id, complete(token, "r")).await, "repeat");
    assert_eq!(house.claim_word(&id, 2).await, "completed");
}

pub async fn a_claim_taken_over_through_one_server_is_lost_on_the_other(house: House) {
    let other = house.another_server().await;
    let id = order("k");
    let first = house.claimed(&id, 1).await.token;
    house.clock.advance(LEASE);
    let second = other.claimed(&id, 2).await.token;
    for late in [
        complete(first, "r"),
        retryable(first),
        extend(first, None),
        checkpoint(first, "x"),
    ] {
        assert_eq!(house.word(&id, late).await, "LEASE_LOST");
    }
    assert_eq!(house.word(&id, complete(second, "r")).await, "stored");
}

pub async fn completions_with_two_results_at_once_store_one_and_the_other_conflicts(house: House) {
    let other = house.another_server().await;
    for id in orders("k", 20) {
        let token = house.claimed(&id, 1).await.token;
        let (here, there) = tokio::join!(
            house.word(&id, complete(token, "here")),
            other.word(&id, complete(token, "there"))
        );
        let stored = match (here, there) {
            ("stored", "RESULT_CONFLICT") => "here",
            ("RESULT_CONFLICT", "stored") => "there",
            both => panic!("{both:?}"),
        };
        assert!(
            matches!(house.look(&id).await.0, Outcome::Completed { result, .. } if result == stored)
        );
    }
}

pub async fn a_completion_and_a_takeover_at_once_do_not_both_win(house: House) {
    let other = house.another_server().await;
    for id in orders("k", 20) {
        let token = house.claimed(&id, 1).await.token;
        house.clock.advance(LEASE);
        let (completed, claimed) = tokio::join!(
            house.word(&id, complete(token, "r")),
            other.claim_word(&id, 2)
        );
        match (completed, claimed) {
            ("stored", "completed") | ("LEASE_LOST", "claimed") => {}
            both => panic!("{both:?}"),
        }
    }
}

pub async fn a_completion_and_a_failure_at_once_do_not_both_win(house: House) {
    let other = house.another_server().await;
    for id in orders("k", 20) {
        let token = house.claimed(&id, 1).await.token;
        let (completed, failed) = tokio::join!(
            house.word(&id, complete(token, "r")),
            other.word(&id, terminal(token, "f"))
        );
        match (completed, failed) {
            ("stored", "ALREADY_SETTLED") | ("ALREADY_SETTLED", "failed") => {}
            both => panic!("{both:?}"),
        }
    }
}

pub async fn extends_and_checkpoints_at_once_are_all_applied(house: House) {
    let other = house.another_server().await;
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    let before = house.standing(&id).await.revision;
    for _ in 0..10 {
        let (a, b, c) = tokio::join!(
            house.word(&id, extend(token, None)),
            other.word(&id, checkpoint(token, "page")),
            other.word(&id, extend(token, Some(secs(30))))
        );
        assert_eq!((a, b, c), ("extended", "saved", "extended"));
    }
    // Every one of them was a change of its own: none was lost to another.
    assert_eq!(house.standing(&id).await.revision, before + 30);
}

pub async fn fences_strictly_increase_over_attempts_on_alternating_servers(house: House) {
    let other = house.another_server().await;
    let id = order("k");
    let mut last = Fence::from_i64(0);
    for n in 1..=40 {
        let server = if n % 2 == 0 { &*house } else { &other };
        // Forwards and, now and then, a little back.
        match n % 5 {
            0 => house.clock.set(house.clock.now() - secs(2)),
            1 => {}
            _ => house.clock.advance(LEASE),
        }
        match claim_of(server.claim(&id, n).await) {
            ClaimReply::Claimed(grant) => {
                assert!(grant.token.fence > last, "attempt id {n}");
                last = grant.token.fence;
            }
            ClaimReply::Standing(Outcome::Dead { .. }) => house.clock.advance(RETENTION),
            ClaimReply::Standing(_) => {}
        }
    }
    assert!(
        last > Fence::from_i64(at(1_000).as_micros()),
        "it did not go on over a new life"
    );
}

pub async fn what_one_server_acknowledged_the_other_sees_at_once(house: House) {
    let other = house.another_server().await;
    for id in orders("k", 20) {
        let token = house.claimed(&id, 1).await.token;
        assert_eq!(other.lookup_word(&id).await, "in progress");
        assert_eq!(other.word(&id, complete(token, "r")).await, "stored");
        assert_eq!(house.lookup_word(&id).await, "completed");
    }
}

pub async fn many_keys_on_both_servers_at_once_are_each_done_once(house: House) {
    let other = house.another_server().await;
    let ids = orders("k", 60);
    let workers: Vec<_> = (1..=4_u128)
        .map(|worker| {
            let server = if worker % 2 == 0 {
                Server::clone(&house)
            } else {
                other.clone()
            };
            let mut ids = ids.clone();
            // Each begins at another end, so that they meet.
            if worker > 2 {
                ids.reverse();
            }
            tokio::spawn(async move {
                let mut done = 0;
                for id in ids {
                    if let ClaimReply::Claimed(grant) = claim_of(server.claim(&id, worker).await) {
                        let result = format!("by {worker}");
                        assert_eq!(
                            server.word(&id, complete(grant.token, result)).await,
                            "stored"
                        );
                        done += 1;
                    }
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for worker in workers {
        done += within(worker).await.expect("no panic");
    }
    assert_eq!(done, 60);
}
