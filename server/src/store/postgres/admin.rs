//! Policies, namespaces and readiness.

use sqlx::{PgConnection, Row};

use super::{fault::CallError, slot::Statement};
use crate::{
    key::{Namespace, PolicyId, Span},
    store::{NamespaceRow, PolicyTaken, StoreError},
};

pub(super) struct Policies;

impl Statement for Policies {
    type Answer = Vec<(PolicyId, String)>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Answer, CallError> {
        let rows = sqlx::query(include_str!("sql/policies.sql"))
            .fetch_all(connection)
            .await?;
        rows.iter()
            .map(|row| Ok((PolicyId::from_i64(row.try_get(0)?), row.try_get(1)?)))
            .collect()
    }
}

pub(super) struct Namespaces;

impl Statement for Namespaces {
    type Answer = Vec<NamespaceRow>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Answer, CallError> {
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

impl Statement for PutPolicy<'_> {
    type Answer = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), CallError> {
        let done = sqlx::query(include_str!("sql/put_policy.sql"))
            .bind(self.id.as_i64())
            .bind(self.text)
            .execute(&mut *connection)
            .await?;
        if done.rows_affected() == 1 {
            return Ok(());
        }
        let standing: String = sqlx::query_scalar(include_str!("sql/policy.sql"))
            .bind(self.id.as_i64())
            .fetch_one(connection)
            .await?;
        PolicyTaken::check(self.id, &standing, self.text)?;
        Ok(())
    }
}

pub(super) struct PutNamespace<'a> {
    pub(super) now_us: Option<i64>,
    pub(super) namespace: &'a Namespace,
    pub(super) policy: PolicyId,
    pub(super) remembered_until_now: Option<Span>,
}

impl Statement for PutNamespace<'_> {
    type Answer = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), CallError> {
        sqlx::query(include_str!("sql/put_namespace.sql"))
            .bind(self.now_us)
            .bind(self.namespace.as_str())
            .bind(self.policy.as_i64())
            .bind(self.remembered_until_now.map(Span::as_micros))
            .execute(connection)
            .await?;
        Ok(())
    }
}

pub(super) struct Ready;

#[derive(Debug, thiserror::Error)]
#[error("the database takes no writes: it is a standby or read-only")]
struct ReadOnly;

impl Statement for Ready {
    type Answer = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<(), CallError> {
        let writable: bool = sqlx::query_scalar(include_str!("sql/ready.sql"))
            .fetch_one(connection)
            .await?;
        if writable {
            Ok(())
        } else {
            Err(StoreError::unavailable(ReadOnly).into())
        }
    }
}
