//! Servers that die, hang, come back, and other servers in the way.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::{key::Record, store::Swap};

#[tokio::test]
async fn a_lane_whose_backend_was_killed_connects_again() {
    let fresh = Fresh::open().await;
    let ids = testing::ids("n", 3);
    testing::claim_all(&fresh.store, &ids[..1]).await;
    fresh.ask(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE application_name = 'semel' AND datname = current_database()",
    );
    let record = testing::claim(&ids[1]);
    let lost = fresh.store.insert_if_absent(0, &[&record]).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    testing::claim_all(&fresh.store, &ids[2..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_is_unavailable_until_it_is_back() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start().unwrap())
        .await
        .unwrap();
    cluster.create_database("kill").unwrap();
    let options = PostgresOptions {
        migrate: true,
        connect_timeout: Duration::from_secs(2),
        ..PostgresOptions::new(cluster.url("kill"))
    };
    let store = PostgresStore::open(&options).await.unwrap();
    let ids = testing::ids("n", 2);
    testing::claim_all(&store, &ids[..1]).await;
    cluster.kill().unwrap();
    for _ in 0..3 {
        let record = testing::claim(&ids[1]);
        let away = store.insert_if_absent(0, &[&record]).await;
        assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
    }
    assert!(store.ready().await.is_err());
    cluster.restart().unwrap();
    store.ready().await.unwrap();
    assert!(
        testing::load(&store, &ids[0]).await.is_some(),
        "what was acknowledged is there"
    );
    // The first call of a lane may still find the connection that the crash has ended.
    testing::claim_all(&store, &ids[1..]).await;
}

#[tokio::test]
async fn a_database_that_hangs_does_not_hang_the_readiness_check() {
    // A port that takes connections and says nothing is what a stopped server looks like.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fresh = Fresh::open().await;
    let address = format!("postgres://postgres@{}/x", deaf.local_addr().unwrap());
    let store = PostgresStore {
        connector: Connector::new(&PostgresOptions::new(address)).unwrap(),
        ..fresh.store
    };
    let started = std::time::Instant::now();
    assert!(matches!(
        store.ready().await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let fresh = Fresh::open().await;
    fresh.store.close().await;
    assert!(matches!(
        fresh.store.ready().await,
        Err(StoreError::Unavailable(_))
    ));
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE application_name = 'semel' AND datname = current_database()";
    assert_eq!(fresh.ask(open), "0");
}

#[tokio::test]
async fn a_weaker_default_of_synchronous_commit_is_overridden() {
    let fresh = Fresh::open().await;
    for (default, expected) in [
        ("off", "on"),
        ("local", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        let alter = format!(
            "ALTER DATABASE {} SET synchronous_commit = {default}",
            fresh.database
        );
        fresh.cluster.query("postgres", &alter).unwrap();
        let mut connection = fresh.connection(Session::Lane).await;
        let level: String = sqlx::query_scalar("SHOW synchronous_commit")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(level, expected);
    }
}

/// Two servers on the same keys, one going up and one going down through them, with everything
/// that takes locks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_of_two_servers_never_wait_for_each_other_in_a_circle() {
    let fresh = Fresh::open().await;
    let fresh = Arc::new(fresh);
    let ids = Arc::new(testing::ids("n", 200));
    // Both set out at the same time, or their batches would seldom meet.
    let start = Arc::new(tokio::sync::Barrier::new(2));
    let rounds = 12;
    let tasks: Vec<_> = [false, true]
        .into_iter()
        .map(|backwards| {
            let (fresh, ids, start) = (fresh.clone(), ids.clone(), start.clone());
            tokio::spawn(async move {
                let store = fresh.another(Clock::Store).await;
                let mut ids = ids.to_vec();
                if backwards {
                    ids.reverse();
                }
                for round in 0..rounds {
                    let mut new = testing::ids(&format!("new-{round}"), 200);
                    if backwards {
                        new.reverse();
                    }
                    start.wait().await;
                    hammer(&store, &new, round).await;
                    start.wait().await;
                    hammer(&store, &ids, round).await;
                }
            })
        })
        .collect();
    let purger = {
        let fresh = fresh.clone();
        tokio::spawn(async move {
            let store = fresh.another(Clock::Store).await;
            for _ in 0..rounds {
                fresh.ask("UPDATE sweeps SET sweep_at_us = 0 RETURNING 1");
                testing::purge_all(&store).await;
            }
        })
    };
    for task in tasks {
        task.await.unwrap();
    }
    purger.await.unwrap();
    assert_eq!(fresh.deadlocks().await, "0");
}

async fn hammer(store: &PostgresStore, ids: &[crate::key::KeyId], round: usize) {
    let records: Vec<_> = ids
        .iter()
        .map(|id| {
            let mut record = testing::claim(id);
            // Due for the purge at once, and past its retention soon after.
            record.sweep_after = crate::key::Span::from_micros(1);
            record
        })
        .collect();
    testing::insert(store, &records).await;
    let refs: Vec<_> = ids.iter().collect();
    let loaded = store.load(round % 4, &refs).await.unwrap();
    let standing: Vec<(_, Record)> = ids
        .iter()
        .zip(loaded.records)
        .filter_map(|(id, record)| Some((id, record?)))
        .collect();
    let changed: Vec<Record> = standing
        .iter()
        .map(|(_, record)| Record {
            revision: record.revision + 1,
            state: crate::key::State::Dead {
                settled: crate::key::Settled {
                    at: loaded.now,
                    expires_at: loaded.now + crate::key::Span::from_millis(5),
                },
            },
            ..record.clone()
        })
        .collect();
    let swaps: Vec<_> = standing
        .iter()
        .zip(&changed)
        .map(|((id, record), changed)| Swap {
            id,
            expected_fence: record.fence,
            expected_revision: record.revision,
            record: changed,
        })
        .collect();
    store.compare_and_swap(round % 4, &swaps).await.unwrap();
    let (ids, tokens): (Vec<_>, Vec<_>) = standing
        .iter()
        .map(|(id, record)| ((*id).clone(), record.token()))
        .unzip();
    testing::complete_all(store, &ids, &tokens, &Bytes::new()).await;
}
