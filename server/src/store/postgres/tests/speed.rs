//! How fast it is, to see that nothing is silly. Run by hand:
//! `cargo test --release -p semel-server --lib postgres::tests::speed -- --ignored --nocapture`

use std::time::Instant;

use super::*;

#[tokio::test]
#[ignore = "a measurement"]
async fn speed() {
    for size in [1, 4, 16, 64, 256, 512] {
        let fresh = Fresh::open().await;
        let rounds = (16_384 / size).min(2_000);
        let batches: Vec<_> = (0..rounds)
            .map(|round| testing::ids(&format!("{round}"), size))
            .collect();
        let body = bytes::Bytes::from_static(&[3; 100]);
        let started = Instant::now();
        let mut tokens = Vec::new();
        for batch in &batches {
            tokens.push(testing::claim_all(&fresh.store, batch).await);
        }
        let claimed = started.elapsed();
        let started = Instant::now();
        for batch in &batches {
            let refs: Vec<_> = batch.iter().collect();
            fresh.store.load(0, &refs).await.unwrap();
        }
        let loaded = started.elapsed();
        let started = Instant::now();
        for batch in &batches {
            let records: Vec<_> = batch.iter().map(testing::claim).collect();
            testing::insert(&fresh.store, &records).await;
        }
        let repeated = started.elapsed();
        let started = Instant::now();
        for (batch, tokens) in batches.iter().zip(&tokens) {
            testing::complete_all(&fresh.store, batch, tokens, &body).await;
        }
        let completed = started.elapsed();
        let rows = (rounds * size) as f64;
        println!(
            "{size:>4} rows a call: claim {:>7.0}/s  load {:>7.0}/s  duplicate {:>7.0}/s  \
             complete {:>7.0}/s  HOT {:.3}",
            rows / claimed.as_secs_f64(),
            rows / loaded.as_secs_f64(),
            rows / repeated.as_secs_f64(),
            rows / completed.as_secs_f64(),
            plans::hot_ratio(&fresh).await,
        );
    }
}
