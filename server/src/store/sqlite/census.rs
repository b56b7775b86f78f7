//! The census: so many records at a time that claims hardly notice.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use rusqlite::{Transaction, params};

use super::fault::CallError;
use crate::{
    key::Timestamp,
    store::{CensusGroup, CensusPart, CensusPlace},
};

/// Records of the first part of a census, and the bounds of the others.
const RECORDS: u32 = 1_000;
const BOUNDS: RangeInclusive<u32> = 50..=4_000;
/// How long a part may keep the one connection busy. A part that took longer is followed by half as
/// many records, as on a disk that has to be read for each; one that was far quicker by twice as many.
const BUSY: Duration = Duration::from_millis(4);

pub(super) fn census(
    transaction: &Transaction<'_>,
    now: Timestamp,
    from: CensusPlace,
) -> Result<CensusPart, CallError> {
    let began = Instant::now();
    let CensusPlace { at, end, records } = from;
    let records = if records == 0 { RECORDS } else { records };
    let end: i64 = match end {
        Some(end) => end,
        None => transaction
            .prepare_cached(include_str!("sql/census_turn.sql"))?
            .query_one([], |row| row.get(0))?,
    };
    let mut count = transaction.prepare_cached(include_str!("sql/census.sql"))?;
    let mut rows = count.query(params![now.as_micros(), at, records, end])?;
    let mut groups = Vec::new();
    let (mut counted, mut last) = (0, at);
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
        next: (counted >= i64::from(records)).then(|| CensusPlace {
            at: last,
            end: Some(end),
            records: next_size(records, began.elapsed()),
        }),
    })
}

fn next_size(records: u32, took: Duration) -> u32 {
    let next = if took > BUSY {
        records / 2
    } else if took < BUSY / 4 {
        records * 2
    } else {
        records
    };
    next.clamp(*BOUNDS.start(), *BOUNDS.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_part_is_followed_by_a_smaller_one_and_a_quick_one_by_a_larger_one() {
        for (records, took, next) in [
            (1_000, BUSY * 2, 500),
            (1_000, BUSY / 8, 2_000),
            (1_000, BUSY / 2, 1_000),
            (60, BUSY * 100, 50),
            (4_000, Duration::ZERO, 4_000),
        ] {
            assert_eq!(next_size(records, took), next, "{records} in {took:?}");
        }
    }
}
