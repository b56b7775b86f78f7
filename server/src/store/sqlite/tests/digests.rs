//! Two keys of one digest, as if somebody had found them: the rows are written by hand.

use bytes::Bytes;

use super::*;
use crate::key::{Record, Token};

/// Claims `claimed`, and files its row under the digest of `other`. A store that opens finds it there.
async fn in_the_place_of(fresh: &mut Fresh, claimed: &KeyId, other: &KeyId) -> Token {
    let token = testing::claim_all(&fresh.store, std::slice::from_ref(claimed)).await[0];
    let moved = fresh.connection().execute(
        "UPDATE records SET digest = ?1 WHERE namespace = ?2 AND key = ?3",
        (
            other.digest(),
            claimed.namespace().as_str(),
            claimed.key().as_str(),
        ),
    );
    assert_eq!(moved.unwrap(), 1);
    fresh.reopen(key_index::KEPT).await;
    token
}

/// The whole table, as text.
fn rows(fresh: &Fresh) -> Vec<String> {
    let connection = fresh.connection();
    let mut all = connection.prepare("SELECT * FROM records").unwrap();
    let columns = all.column_count();
    let rows = all.query_map([], |row| {
        let values = (0..columns).map(|n| row.get_ref(n).map(|value| format!("{value:?}")));
        values.collect::<rusqlite::Result<Vec<_>>>()
    });
    rows.unwrap().map(|row| row.unwrap().join(" ")).collect()
}

#[tokio::test]
async fn one_is_never_taken_for_the_other() {
    let mut fresh = Fresh::open().await;
    let other_namespace = KeyId::parse("invoices", "asked").unwrap();
    for asked in [testing::id("asked"), other_namespace] {
        let standing = KeyId::parse("orders", &format!("in the place of {asked:?}")).unwrap();
        let token = in_the_place_of(&mut fresh, &standing, &asked).await;
        let before = rows(&fresh);

        // It cannot be claimed while the other is kept, and nothing of the other is shown.
        let claim = testing::claim(&asked);
        assert_eq!(
            testing::insert(&fresh.store, std::slice::from_ref(&claim)).await,
            [None]
        );
        assert_eq!(testing::load(&fresh.store, &asked).await, None);
        // Nor does the other's own token change it under this name.
        let ids = std::slice::from_ref(&asked);
        let done = testing::complete_all(&fresh.store, ids, &[token], &Bytes::new()).await;
        assert_eq!(done, [None]);
        let record: Record = claim.inserted(token.fence, START);
        let swap = Swap {
            id: &asked,
            expected_fence: token.fence,
            expected_revision: 1,
            record: &record,
        };
        assert_eq!(
            fresh.store.compare_and_swap(0, &[swap]).await.unwrap(),
            [false]
        );
        assert_eq!(rows(&fresh), before);
    }
}

#[tokio::test]
async fn once_the_other_is_purged_the_key_can_be_claimed() {
    let mut fresh = Fresh::open().await;
    let [asked, standing] = [testing::id("asked"), testing::id("standing")];
    let token = testing::claim_all(&fresh.store, std::slice::from_ref(&standing)).await[0];
    let ids = std::slice::from_ref(&standing);
    testing::complete_all(&fresh.store, ids, &[token], &Bytes::new()).await;
    fresh
        .connection()
        .execute("UPDATE records SET digest = ?1", [asked.digest()])
        .unwrap();
    fresh.reopen(key_index::KEPT).await;
    fresh.clock.advance(testing::RETENTION);
    fresh.clock.advance(Span::from_secs(30));
    assert_eq!(testing::purge_all(&fresh.store).await, (1, 0));
    let again = testing::claim_all(&fresh.store, std::slice::from_ref(&asked)).await[0];
    assert!(again.fence > token.fence);
}

#[tokio::test]
async fn a_digest_has_its_length() {
    let fresh = Fresh::open().await;
    testing::claim_all(&fresh.store, &[testing::id("n")]).await;
    let shorter = fresh
        .connection()
        .execute("UPDATE records SET digest = x'00'", []);
    assert!(shorter.unwrap_err().to_string().contains("CHECK"));
}
