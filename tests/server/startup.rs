//! A server that cannot start says why and what to do, and ends with a code of its own.

use std::{fs, net::TcpListener, process, sync::Arc};

use semel_tests::Postgres;
use sqlx::{Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::support::*;

async fn serve(arguments: &[&str]) -> Ended {
    Process::finish(semel(
        &[&["serve", "--listen", "127.0.0.1:0"], arguments].concat(),
    ))
    .await
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = [
        "serve",
        "--listen",
        &address,
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let ended = Process::finish(semel(&arguments)).await;
    ended
        .expect(4)
        .says(&["cannot listen on", &address, "in use"]);
    // It has left the directory to the next one.
    let host = Host::on(&scratch, "").await;
    host.stop().await;
}

#[tokio::test]
async fn a_data_directory_that_another_server_has_is_named_with_its_owner() {
    let scratch = Scratch::new();
    let host = Host::on(&scratch, "").await;
    let data = scratch.path("data");
    let data = data.to_str().unwrap();
    let owner = format!("process {}", process::id());
    let says = [data, "in use by another server", &owner, "stop it"];
    serve(&["--data-dir", data]).await.expect(6).says(&says);
    let migrate = Process::finish(semel(&["migrate", "--data-dir", data])).await;
    migrate.expect(6).says(&says);
    // The one that has it goes on.
    claimed(&mut host.client().await, claim("k", 1)).await;
}

#[tokio::test]
async fn a_data_directory_that_is_none_or_holds_no_database_is_named() {
    let scratch = Scratch::new();
    let file = scratch.file("data", "not a directory");
    let file = file.to_str().unwrap();
    serve(&["--data-dir", file])
        .await
        .expect(5)
        .says(&[file, "must be a directory"]);

    let other = scratch.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("semel.db"), "no database at all".repeat(1_000)).unwrap();
    let ended = serve(&["--data-dir", other.to_str().unwrap()]).await;
    ended
        .expect(5)
        .says(&["semel.db", "is it a database of Semel"]);
}

#[tokio::test]
async fn a_database_that_is_away_is_named_without_its_password() {
    let port = free_port();
    let url = format!("postgres://semel:hunter2@127.0.0.1:{port}/orders");
    let address = format!("127.0.0.1:{port}/orders");
    for command in ["serve", "migrate"] {
        let ended = Process::finish(semel(&[command, "--database-url", &url])).await;
        ended.expect(5).hides("hunter2");
        ended.says(&["cannot reach the database", &address, "is it running"]);
    }
    // Also where it comes from the environment or a file.
    let mut command = semel(&["serve"]);
    command.env("SEMEL_DATABASE_URL", &url);
    Process::finish(command).await.expect(5).hides("hunter2");
    let scratch = Scratch::new();
    let config = scratch.file("semel.toml", &format!("database_url = \"{url}\""));
    serve(&["--config", config.to_str().unwrap()])
        .await
        .expect(5)
        .hides("hunter2");
}

#[tokio::test]
async fn a_database_that_refuses_us_is_named_without_its_password() {
    on_postgres(|database: Arc<Postgres>| async move {
        let url = database.url();
        let (server, _) = url.rsplit_once('/').unwrap();
        let url = format!("{}/nowhere", server.replacen("@", ":hunter2@", 1));
        let ended = serve(&["--database-url", &url]).await;
        ended
            .expect(5)
            .hides("hunter2")
            .says(&["refuses the connection", "nowhere"]);
    })
    .await;
}

#[tokio::test]
async fn an_address_that_cannot_be_read_is_not_repeated() {
    for bad in [
        "postgres://semel:hunter2@127.0.0.1:notaport/orders",
        "postgres://semel:hunter2@[::1/orders",
    ] {
        for command in ["serve", "migrate"] {
            let ended = Process::finish(semel(&[command, "--database-url", bad])).await;
            ended
                .expect(5)
                .hides("hunter2")
                .says(&["postgres://user@host"]);
        }
    }
}

#[tokio::test]
async fn an_unknown_flag_is_a_misuse() {
    serve(&["--speed", "fast"])
        .await
        .expect(2)
        .says(&["--speed"]);
    Process::finish(semel(&["fly"]))
        .await
        .expect(2)
        .says(&["fly"]);
    serve(&["--log-format", "xml"])
        .await
        .expect(2)
        .says(&["text", "json"]);
    Process::finish(semel(&[])).await.expect(2).says(&["Usage"]);
}

#[tokio::test]
async fn a_database_without_schema_is_not_touched_when_told_so() {
    on_postgres(|database: Arc<Postgres>| async move {
        let url = database.url();
        let arguments = ["--no-migrate", "--database-url", &url];
        serve(&arguments)
            .await
            .expect(7)
            .says(&["no Semel schema", "semel migrate"]);
        let mut connection = database.connect().await;
        let tables: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(tables, 0);
        connection.close().await.unwrap();
    })
    .await;
}

/// Says that migration 999 was applied.
const NEWER: &str = "INSERT INTO semel_migrations \
    (version, description, success, checksum, execution_time) \
    VALUES (999, 'from the future', true, '', 0)";

#[tokio::test]
async fn a_newer_schema_is_left_alone_by_postgres_users() {
    on_postgres(|database: Arc<Postgres>| async move {
        let url = database.url();
        let migrate = ["migrate", "--database-url", &url];
        Process::finish(semel(&migrate)).await.expect(0);
        let mut connection = database.connect().await;
        connection.execute(NEWER).await.unwrap();
        connection.close().await.unwrap();
        let says = ["version 999", "newer"];
        serve(&["--database-url", &url]).await.expect(7).says(&says);
        serve(&["--no-migrate", "--database-url", &url])
            .await
            .expect(7)
            .says(&says);
        Process::finish(semel(&migrate)).await.expect(7).says(&says);
    })
    .await;
}

#[tokio::test]
async fn a_newer_schema_is_left_alone_by_the_embedded_store() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let arguments = ["migrate", "--data-dir", data.to_str().unwrap()];
    Process::finish(semel(&arguments)).await.expect(0);
    let file = SqliteConnectOptions::new().filename(data.join("semel.db"));
    let mut connection = SqliteConnection::connect_with(&file).await.unwrap();
    connection.execute(NEWER).await.unwrap();
    connection.close().await.unwrap();
    let says = ["version 999", "newer"];
    serve(&["--data-dir", data.to_str().unwrap()])
        .await
        .expect(7)
        .says(&says);
    Process::finish(semel(&arguments))
        .await
        .expect(7)
        .says(&says);
}
