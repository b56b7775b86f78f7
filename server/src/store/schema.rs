//! Migrations: which there are, which were applied, and applying the rest.

use std::borrow::Cow;

use sqlx::{
    SqlSafeStr,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
};

use super::OpenError;

/// Where the applied migrations are kept; a name of our own, so that another program in the same
/// database is not taken for an older or newer Semel.
const TABLE: &str = "semel_migrations";

/// One engine's migrations, oldest first: version, description, SQL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema(&'static [(i64, &'static str, &'static str)]);

pub(super) const POSTGRES: Schema = Schema(&[(
    1,
    "records",
    include_str!("../../../migrations/postgres/0001_records.sql"),
)]);

pub(super) const SQLITE: Schema = Schema(&[(
    1,
    "records",
    include_str!("../../../migrations/sqlite/0001_records.sql"),
)]);

impl Schema {
    fn migrator(self) -> Migrator {
        let mut migrator = Migrator::with_migrations(
            self.0
                .iter()
                .map(|(version, description, sql)| {
                    Migration::new(
                        *version,
                        Cow::Borrowed(*description),
                        MigrationType::Simple,
                        sql.into_sql_str(),
                        false,
                    )
                })
                .collect(),
        );
        migrator.dangerous_set_table_name(TABLE);
        migrator
    }

    fn known(self) -> i64 {
        self.0.last().map_or(0, |(version, ..)| *version)
    }

    /// Applies what is missing. Servers that do so at once wait for each other, where the engine
    /// has advisory locks.
    ///
    /// After an error the connection may still hold that lock, so it is to be closed.
    pub(super) async fn migrate<C: Migrate>(self, connection: &mut C) -> Result<(), OpenError> {
        // A newer schema first: the migrator would only say that a migration is unknown.
        if let Some(newest) = self.newest_applied(connection).await?
            && newest > self.known()
        {
            return Err(self.newer(newest));
        }
        self.migrator()
            .run_direct(None, connection, false)
            .await
            .map_err(|error| match error {
                MigrateError::VersionMissing(found) if found > self.known() => self.newer(found),
                error => failed(error),
            })
    }

    /// Whether the schema is the one that this binary was made for.
    pub(super) async fn check<C: Migrate>(self, connection: &mut C) -> Result<(), OpenError> {
        let Some(found) = self.newest_applied(connection).await? else {
            return Err(OpenError::SchemaMissing);
        };
        if found > self.known() {
            return Err(self.newer(found));
        }
        if let Some(version) = connection.dirty_version(TABLE).await.map_err(failed)? {
            return Err(OpenError::SchemaDirty { version });
        }
        let applied = connection
            .list_applied_migrations(TABLE)
            .await
            .map_err(failed)?;
        for migration in self.migrator().iter() {
            match applied.iter().find(|a| a.version == migration.version) {
                None => {
                    return Err(OpenError::SchemaOlder {
                        found,
                        known: self.known(),
                    });
                }
                Some(applied) if applied.checksum != migration.checksum => {
                    return Err(OpenError::SchemaChanged {
                        version: migration.version,
                    });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The newest migration that was applied; `None` when there is no schema of ours.
    async fn newest_applied<C: Migrate>(
        self,
        connection: &mut C,
    ) -> Result<Option<i64>, OpenError> {
        match connection.list_applied_migrations(TABLE).await {
            Ok(applied) => Ok(applied.iter().map(|migration| migration.version).max()),
            Err(MigrateError::Execute(sqlx::Error::Database(error)))
                if is_missing_table(&*error) =>
            {
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn newer(self, found: i64) -> OpenError {
        OpenError::SchemaNewer {
            found,
            known: self.known(),
        }
    }
}

fn is_missing_table(error: &dyn sqlx::error::DatabaseError) -> bool {
    // Postgres has a code for it; SQLite has its one code for everything, and a text.
    error.code().as_deref() == Some("42P01") || error.message().starts_with("no such table")
}

fn failed(error: MigrateError) -> OpenError {
    match error {
        MigrateError::VersionMismatch(version) | MigrateError::VersionMissing(version) => {
            OpenError::SchemaChanged { version }
        }
        MigrateError::Dirty(version) => OpenError::SchemaDirty { version },
        error => OpenError::Migration(error.into()),
    }
}
