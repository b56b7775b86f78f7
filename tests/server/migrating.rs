//! `semel migrate`, on both engines.

use std::sync::Arc;

use semel_tests::Postgres;
use tokio::task::JoinSet;

use crate::support::*;

async fn migrate(place: &[&str]) {
    let ended = Process::finish(semel(&[&["migrate"], place].concat())).await;
    ended.expect(0);
    assert_eq!(ended.stdout, "the schema is up to date\n");
}

#[tokio::test]
async fn an_embedded_file_is_migrated_once_and_told_again() {
    let scratch = Scratch::new();
    let data = scratch.path("deep/down/data");
    for _ in 0..2 {
        migrate(&["--data-dir", data.to_str().unwrap()]).await;
    }
    assert!(data.join("semel.db").is_file());
}

#[tokio::test]
async fn a_postgres_is_migrated_by_many_at_once_and_then_served_without() {
    on_postgres(|database: Arc<Postgres>| async move {
        let several: JoinSet<_> = (0..3)
            .map(|_| {
                let url = database.url();
                async move { migrate(&["--database-url", &url]).await }
            })
            .collect();
        several.join_all().await;
        migrate(&["--database-url", &database.url()]).await;

        let url = database.url();
        let mut command = semel(&["serve", "--listen", "127.0.0.1:0", "--no-migrate"]);
        command.args(["--log-format", "json", "--database-url", &url]);
        let server = Process::start(command);
        let address = server.serving().await;
        claimed(&mut Wire::connect(address).await.client(), claim("k", 1)).await;
        server.signal("TERM").await;
        server.ended().await.expect_code(0);
    })
    .await;
}
