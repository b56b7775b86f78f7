//! Extend, Checkpoint and Lookup: what a holder does on the way, and what others see of it.

use super::*;

semel_tests::cases!(hold:
    extend_gives_the_default_lease_from_now,
    extend_may_ask_for_its_own_lease,
    extend_never_shortens_a_lease,
    extend_after_a_lapse_holds_the_key_again_while_nobody_took_over,
    extend_is_capped_by_the_longest_hold,
    at_the_end_of_the_longest_hold_extend_is_refused_and_the_key_can_be_taken_over,
    extend_beyond_the_longest_lease_is_invalid_and_changes_nothing,
    extend_may_be_sent_again,
    extend_of_a_settled_key_is_already_settled,
    extend_keeps_checkpoint_and_delivery,
    a_checkpoint_replaces_the_one_before,
    an_empty_checkpoint_is_a_checkpoint,
    the_largest_checkpoint_is_handed_over_byte_for_byte,
    a_checkpoint_does_not_move_the_lease,
    a_checkpoint_of_a_settled_key_is_already_settled,
    lookup_shows_each_state_and_writes_nothing,
    lookup_shows_the_details_of_the_record,
    lookup_grants_nothing,
);

async fn lease_until(house: &House, id: &KeyId) -> Timestamp {
    match house.standing(id).await.state {
        State::InProgress { lease_until } => lease_until,
        other => panic!("not in progress: {other:?}"),
    }
}

pub async fn extend_gives_the_default_lease_from_now(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.clock.set(at(6));
    let extended = house.call(&id, extend(token, None)).await;
    assert_eq!(
        extended,
        Ok(Reply::Extend {
            lease: LEASE,
            hold: secs(54)
        })
    );
    house.clock.set(at(16) - TICK);
    assert_eq!(house.claim_word(&id, 2).await, "in progress");
    house.clock.advance(TICK);
    assert_eq!(house.claim_word(&id, 2).await, "claimed");
}

pub async fn extend_may_ask_for_its_own_lease(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    assert_eq!(
        house.word(&id, extend(token, Some(secs(30)))).await,
        "extended"
    );
    assert_eq!(lease_until(&house, &id).await, at(30));
}

pub async fn extend_never_shortens_a_lease(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, extend(token, Some(secs(30)))).await;
    assert_eq!(
        house.word(&id, extend(token, Some(secs(1)))).await,
        "extended"
    );
    assert_eq!(lease_until(&house, &id).await, at(30));
}

pub async fn extend_after_a_lapse_holds_the_key_again_while_nobody_took_over(house: House) {
    for id in [order("k"), money("k")] {
        let token = house.claimed(&id, 1).await.token;
        house.clock.advance(secs(15));
        assert_eq!(house.word(&id, extend(token, None)).await, "extended");
        assert_eq!(house.claim_word(&id, 2).await, "in progress");
    }
}

pub async fn extend_is_capped_by_the_longest_hold(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.clock.set(at(55));
    let extended = house.call(&id, extend(token, Some(secs(30)))).await;
    assert_eq!(
        extended,
        Ok(Reply::Extend {
            lease: secs(5),
            hold: secs(5)
        })
    );
    assert_eq!(lease_until(&house, &id).await, at(60));
}

pub async fn at_the_end_of_the_longest_hold_extend_is_refused_and_the_key_can_be_taken_over(
    house: House,
) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    for now in (5..60).step_by(5) {
        house.clock.set(at(now));
        assert_eq!(
            house.word(&id, extend(token, None)).await,
            "extended",
            "after {now} s"
        );
    }
    house.clock.set(at(60));
    let refused = house
        .writing_nothing(house.word(&id, extend(token, None)))
        .await;
    assert_eq!(refused, "HOLD_LIMIT_REACHED");
    // The claim still is its holder's to settle, until somebody takes it over.
    let second = house.claimed(&id, 2).await.token;
    assert_eq!(house.word(&id, complete(token, "r")).await, "LEASE_LOST");
    // Whose hold counts from its own claim.
    house.clock.set(at(65));
    assert_eq!(house.word(&id, extend(second, None)).await, "extended");
}

pub async fn extend_beyond_the_longest_lease_is_invalid_and_changes_nothing(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    for lease in [secs(30).plus(TICK), Span::ZERO, Span::from_micros(999)] {
        let refused = house
            .writing_nothing(house.word(&id, extend(token, Some(lease))))
            .await;
        assert_eq!(refused, "INVALID", "{lease}");
    }
}

pub async fn extend_may_be_sent_again(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.clock.set(at(6));
    let first = house.call(&id, extend(token, None)).await;
    assert_eq!(house.call(&id, extend(token, None)).await, first);
    assert_eq!(lease_until(&house, &id).await, at(16));
}

