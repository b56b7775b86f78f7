//! The index that is partly in memory: beside a plain map, through crashes and changes by hand.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::*;
use crate::key::Token;

/// Digests kept in memory: so few that they go to the table all the time.
const FEW: usize = 8;

fn count(fresh: &Fresh, query: &str) -> i64 {
    let connection = fresh.connection();
    connection.query_one(query, [], |row| row.get(0)).unwrap()
}

/// What must hold in the file after each commit.
fn check_file(fresh: &Fresh) {
    for (what, query) in [
        (
            "records that a start would not find",
            "SELECT count(*) FROM records AS r
             WHERE r.id < (SELECT indexed_below FROM key_index_state) AND NOT EXISTS (
                 SELECT 1 FROM key_index AS k WHERE k.digest = r.digest AND k.record_id = r.id
             )",
        ),
        (
            "records under another's digest",
            "SELECT count(*) - count(DISTINCT digest) FROM records",
        ),
    ] {
        assert_eq!(count(fresh, query), 0, "{what}");
    }
}

/// What does hold too, unless somebody deletes records by hand while the store is open.
fn check_entries(fresh: &Fresh) {
    let of_no_record = "SELECT count(*) FROM key_index AS k WHERE NOT EXISTS (
                            SELECT 1 FROM records AS r WHERE r.id = k.record_id AND r.digest = k.digest
                        )";
    assert_eq!(count(fresh, of_no_record), 0);
}

/// A store, and what must stand in it.
struct Pair {
    fresh: Fresh,
    standing: BTreeMap<String, Token>,
    rng: StdRng,
}

