//! Policies, namespaces and readiness.

use sqlx::{Row, SqliteConnection};

use super::{
    connection::{Read, Write},
    fault::CallError,
};
use crate::{
    key::{Namespace, PolicyId, Span, Timestamp},
    store::{NamespaceRow, PolicyTaken},
};

pub(super) struct Policies;

impl Read for Policies {
    type Answer = Vec<(PolicyId, String)>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Self::Answer, CallError> {
        let rows = sqlx::query(include_str!("sql/policies.sql"))
            .fetch_all(connection)
            .await?;
        rows.iter()
            .map(|row| Ok((PolicyId::from_i64(row.try_get(0)?), row.try_get(1)?)))
            .collect()
    }
}

pub(super) struct Namespaces;

impl Read for Namespaces {
    type Answer = Vec<NamespaceRow>;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Self::Answer, CallError> {
        let rows = sqlx::query(include_str!("sql/namespaces.sql"))
            .fetch_all(connection)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(NamespaceRow::from_columns(
                    row.try_get(0)?,
                    row.try_get(1)?,
                    row.try_get(2)?,
                    row.try_get(3)?,
                )?)
            })
            .collect()
    }
}

pub(super) struct PutPolicy<'a> {
    pub(super) id: PolicyId,
    pub(super) text: &'a str,
}

impl Write for PutPolicy<'_> {
    type Answer = ();

    fn is_one_statement(&self) -> bool {
        false
    }

    async fn run(&self, connection: &mut SqliteConnection, _: Timestamp) -> Result<(), CallError> {
        sqlx::query(include_str!("sql/put_policy.sql"))
            .bind(self.id.as_i64())
            .bind(self.text)
            .execute(&mut *connection)
            .await?;
        let standing: String = sqlx::query_scalar(include_str!("sql/policy.sql"))
            .bind(self.id.as_i64())
            .fetch_one(connection)
            .await?;
        PolicyTaken::check(self.id, &standing, self.text)?;
        Ok(())
    }
}

pub(super) struct PutNamespace<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) policy: PolicyId,
    pub(super) remembered_until_now: Option<Span>,
}

impl Write for PutNamespace<'_> {
    type Answer = ();

    fn is_one_statement(&self) -> bool {
        true
    }

    async fn run(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<(), CallError> {
        sqlx::query(include_str!("sql/put_namespace.sql"))
            .bind(now.as_micros())
            .bind(self.namespace.as_str())
            .bind(self.policy.as_i64())
            .bind(self.remembered_until_now.map(Span::as_micros))
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// That the write lock can be had. Nothing is written, so nothing is synced either.
pub(super) struct Ready;

impl Write for Ready {
    type Answer = ();

    fn is_one_statement(&self) -> bool {
        false
    }

    async fn run(&self, _: &mut SqliteConnection, _: Timestamp) -> Result<(), CallError> {
        Ok(())
    }
}
