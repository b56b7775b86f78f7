//! The census: block by block of the table, by one server at a time.

use sqlx::{PgConnection, Row};

use super::{fault::CallError, slot::Statement};
use crate::{
    key::Timestamp,
    store::{CensusGroup, CensusPart, CensusPlace, StoreError},
};

/// Blocks of one part: 4 MiB, some 6,000 records, a few milliseconds where they are in memory.
const BLOCKS: i64 = 512;

pub(super) struct Census {
    pub(super) now_us: Option<i64>,
    pub(super) from: CensusPlace,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "keys are counted from Postgres 14 on: an older one would read the whole table for each part"
)]
struct TooOld;

impl Statement for Census {
    /// `None` while another server counts.
    type Answer = Option<CensusPart>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Answer, CallError> {
        let turn = sqlx::query(include_str!("sql/census_turn.sql"))
            .fetch_one(&mut *connection)
            .await?;
        if !turn.try_get::<bool, _>(0)? {
            return Ok(None);
        }
        if !turn.try_get::<bool, _>(2)? {
            return Err(StoreError::rejected(TooOld).into());
        }
        let end: i64 = match self.from.end {
            Some(end) => end,
            None => turn.try_get(1)?,
        };
        let from = self.from.at;
        let to = from + BLOCKS;
        let rows = sqlx::query(include_str!("sql/census.sql"))
            .bind(self.now_us)
            .bind(format!("({from},0)"))
            .bind(format!("({to},0)"))
            .fetch_all(&mut *connection)
            .await?;
        let mut now = None;
        let mut groups = Vec::with_capacity(rows.len());
        for row in &rows {
            now = Some(row.try_get(5)?);
            groups.push(CensusGroup::from_columns(
                row.try_get(0)?,
                row.try_get(1)?,
                row.try_get(2)?,
                row.try_get(3)?,
                row.try_get(4)?,
            )?);
        }
        let now = match now {
            Some(now) => now,
            // Nothing is in these blocks, so no row brought the time along.
            None => sqlx::query(include_str!("sql/now.sql"))
                .bind(self.now_us)
                .fetch_one(connection)
                .await?
                .try_get(0)?,
        };
        Ok(Some(CensusPart {
            now: Timestamp::from_micros(now),
            groups,
            next: (to < end).then_some(CensusPlace {
                at: to,
                end: Some(end),
                ..self.from
            }),
        }))
    }
}
