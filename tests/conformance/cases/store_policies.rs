//! Policies and namespaces, as the store keeps them and as the servers read them.

use super::*;

semel_tests::cases!(store_policies:
    a_policy_is_kept_under_its_id_with_its_text,
    a_policy_that_is_stored_already_is_no_error_and_writes_nothing,
    a_policy_never_changes,
    a_namespace_gets_its_policy_and_then_another,
    a_namespace_has_a_full_memory_unless_told_otherwise,
    a_longer_retention_leaves_a_shorter_memory_behind,
    a_shorter_memory_is_kept_while_claims_made_under_it_may_be_here,
    another_server_and_a_restarted_one_read_the_same,
    a_namespace_that_nobody_configured_has_the_servers_default,
    a_changed_policy_touches_new_claims_only,
    a_record_under_a_policy_that_this_server_has_not_read_is_judged_by_it,
    a_lengthened_retention_makes_older_events_too_old,
    a_duplicate_does_not_slip_through_a_lengthened_retention,
    a_namespace_that_gets_its_first_policy_remembers_what_it_had_before,
    a_first_policy_inherits_the_memory_of_the_others,
    a_configuration_that_says_nothing_of_the_others_leaves_their_policy,
    a_shortened_retention_makes_no_event_too_old_that_was_not,
    starting_again_with_the_same_configuration_changes_nothing,
    a_store_that_is_open_is_ready,
);

fn name(text: &str) -> Namespace {
    Namespace::new(text).expect("a valid namespace")
}

/// The rows of namespaces other than the tests' own.
async fn rows(server: &Server) -> Vec<NamespaceRow> {
    let mut rows = server
        .store
        .namespaces()
        .await
        .expect("namespaces are read");
    let own = ["*", "orders", "money", "strict", "bulk"];
    rows.retain(|row| !own.contains(&row.namespace.as_str()));
    rows.sort_by(|a, b| a.namespace.cmp(&b.namespace));
    rows
}

async fn put(house: &House, namespace: &str, settings: PolicySettings, remembered: Option<Span>) {
    let policy = policy(settings);
    let text = policy.canonical_text();
    house
        .store
        .put_policy(policy.id(), &text)
        .await
        .expect("a policy is stored");
    let namespace = name(namespace);
    let put = house
        .store
        .put_namespace(&namespace, policy.id(), remembered);
    put.await.expect("a namespace is stored");
}

pub async fn a_policy_is_kept_under_its_id_with_its_text(house: House) {
    let stored = [(i64::MIN, "a"), (i64::MAX, "{\"ü\": 'x'}"), (0, "")];
    for (id, text) in stored {
        house
            .store
            .put_policy(PolicyId::from_i64(id), text)
            .await
            .unwrap();
    }
    let policies = house.store.policies().await.unwrap();
    for (id, text) in stored {
        assert!(
            policies.contains(&(PolicyId::from_i64(id), text.into())),
            "{id}"
        );
    }
    for settings in [settings(), hold(), required(), large()] {
        let policy = policy(settings);
        assert!(policies.contains(&(policy.id(), policy.canonical_text())));
    }
    assert_eq!(policies.len(), 7);
}

pub async fn a_policy_that_is_stored_already_is_no_error_and_writes_nothing(house: House) {
    let policy = policy(settings());
    let text = policy.canonical_text();
    house
        .writing_nothing(house.store.put_policy(policy.id(), &text))
        .await
        .unwrap();
}

pub async fn a_policy_never_changes(house: House) {
    let id = PolicyId::from_i64(42);
    house.store.put_policy(id, "first").await.unwrap();
    // Refused or ignored: what matters is that the first stands.
    let _ = house.store.put_policy(id, "second").await;
    let policies = house.store.policies().await.unwrap();
    let of_id: Vec<_> = policies
        .into_iter()
        .filter(|policy| policy.0 == id)
        .collect();
    assert_eq!(of_id, [(id, "first".into())]);
}

pub async fn a_namespace_gets_its_policy_and_then_another(house: House) {
    put(&house, "a", settings(), None).await;
    put(&house, "b", hold(), None).await;
    put(&house, "a", large(), None).await;
    let policies: Vec<_> = rows(&house)
        .await
        .into_iter()
        .map(|row| (row.namespace, row.policy))
        .collect();
    let expected = [
        (name("a"), policy(large()).id()),
        (name("b"), policy(hold()).id()),
    ];
    assert_eq!(policies, expected);
}

pub async fn a_namespace_has_a_full_memory_unless_told_otherwise(house: House) {
    put(&house, "a", settings(), None).await;
    put(&house, "a", hold(), None).await;
    assert_eq!(rows(&house).await[0].memory.shorter_until, Timestamp::MIN);
}

