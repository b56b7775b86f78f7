//! Two keys of one digest, as if somebody had found them.

use bytes::Bytes;

use super::*;
use crate::key::KeyId;

const DIGEST: [u8; 16] = [9; 16];

/// Two such keys: in one bucket, and in two.
fn pairs() -> [[KeyId; 2]; 2] {
    let mut all = testing::ids("c", 600);
    all.sort_by_key(KeyId::bucket);
    let twins = all
        .windows(2)
        .find(|two| two[0].bucket() == two[1].bucket());
    let twins = twins.unwrap();
    let pairs = [
        [twins[0].clone(), twins[1].clone()],
        [all[0].clone(), all[599].clone()],
    ];
    assert_ne!(pairs[1][0].bucket(), pairs[1][1].bucket());
    pairs.map(|pair| pair.map(|id| id.with_digest(DIGEST)))
}

#[tokio::test]
async fn one_is_never_taken_for_the_other() {
    for [standing, asked] in pairs() {
        let in_one_bucket = standing.bucket() == asked.bucket();
        let fresh = Fresh::open().await;
        let token = testing::claim_all(&fresh.store, std::slice::from_ref(&standing)).await[0];
        let stands = testing::load(&fresh.store, &standing).await;

        // Nothing of the other is shown, and its token changes nothing under this name.
        assert_eq!(testing::load(&fresh.store, &asked).await, None);
        let ids = std::slice::from_ref(&asked);
        let done = testing::complete_all(&fresh.store, ids, &[token], &Bytes::new()).await;
        assert_eq!(done, [None]);
        let claim = testing::claim(&asked);
        let record = claim.clone().inserted(token.fence, START);
        let swap = Swap {
            id: &asked,
            expected_fence: token.fence,
            expected_revision: 1,
            record: &record,
        };
        let swapped = fresh.store.compare_and_swap(0, &[swap]).await.unwrap();
        assert_eq!(swapped, [false]);

        // In the other's bucket it cannot be claimed while that is kept.
        let inserted = testing::insert(&fresh.store, &[claim]).await;
        assert_eq!(inserted[0].is_none(), in_one_bucket);
        assert_eq!(testing::load(&fresh.store, &standing).await, stands);
    }
}

#[tokio::test]
async fn in_one_batch_each_is_told_its_own() {
    for [standing, asked] in pairs() {
        for new in [false, true] {
            let fresh = Fresh::open().await;
            let token = testing::claim_all(&fresh.store, std::slice::from_ref(&standing)).await;
            let ids = std::slice::from_ref(&standing);
            testing::complete_all(&fresh.store, ids, &token, &Bytes::from_static(b"paid")).await;
            if new {
                expect_new_keys(&fresh).await;
            }
            let mut batch = vec![testing::claim(&standing), testing::claim(&asked)];
            batch.extend(testing::ids("others", 30).iter().map(testing::claim));
            let refs: Vec<_> = batch.iter().collect();
            let inserted = fresh.store.insert_if_absent(0, &refs).await;
            if standing.bucket() == asked.bucket() {
                // They have to come one by one.
                assert!(matches!(inserted, Err(StoreError::Rejected(_))));
                continue;
            }
            let inserted = inserted.unwrap();
            assert_eq!(inserted[0], None, "it is completed");
            assert!(inserted[1..].iter().all(Option::is_some));
        }
    }
}
