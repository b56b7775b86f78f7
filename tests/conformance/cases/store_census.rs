//! The census: every key is counted once, by how it stands now.

use std::collections::BTreeMap;

use semel_server::store::{CensusGroup, CensusPlace, Stands};

use super::*;

semel_tests::cases!(store_census:
    every_key_is_counted_by_how_it_stands_and_since_when,
    a_large_table_is_counted_part_by_part_and_completely,
    an_empty_table_is_counted_at_once,
);

/// All parts, one after the other.
async fn counted(house: &House) -> (Vec<CensusGroup>, usize) {
    let (mut groups, mut parts) = (Vec::new(), 0);
    let mut place = Some(CensusPlace::default());
    while let Some(from) = place {
        let part = house.store.census(from).await.expect("it counts");
        let part = part.expect("nobody else counts");
        groups.extend(part.groups);
        parts += 1;
        place = part.next;
    }
    (groups, parts)
}

pub async fn every_key_is_counted_by_how_it_stands_and_since_when(house: House) {
    let states = [
        ("completed", completed("r")),
        ("failed", failed("f")),
        ("resting", resting()),
        ("dead", dead()),
        ("uncertain", uncertain()),
        ("held", in_progress()),
    ];
    for (key, state) in states {
        plant(&house.store, &order(key), &record(state)).await;
    }
    plant(&house.store, &bulk("held"), &record(in_progress())).await;
    let of = |groups: Vec<CensusGroup>| -> BTreeMap<(String, Stands), (u64, Timestamp)> {
        let each = groups.into_iter().map(|group| {
            assert_eq!(group.policy, policy_id());
            let key = (group.namespace.to_string(), group.stands);
            (key, (group.count, group.oldest))
        });
        each.collect()
    };
    let orders = |stands| ("orders".to_owned(), stands);

    house.clock.set(at(7));
    let now = of(counted(&house).await.0);
    let mut expected = BTreeMap::from([
        (orders(Stands::Completed), (1, at(6))),
        (orders(Stands::Failed), (1, at(6))),
        (orders(Stands::BackingOff), (1, at(6))),
        (orders(Stands::Dead), (1, at(6))),
        (orders(Stands::Uncertain), (1, at(6))),
        (orders(Stands::InProgress), (1, at(5))),
        (("bulk".to_owned(), Stands::InProgress), (1, at(5))),
    ]);
    assert_eq!(now, expected);

    // The leases of ten seconds are over.
    house.clock.set(at(10));
    let now = of(counted(&house).await.0);
    for namespace in ["orders", "bulk"] {
        expected.remove(&(namespace.to_owned(), Stands::InProgress));
        let lapsed = (namespace.to_owned(), Stands::Lapsed);
        expected.insert(lapsed, (1, at(10)));
    }
    assert_eq!(now, expected);

    // And so is the retention of what is settled.
    let end = at(6) + RETENTION;
    house.clock.set(end);
    let now = of(counted(&house).await.0);
    let expected = BTreeMap::from([
        (orders(Stands::Expired), (4, end)),
        (orders(Stands::Uncertain), (1, at(6))),
        (orders(Stands::Lapsed), (1, at(10))),
        (("bulk".to_owned(), Stands::Lapsed), (1, at(10))),
    ]);
    assert_eq!(now, expected);
}

pub async fn a_large_table_is_counted_part_by_part_and_completely(house: House) {
    let delivery = noise(900);
    let mut left = 5_000;
    for batch in orders("k", left).chunks(LARGEST_BATCH) {
        let new = |id| NewRecord {
            delivery: Some(delivery.clone()),
            ..new_record(id, 1)
        };
        let new: Vec<_> = batch.iter().map(new).collect();
        insert_all(&house.store, &new).await;
        left -= batch.len();
    }
    assert_eq!(left, 0);
    let (groups, parts) = counted(&house).await;
    assert!(parts > 1, "in one part");
    let sum: u64 = groups.iter().map(|group| group.count).sum();
    assert_eq!(sum, 5_000);
}

pub async fn an_empty_table_is_counted_at_once(house: House) {
    let (groups, parts) = counted(&house).await;
    assert_eq!((groups.len(), parts), (0, 1));
}