pub async fn extend_of_a_settled_key_is_already_settled(house: House) {
    for (n, command) in [
        |t| complete(t, "r"),
        |t| terminal(t, "r"),
        retryable,
        unknown,
    ]
    .into_iter()
    .enumerate()
    {
        let id = order(&n.to_string());
        let token = house.claimed(&id, 1).await.token;
        house.call(&id, command(token)).await.unwrap();
        let refused = house
            .writing_nothing(house.word(&id, extend(token, None)))
            .await;
        assert_eq!(refused, "ALREADY_SETTLED");
    }
}

pub async fn extend_keeps_checkpoint_and_delivery(house: House) {
    let id = bulk("k");
    let claim = Claim {
        delivery: Some(noise(100_000)),
        ..house.draft(&id, 1)
    };
    let token = grant_of(house.ask(&id, claim).await).token;
    house.word(&id, checkpoint(token, noise(16_000))).await;
    house.clock.advance(secs(1));
    house.word(&id, extend(token, None)).await;
    let record = house.standing(&id).await;
    assert!(record.checkpoint == Some(noise(16_000)) && record.delivery == Some(noise(100_000)));
}

pub async fn a_checkpoint_replaces_the_one_before(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    for page in ["long page 1", "page 2", "p3"] {
        assert_eq!(house.word(&id, checkpoint(token, page)).await, "saved");
        assert_eq!(house.look(&id).await.1.checkpoint, Some(page.into()));
    }
}

pub async fn an_empty_checkpoint_is_a_checkpoint(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    assert_eq!(house.look(&id).await.1.checkpoint, None);
    house.word(&id, checkpoint(token, "")).await;
    house.clock.advance(LEASE);
    assert_eq!(house.claimed(&id, 2).await.checkpoint, Some(Bytes::new()));
}

pub async fn the_largest_checkpoint_is_handed_over_byte_for_byte(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    let largest = noise(limits::CHECKPOINT_BYTES);
    assert_eq!(
        house.word(&id, checkpoint(token, largest.clone())).await,
        "saved"
    );
    house.clock.advance(LEASE);
    assert!(
        house.claimed(&id, 2).await.checkpoint == Some(largest),
        "the checkpoint differs"
    );
}

pub async fn a_checkpoint_does_not_move_the_lease(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.clock.set(at(9));
    house.word(&id, checkpoint(token, "page")).await;
    assert_eq!(lease_until(&house, &id).await, at(10));
}

pub async fn a_checkpoint_of_a_settled_key_is_already_settled(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, complete(token, "r")).await;
    let refused = house
        .writing_nothing(house.word(&id, checkpoint(token, "late")))
        .await;
    assert_eq!(refused, "ALREADY_SETTLED");
}

pub async fn lookup_shows_each_state_and_writes_nothing(house: House) {
    let settle: [(&str, HolderCall); 5] = [
        ("in progress", |t| extend(t, None)),
        ("completed", |t| complete(t, "r")),
        ("failed", |t| terminal(t, "f")),
        ("backing off", retryable),
        ("uncertain", unknown),
    ];
    for (state, command) in settle {
        let id = order(state);
        let token = house.claimed(&id, 1).await.token;
        house.call(&id, command(token)).await.unwrap();
        let (shown, _) = house.writing_nothing(house.look(&id)).await;
        assert_eq!(word_of(&shown), state);
        // A Lookup shows what a Claim is told.
        assert_eq!(standing_of(house.claim(&id, 2).await), shown);
    }
    assert_eq!(house.lookup_word(&order("absent")).await, "NOT_FOUND");
}

pub async fn lookup_shows_the_details_of_the_record(house: House) {
    let id = bulk("k");
    let claim = Claim {
        fingerprint: print("digest"),
        delivery: Some("POST /".into()),
        ..house.draft(&id, 1)
    };
    let first = grant_of(house.ask(&id, claim).await).token;
    house.word(&id, checkpoint(first, "page 7")).await;
    house.clock.set(at(10));
    let second = house.claimed(&id, 2).await.token;
    house.clock.set(at(12));
    let (_, details) = house.look(&id).await;
    assert_eq!(
        (details.owner.as_str(), details.retention),
        ("worker-2", None)
    );
    assert_eq!((details.created_at, details.claimed_at), (at(0), at(10)));
    assert_eq!(details.checkpoint, Some("page 7".into()));
    assert_eq!(
        (details.fingerprint, details.delivery),
        ("digest".into(), Some("POST /".into()))
    );
    house.word(&id, retryable(second)).await;
    house.clock.set(at(13));
    // Kept from the end of the rest on.
    let (_, details) = house.look(&id).await;
    assert_eq!(details.retention, Some(secs(39).plus(RETENTION)));
}

pub async fn lookup_grants_nothing(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.clock.advance(LEASE);
    assert_eq!(house.lookup_word(&id).await, "in progress");
    assert_eq!(house.word(&id, complete(token, "r")).await, "stored");
}
