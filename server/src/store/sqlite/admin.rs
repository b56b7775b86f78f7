//! Policies and namespaces.

use rusqlite::{Transaction, params};

use super::fault::CallError;
use crate::{
    key::{Namespace, PolicyId, Span, Timestamp},
    store::{NamespaceRow, PolicyTaken},
};

pub(super) fn policies(
    transaction: &Transaction<'_>,
) -> Result<Vec<(PolicyId, String)>, CallError> {
    let policies = transaction
        .prepare_cached(include_str!("sql/policies.sql"))?
        .query_map([], |row| Ok((PolicyId::from_i64(row.get(0)?), row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(policies)
}

pub(super) fn namespaces(transaction: &Transaction<'_>) -> Result<Vec<NamespaceRow>, CallError> {
    let mut query = transaction.prepare_cached(include_str!("sql/namespaces.sql"))?;
    let mut rows = query.query([])?;
    let mut namespaces = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        namespaces.push(NamespaceRow::from_columns(
            &name,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
        )?);
    }
    Ok(namespaces)
}

pub(super) fn put_policy(
    transaction: &Transaction<'_>,
    id: PolicyId,
    text: &str,
) -> Result<(), CallError> {
    transaction
        .prepare_cached(include_str!("sql/put_policy.sql"))?
        .execute(params![id.as_i64(), text])?;
    let standing: String = transaction
        .prepare_cached(include_str!("sql/policy.sql"))?
        .query_one([id.as_i64()], |row| row.get(0))?;
    PolicyTaken::check(id, &standing, text)?;
    Ok(())
}

pub(super) fn put_namespace(
    transaction: &Transaction<'_>,
    now: Timestamp,
    namespace: &Namespace,
    policy: PolicyId,
    remembered_until_now: Option<Span>,
) -> Result<(), CallError> {
    transaction
        .prepare_cached(include_str!("sql/put_namespace.sql"))?
        .execute(params![
            now.as_micros(),
            namespace.as_str(),
            policy.as_i64(),
            remembered_until_now.map(Span::as_micros)
        ])?;
    Ok(())
}
