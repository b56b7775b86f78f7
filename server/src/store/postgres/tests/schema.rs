//! Migrations.

use super::*;

async fn open(cluster: &Cluster, database: &str) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(&PostgresOptions::new(cluster.url(database))).await
}

#[tokio::test]
async fn a_missing_schema_is_named_and_what_to_do_about_it() {
    let (cluster, database) = empty_database();
    let error = open(cluster, &database).await.unwrap_err();
    assert!(matches!(error, OpenError::SchemaMissing));
    assert!(error.to_string().contains("semel migrate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_migrate_at_once_wait_for_each_other() {
    let (cluster, database) = empty_database();
    let options = PostgresOptions::new(cluster.url(&database));
    let migrations: Vec<_> = (0..6)
        .map(|_| {
            let options = options.clone();
            tokio::spawn(async move { PostgresStore::migrate(&options).await })
        })
        .collect();
    for migration in migrations {
        migration.await.unwrap().unwrap();
    }
    open(cluster, &database).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_is_not_this_binarys_is_refused() {
    for (change, expected) in [
        (
            "INSERT INTO semel_migrations (version, description, success, checksum, execution_time)
             VALUES (9, 'later', true, '', 0)",
            "the schema is at version 9 and this binary knows 1 only",
        ),
        (
            "UPDATE semel_migrations SET checksum = ''",
            "migration 1 of the schema is not the one",
        ),
        (
            "UPDATE semel_migrations SET success = false",
            "migration 1 of the schema was broken off",
        ),
    ] {
        let fresh = Fresh::open().await;
        fresh.cluster.query(&fresh.database, change).unwrap();
        let options = PostgresOptions::new(fresh.cluster.url(&fresh.database));
        for error in [
            PostgresStore::open(&options).await.unwrap_err(),
            PostgresStore::migrate(&options).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
    let fresh = Fresh::open().await;
    fresh
        .cluster
        .query(&fresh.database, "DELETE FROM semel_migrations")
        .unwrap();
    let error = open(fresh.cluster, &fresh.database).await.unwrap_err();
    assert!(matches!(error, OpenError::SchemaMissing), "{error}");
}

#[tokio::test]
async fn an_address_that_is_wrong_says_so_without_its_password() {
    let (cluster, _) = empty_database();
    let refused = open(cluster, "no_such_database").await.unwrap_err();
    assert!(matches!(refused, OpenError::Refused { .. }), "{refused}");
    for (url, expected) in [
        (
            "postgres://u:hunter2@127.0.0.1:1/db",
            "cannot reach the database at 127.0.0.1:1/db",
        ),
        ("u:hunter2@localhost", "the database address is not one"),
        (
            "mysql://u:hunter2@localhost/db",
            "the database address is not one",
        ),
        (
            "postgres://u:hunter2@127.0.0.1:port/db",
            "the database address is not one",
        ),
    ] {
        let options = PostgresOptions::new(url);
        let error = PostgresStore::open(&options).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(
            !format!("{error:?} {error} {options:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}
