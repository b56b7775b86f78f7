//! The census: so many records at a time that claims hardly notice.

use rusqlite::{Transaction, params};

use super::fault::CallError;
use crate::{
    key::Timestamp,
    store::{CensusGroup, CensusPart, CensusPlace},
};

/// Records of one part. The one connection is kept busy for a millisecond or two.
const RECORDS: i64 = 2_000;

pub(super) fn census(
    transaction: &Transaction<'_>,
    now: Timestamp,
    from: CensusPlace,
) -> Result<CensusPart, CallError> {
    let mut count = transaction.prepare_cached(include_str!("sql/census.sql"))?;
    let mut rows = count.query(params![now.as_micros(), from.0, RECORDS])?;
    let mut groups = Vec::new();
    let (mut counted, mut last) = (0, from.0);
    while let Some(row) = rows.next()? {
        let namespace: String = row.get(0)?;
        let count: i64 = row.get(3)?;
        counted += count;
        last = last.max(row.get(5)?);
        groups.push(CensusGroup::from_columns(
            &namespace,
            row.get(1)?,
            row.get(2)?,
            count,
            row.get(4)?,
        )?);
    }
    Ok(CensusPart {
        now,
        groups,
        next: (counted >= RECORDS).then_some(CensusPlace(last)),
    })
}