impl Pair {
    async fn open(seed: u64) -> Self {
        let fresh = Fresh::keeping(FEW).await;
        let bad = "CREATE TRIGGER bad BEFORE INSERT ON records WHEN new.key = 'bad'
                   BEGIN SELECT raise(ABORT, 'no such keys here'); END";
        fresh.connection().execute_batch(bad).unwrap();
        Self {
            fresh,
            standing: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    fn some_names(&mut self) -> Vec<String> {
        let most = *[1, 3, 20].choose(&mut self.rng).unwrap();
        let names = (0..most).map(|_| format!("n-{}", self.rng.random_range(0..80)));
        let mut names: Vec<_> = names.collect();
        names.sort();
        names.dedup();
        names
    }

    async fn claim(&mut self) {
        let names = self.some_names();
        let claims: Vec<_> = names
            .iter()
            .map(|name| testing::claim(&testing::id(name)))
            .collect();
        let inserted = testing::insert(&self.fresh.store, &claims).await;
        for ((name, claim), inserted) in names.into_iter().zip(claims).zip(inserted) {
            assert_eq!(inserted.is_none(), self.standing.contains_key(&name));
            if let Some(inserted) = inserted {
                let token = claim.inserted(inserted.fence, inserted.now).token();
                self.standing.insert(name, token);
            }
        }
    }

    /// A batch of which nothing must stay.
    async fn claim_and_fail(&mut self) {
        let mut names = self.some_names();
        names.push("bad".into());
        let claims = names.iter().map(|name| testing::claim(&testing::id(name)));
        let claims: Vec<_> = claims.collect();
        let claims: Vec<_> = claims.iter().collect();
        let refused = self.fresh.store.insert_if_absent(0, &claims).await;
        assert!(matches!(refused, Err(StoreError::Rejected(_))));
    }

    async fn complete(&mut self) {
        let names = self.some_names();
        let stands = names
            .iter()
            .filter_map(|it| self.standing.get_key_value(it));
        let (ids, tokens): (Vec<_>, Vec<_>) = stands
            .map(|(name, token)| (testing::id(name), *token))
            .unzip();
        testing::complete_all(&self.fresh.store, &ids, &tokens, &Bytes::new()).await;
    }

    /// Some time passes, and the purge takes what it takes.
    async fn purge(&mut self) {
        self.fresh.clock.advance(Span::from_secs(100));
        testing::purge_all(&self.fresh.store).await;
        let connection = self.fresh.connection();
        let mut left = connection.prepare("SELECT key FROM records").unwrap();
        let left = left.query_map([], |row| row.get(0)).unwrap();
        let left = left.collect::<rusqlite::Result<Vec<String>>>().unwrap();
        self.standing.retain(|name, _| left.contains(name));
    }

    fn delete_by_hand(&mut self) {
        for name in self.some_names() {
            let delete = "DELETE FROM records WHERE key = ?1";
            let deleted = self.fresh.connection().execute(delete, [&name]);
            let stood = self.standing.remove(&name).is_some();
            assert_eq!(deleted.unwrap(), usize::from(stood));
        }
    }

    /// Goes on with the files as they are after a power cut.
    async fn crash(&mut self) {
        let directory = tempfile::tempdir().unwrap();
        for file in ["semel.db", "semel.db-wal"] {
            let from = self.fresh.directory.path().join(file);
            fs::copy(from, directory.path().join(file)).unwrap();
        }
        let clock = self.fresh.clock.clone();
        let store = open(directory.path(), &clock, FEW).await.unwrap();
        self.fresh = Fresh {
            directory,
            clock,
            store,
        };
    }

    async fn check(&self) {
        check_file(&self.fresh);
        let ids = testing::ids("n", 80);
        let refs: Vec<_> = ids.iter().collect();
        let loaded = self.fresh.store.load(0, &refs).await.unwrap();
        for (id, record) in ids.iter().zip(loaded.records) {
            let stands = self.standing.get(id.key().as_str());
            assert_eq!(record.map(|it| it.token()), stands.copied(), "{id:?}");
        }
    }
}

#[tokio::test]
async fn it_finds_what_stands_through_crashes_purges_failures_and_changes_by_hand() {
    for seed in 0..20 {
        let mut pair = Pair::open(seed).await;
        let by_hand = seed % 2 == 0;
        for _ in 0..60 {
            match pair.rng.random_range(0..12) {
                0..5 => pair.claim().await,
                5..7 => pair.complete().await,
                7 => pair.claim_and_fail().await,
                8 => pair.purge().await,
                9 if by_hand => pair.delete_by_hand(),
                10 => pair.crash().await,
                _ => pair.fresh.reopen(FEW).await,
            }
            pair.check().await;
            if !by_hand {
                check_entries(&pair.fresh);
            }
        }
    }
}

#[tokio::test]
async fn memory_keeps_few_and_a_start_reads_not_many_more() {
    let fresh = Fresh::keeping(FEW).await;
    for round in 0..200 {
        testing::claim_all(&fresh.store, &testing::ids(&format!("r{round}"), 3)).await;
        check_file(&fresh);
        let entries = count(&fresh, "SELECT count(*) FROM key_index");
        assert!(3 * (round + 1) - entries <= FEW as i64);
        let read = "SELECT count(*) FROM records
                    WHERE id >= (SELECT indexed_below FROM key_index_state)";
        assert!(count(&fresh, read) <= 5 * FEW as i64);
    }
}

#[tokio::test]
async fn what_is_claimed_after_all_was_purged_is_found_at_the_next_start() {
    let mut fresh = Fresh::keeping(FEW).await;
    for round in 0..20 {
        let ids = testing::ids(&format!("r{round}"), 20);
        let tokens = testing::claim_all(&fresh.store, &ids).await;
        testing::complete_all(&fresh.store, &ids, &tokens, &Bytes::new()).await;
    }
    assert!(count(&fresh, "SELECT indexed_below FROM key_index_state") > 200);
    fresh.clock.advance(Span::from_secs(100));
    assert_eq!(testing::purge_all(&fresh.store).await, (400, 0));
    assert_eq!(count(&fresh, "SELECT count(*) FROM key_index"), 0);
    // Twice, so that ids do not begin again from the start of the table either.
    for name in ["first", "second"] {
        fresh.reopen(FEW).await;
        testing::claim_all(&fresh.store, &[testing::id(name)]).await;
    }
    fresh.reopen(FEW).await;
    check_file(&fresh);
    for name in ["first", "second"] {
        assert!(
            testing::load(&fresh.store, &testing::id(name))
                .await
                .is_some()
        );
    }
}

/// The key that a round would begin with was deleted by hand and is claimed again at that moment.
#[tokio::test]
async fn a_round_that_begins_with_a_record_deleted_by_hand_leaves_none_behind() {
    let mut fresh = Fresh::keeping(2).await;
    let mut ids = testing::ids("n", 8);
    ids.sort_by(|one, other| one.digest().cmp(other.digest()));
    // Single claims, each of which moves one digest; the first two end up behind the cursor.
    for n in [4, 5, 6, 7, 1, 0] {
        testing::claim_all(&fresh.store, &ids[n..=n]).await;
    }
    let delete = "DELETE FROM records WHERE digest = ?1";
    let deleted = fresh.connection().execute(delete, [ids[0].digest()]);
    assert_eq!(deleted.unwrap(), 1);
    for n in [0, 2] {
        testing::claim_all(&fresh.store, &ids[n..=n]).await;
        check_file(&fresh);
    }
    fresh.reopen(2).await;
    assert!(testing::load(&fresh.store, &ids[1]).await.is_some());
}

#[tokio::test]
async fn two_records_of_one_key_are_refused_at_the_start() {
    for kept in [FEW, 0] {
        let fresh = Fresh::keeping(kept).await;
        testing::claim_all(&fresh.store, &testing::ids("n", 3)).await;
        let twice =
            "UPDATE records SET digest = (SELECT digest FROM records WHERE id = 1) WHERE id = 3";
        fresh.connection().execute(twice, []).unwrap();
        fresh.store.close().await;
        let refused = open(fresh.directory.path(), &fresh.clock, kept).await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("record 3 stands under a digest"), "{error}");
    }
}

#[tokio::test]
async fn an_entry_that_contradicts_the_memory_stops_claims_until_it_is_gone() {
    let fresh = Fresh::keeping(FEW).await;
    testing::claim_all(&fresh.store, &testing::ids("n", FEW)).await;
    let planted = "INSERT INTO key_index SELECT digest, 99 FROM records";
    fresh.connection().execute(planted, []).unwrap();
    for _ in 0..2 {
        let claim = testing::claim(&testing::id("more"));
        let refused = fresh.store.insert_if_absent(0, &[&claim]).await;
        assert!(
            matches!(&refused, Err(StoreError::Unavailable(_))),
            "{refused:?}"
        );
    }
    fresh
        .connection()
        .execute("DELETE FROM key_index", [])
        .unwrap();
    testing::claim_all(&fresh.store, &[testing::id("more")]).await;
}
