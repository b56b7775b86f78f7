//! The store's load: what stands, in the order asked for, with the store's time.

use super::*;

semel_tests::cases!(store_load:
    an_absent_key_is_none_and_the_time_comes_along,
    records_come_in_the_order_asked_for_with_gaps_where_nothing_stands,
    a_record_past_its_retention_is_loaded_all_the_same,
    the_largest_batch_is_loaded_whole,
    a_load_of_large_results_is_whole,
    a_load_writes_nothing,
    a_load_through_another_server_sees_what_was_acknowledged,
    what_was_acknowledged_is_there_after_a_restart,
);

pub async fn an_absent_key_is_none_and_the_time_comes_along(house: House) {
    house.clock.set(at(77));
    let loaded = load(&house.store, &[order("k")]).await;
    assert_eq!((loaded.now, loaded.records), (at(77), vec![None]));
}

pub async fn records_come_in_the_order_asked_for_with_gaps_where_nothing_stands(house: House) {
    let ids = orders("k", 40);
    for (n, id) in (1..).zip(&ids).filter(|(n, _)| n % 2 == 0) {
        insert(&house.store, &new_record(id, n)).await.unwrap();
    }
    // Backwards, so that neither the order of the keys nor that of the inserts fits.
    let asked: Vec<_> = ids.into_iter().rev().collect();
    let loaded = load(&house.store, &asked).await.records;
    let holders: Vec<_> = loaded
        .iter()
        .map(|r| r.as_ref().map(|r| r.attempt_id))
        .collect();
    let expected: Vec<_> = (1..=40)
        .rev()
        .map(|n| (n % 2 == 0).then(|| attempt(n)))
        .collect();
    assert_eq!(holders, expected);
}

pub async fn a_record_past_its_retention_is_loaded_all_the_same(house: House) {
    let old = record(completed("r"));
    plant(&house.store, &order("k"), &old).await;
    house.clock.set(at(1_000_000));
    let loaded = load(&house.store, &[order("k")]).await;
    assert_eq!(
        (loaded.now, loaded.records),
        (at(1_000_000), vec![Some(old)])
    );
}

pub async fn the_largest_batch_is_loaded_whole(house: House) {
    let ids = orders("k", LARGEST_BATCH);
    let batch: Vec<_> = (1..).zip(&ids).map(|(n, id)| new_record(id, n)).collect();
    insert_all(&house.store, &batch).await;
    let loaded = load(&house.store, &ids).await.records;
    for (n, loaded) in (1..).zip(loaded) {
        assert_eq!(loaded.expect("it stands").attempt_id, attempt(n));
    }
}

pub async fn a_load_of_large_results_is_whole(house: House) {
    let ids = orders("k", 4);
    for (n, id) in ids.iter().enumerate() {
        let result = noise(2 * 1024 * 1024 + n);
        plant(&house.store, id, &record(completed(result))).await;
    }
    for (n, loaded) in load(&house.store, &ids)
        .await
        .records
        .into_iter()
        .enumerate()
    {
        let expected = completed(noise(2 * 1024 * 1024 + n));
        assert!(
            loaded.expect("it stands").state == expected,
            "result {n} differs"
        );
    }
}

pub async fn a_load_writes_nothing(house: House) {
    let ids = orders("k", 10);
    for id in &ids[..5] {
        insert(&house.store, &new_record(id, 1)).await.unwrap();
    }
    house.writing_nothing(load(&house.store, &ids)).await;
}

pub async fn a_load_through_another_server_sees_what_was_acknowledged(house: House) {
    let other = house.another_server().await;
    for id in orders("k", 20) {
        insert(&house.store, &new_record(&id, 1)).await.unwrap();
        let seen = other.standing(&id).await;
        let token = seen.token();
        complete_held(&other.store, &id, &token, "r").await.unwrap();
        let state = house.standing(&id).await.state;
        assert!(matches!(state, State::Completed { .. }), "{state:?}");
    }
}

pub async fn what_was_acknowledged_is_there_after_a_restart(mut house: House) {
    let ids = orders("k", 5);
    let states = [
        in_progress(),
        completed("r"),
        failed("f"),
        resting(),
        uncertain(),
    ];
    for (id, state) in ids.iter().zip(&states) {
        plant(&house.store, id, &record(state.clone())).await;
    }
    house.restart().await;
    let expected: Vec<_> = states
        .into_iter()
        .map(|state| Some(record(state)))
        .collect();
    assert_eq!(load(&house.store, &ids).await.records, expected);
}