pub async fn a_longer_retention_leaves_a_shorter_memory_behind(house: House) {
    put(&house, "new", settings(), Some(secs(100))).await;
    put(&house, "old", settings(), None).await;
    house.clock.set(at(1_000));
    put(&house, "old", hold(), Some(secs(300))).await;
    let memories: Vec<_> = rows(&house).await.iter().map(|row| row.memory).collect();
    let memory = |shorter_until, retention| Memory {
        shorter_until: at(shorter_until),
        shorter_retention: secs(retention),
    };
    assert_eq!(memories, [memory(0, 100), memory(1_000, 300)]);
}

pub async fn a_shorter_memory_is_kept_while_claims_made_under_it_may_be_here(house: House) {
    let memory = async |house: &House| {
        let Memory {
            shorter_until,
            shorter_retention,
        } = rows(house).await[0].memory;
        (shorter_until, shorter_retention)
    };
    house.clock.set(at(1_000));
    put(&house, "a", settings(), Some(secs(300))).await;
    put(&house, "a", hold(), None).await;
    assert_eq!(
        memory(&house).await,
        (at(1_000), secs(300)),
        "nothing to say"
    );
    house.clock.set(at(1_899));
    put(&house, "a", large(), Some(secs(900))).await;
    assert_eq!(
        memory(&house).await,
        (at(1_899), secs(300)),
        "claims kept for 900 s may be here"
    );
    house.clock.set(at(2_900));
    put(&house, "a", hold(), Some(secs(1_000))).await;
    assert_eq!(
        memory(&house).await,
        (at(2_900), secs(1_000)),
        "they are gone by now"
    );
    house.clock.set(at(0));
    put(&house, "a", settings(), Some(secs(10))).await;
    assert_eq!(
        memory(&house).await,
        (at(2_900), secs(10)),
        "a clock that went back"
    );
}

pub async fn another_server_and_a_restarted_one_read_the_same(mut house: House) {
    put(&house, "a", hold(), Some(secs(5))).await;
    let (policies, namespaces) = (house.store.policies().await.unwrap(), rows(&house).await);
    let other = house.another_server().await;
    assert_eq!(
        (other.store.policies().await.unwrap(), rows(&other).await),
        (policies.clone(), namespaces.clone())
    );
    house.restart().await;
    assert_eq!(
        (house.store.policies().await.unwrap(), rows(&house).await),
        (policies, namespaces)
    );
}

pub async fn a_namespace_that_nobody_configured_has_the_servers_default(house: House) {
    let id = key_in("nobodys", "k");
    let grant = house.claimed(&id, 1).await;
    assert_eq!(grant.token.policy_id, policy(settings()).id());
    assert_eq!(rows(&house).await, [], "a claim configures no namespace");
}

pub async fn a_changed_policy_touches_new_claims_only(house: House) {
    let (old, new) = (key_in("a", "old"), key_in("a", "new"));
    put(&house, "a", settings(), None).await;
    house.policies.renew(&house.store).await.unwrap();
    let before = house.claimed(&old, 1).await;
    let short = PolicySettings {
        retention_ms: 60_000,
        attempts: 1,
        ..hold()
    };
    put(&house, "a", short, None).await;
    house.policies.renew(&house.store).await.unwrap();
    let after = house.claimed(&new, 1).await;

    // The old claim's lease lapses as its policy says, and the new one's as its own.
    house.clock.advance(LEASE);
    assert_eq!(house.lookup_word(&old).await, "in progress");
    assert_eq!(house.lookup_word(&new).await, "uncertain");
    // And each outcome is kept as long as its policy says.
    assert_eq!(
        house.word(&old, complete(before.token, "r")).await,
        "stored"
    );
    assert_eq!(house.word(&new, complete(after.token, "r")).await, "stored");
    house.clock.advance(secs(60));
    assert_eq!(house.lookup_word(&old).await, "completed");
    assert_eq!(house.lookup_word(&new).await, "NOT_FOUND");
}

pub async fn a_record_under_a_policy_that_this_server_has_not_read_is_judged_by_it(house: House) {
    let other = house.another_server().await;
    put(
        &house,
        "a",
        PolicySettings {
            attempts: 1,
            ..hold()
        },
        None,
    )
    .await;
    other.policies.renew(&other.store).await.unwrap();
    let id = key_in("a", "k");
    let grant = other.claimed(&id, 1).await;
    // This server goes by the default still, under which the key would be claimed again.
    house.clock.advance(LEASE);
    assert_eq!(house.claim_word(&id, 2).await, "uncertain");
    assert_eq!(house.word(&id, complete(grant.token, "r")).await, "stored");
}

/// A server on the same database whose configuration says this about namespace `events`.
async fn configured(house: &House, retention: i64) -> Server {
    let settings = PolicySettings {
        retention_ms: retention as u64 * 1_000,
        ..settings()
    };
    let namespaces = vec![(name("events"), policy(settings))];
    let server = house.another_server().await;
    let seeded = Policies::seed(&server.store, None, namespaces).await;
    Server {
        policies: seeded.unwrap().into(),
        ..server
    }
}

async fn event_word(server: &Server, key: &str, event: Timestamp) -> &'static str {
    let id = key_in("events", key);
    let claim = Claim {
        event_time: Some(event),
        ..server.draft(&id, 1)
    };
    word(&server.ask(&id, claim).await)
}

pub async fn a_lengthened_retention_makes_older_events_too_old(house: House) {
    configured(&house, 100).await;
    let longer = configured(&house, 500).await;
    // Until now outcomes were kept for 100 s: older events may be forgotten already.
    assert_eq!(event_word(&longer, "a", at(-100)).await, "EVENT_TOO_OLD");
    assert_eq!(event_word(&longer, "b", at(-100) + TICK).await, "claimed");
    // What was claimed before the change is still forgotten after 100 s, also what another server
    // claimed that had not heard of it yet; what came later is kept for 500 s.
    house.clock.advance(secs(300));
    assert_eq!(
        event_word(&longer, "c", at(10) - TICK).await,
        "EVENT_TOO_OLD"
    );
    assert_eq!(event_word(&longer, "d", at(10)).await, "claimed");
}

pub async fn a_duplicate_does_not_slip_through_a_lengthened_retention(house: House) {
    let shorter = configured(&house, 100).await;
    let (id, event) = (key_in("events", "k"), at(-1));
    let claim = Claim {
        event_time: Some(event),
        ..shorter.draft(&id, 1)
    };
    let token = grant_of(shorter.ask(&id, claim).await).token;
    assert_eq!(shorter.word(&id, complete(token, "done")).await, "stored");
    let longer = configured(&house, 500).await;
    assert_eq!(event_word(&longer, "k", event).await, "completed");
    house.clock.advance(secs(100));
    assert_eq!(event_word(&longer, "k", event).await, "EVENT_TOO_OLD");
}

/// A server that has read these policies from its configuration.
async fn seeded(house: &House, others: Option<i64>, events: Option<i64>) -> Server {
    let kept = |secs: i64| {
        policy(PolicySettings {
            retention_ms: secs as u64 * 1_000,
            ..settings()
        })
    };
    let namespaces = events.map(|secs| (name("events"), kept(secs)));
    let namespaces = namespaces.into_iter().collect();
    let policies = Policies::seed(&house.store, others.map(kept), namespaces).await;
    Server {
        store: house.store.clone(),
        policies: policies.unwrap().into(),
        lanes: house.lanes.clone(),
    }
}

pub async fn a_namespace_that_gets_its_first_policy_remembers_what_it_had_before(house: House) {
    seeded(&house, Some(100), None).await;
    // Both in one configuration, and the one after the other.
    for (others, then) in [(Some(500), Some(500)), (None, Some(600))] {
        let longer = seeded(&house, others, then).await;
        let [old, young] = ["old", "young"].map(|age| format!("{age} under {then:?}"));
        assert_eq!(event_word(&longer, &old, at(-100)).await, "EVENT_TOO_OLD");
        assert_eq!(
            event_word(&longer, &young, at(-100) + TICK).await,
            "claimed"
        );
    }
}

pub async fn a_first_policy_inherits_the_memory_of_the_others(house: House) {
    seeded(&house, Some(100), None).await;
    seeded(&house, Some(500), None).await;
    house.clock.advance(secs(200));
    let own = seeded(&house, None, Some(500)).await;
    // Claimed under 100 s, before the others' retention was made longer.
    assert_eq!(event_word(&own, "a", at(-1)).await, "EVENT_TOO_OLD");
    assert_eq!(event_word(&own, "b", at(150)).await, "claimed");
}

pub async fn a_configuration_that_says_nothing_of_the_others_leaves_their_policy(house: House) {
    seeded(&house, Some(77), None).await;
    let silent = seeded(&house, None, None).await;
    let others = silent.policies.of(&name("nobody"));
    assert_eq!(others.policy.retention(), secs(77));
}

pub async fn a_shortened_retention_makes_no_event_too_old_that_was_not(house: House) {
    configured(&house, 500).await;
    let shorter = configured(&house, 100).await;
    assert_eq!(event_word(&shorter, "a", at(-100) + TICK).await, "claimed");
    assert_eq!(event_word(&shorter, "b", at(-100)).await, "EVENT_TOO_OLD");
    assert_eq!(rows(&house).await[0].memory.shorter_until, Timestamp::MIN);
}

pub async fn starting_again_with_the_same_configuration_changes_nothing(house: House) {
    configured(&house, 100).await;
    house.clock.advance(secs(50));
    house.writing_nothing(configured(&house, 100)).await;
}

pub async fn a_store_that_is_open_is_ready(house: House) {
    house.store.ready().await.unwrap();
    house.database.close().await;
    let closed = house.store.ready().await;
    assert!(
        matches!(closed, Err(StoreError::Unavailable(_))),
        "{closed:?}"
    );
    let refused = house.claim(&order("k"), 1).await;
    assert_eq!(word(&refused), "UNAVAILABLE", "fail closed: {refused:?}");
}
