//! A record as columns, and back: the one place that knows which columns a state fills.

use bytes::Bytes;

use crate::key::{
    AttemptId, Fence, Fingerprint, KeyId, PolicyId, Record, Settled, State, Timestamp,
};

const IN_PROGRESS: i16 = 1;
const COMPLETED: i16 = 2;
const FAILED: i16 = 3;
const RETRYABLE: i16 = 4;
const DEAD: i16 = 5;
const UNCERTAIN: i16 = 6;

/// What a record's state fills; the other columns are null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StateColumns<'a> {
    pub(super) state: i16,
    pub(super) lease_until_us: Option<i64>,
    pub(super) not_before_us: Option<i64>,
    pub(super) settled_at_us: Option<i64>,
    pub(super) expires_at_us: Option<i64>,
    pub(super) result: Option<&'a [u8]>,
}

impl<'a> StateColumns<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        let settled = |code: i16, settled: &Settled| Self {
            state: code,
            settled_at_us: Some(settled.at.as_micros()),
            expires_at_us: Some(settled.expires_at.as_micros()),
            ..Self::default()
        };
        match state {
            State::InProgress { lease_until } => Self {
                state: IN_PROGRESS,
                lease_until_us: Some(lease_until.as_micros()),
                ..Self::default()
            },
            State::Completed { result, settled: s } => Self {
                result: Some(result),
                ..settled(COMPLETED, s)
            },
            State::Failed { result, settled: s } => Self {
                result: Some(result),
                ..settled(FAILED, s)
            },
            State::Retryable {
                not_before,
                settled: s,
            } => Self {
                not_before_us: Some(not_before.as_micros()),
                ..settled(RETRYABLE, s)
            },
            State::Dead { settled: s } => settled(DEAD, s),
            State::Uncertain { since } => Self {
                state: UNCERTAIN,
                settled_at_us: Some(since.as_micros()),
                ..Self::default()
            },
        }
    }
}

/// A count as stored. Both engines keep 32 bits with a sign; limits keep attempts far below.
pub(super) fn stored_attempt(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}

/// A row as an engine read it, in the order of the columns of `load.sql`.
#[derive(Debug, Clone)]
pub(super) struct StoredRow {
    pub(super) attempt_id: [u8; 16],
    pub(super) fence: i64,
    pub(super) policy_id: i64,
    pub(super) created_at_us: i64,
    pub(super) claimed_at_us: i64,
    pub(super) lease_until_us: Option<i64>,
    pub(super) not_before_us: Option<i64>,
    pub(super) settled_at_us: Option<i64>,
    pub(super) expires_at_us: Option<i64>,
    pub(super) revision: i32,
    pub(super) attempt: i32,
    pub(super) state: i16,
    pub(super) fingerprint: Vec<u8>,
    pub(super) owner: String,
    pub(super) traceparent: String,
    pub(super) last_error: String,
    pub(super) result: Option<Vec<u8>>,
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) delivery: Option<Vec<u8>>,
}

/// A stored row that makes no sense: a hand has changed it, or storage is damaged.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the row of {key} in bucket {bucket} is corrupt: {problem}")]
pub struct CorruptRow {
    key: String,
    bucket: i16,
    problem: String,
}

impl CorruptRow {
    /// Names the row by its bucket and its key's hash; keys may be personal data.
    pub(super) fn new(id: &KeyId, problem: impl Into<String>) -> Self {
        Self {
            key: format!("{id:?}"),
            bucket: id.bucket(),
            problem: problem.into(),
        }
    }
}

impl StoredRow {
    pub(super) fn into_record(mut self, id: &KeyId) -> Result<Record, CorruptRow> {
        let state = self.state(id)?;
        let attempt = u32::try_from(self.attempt)
            .map_err(|_| CorruptRow::new(id, format!("attempt is {}", self.attempt)))?;
        Ok(Record {
            attempt_id: AttemptId::from_stored(self.attempt_id),
            fence: Fence::from_i64(self.fence),
            revision: self.revision,
            attempt,
            policy_id: PolicyId::from_i64(self.policy_id),
            fingerprint: Fingerprint::from_stored(self.fingerprint.into()),
            owner: self.owner,
            traceparent: self.traceparent,
            created_at: Timestamp::from_micros(self.created_at_us),
            claimed_at: Timestamp::from_micros(self.claimed_at_us),
            state,
            last_error: self.last_error,
            checkpoint: self.checkpoint.map(Bytes::from),
            delivery: self.delivery.map(Bytes::from),
        })
    }

    fn state(&mut self, id: &KeyId) -> Result<State, CorruptRow> {
        let code = self.state;
        let missing = |column: &str| CorruptRow::new(id, format!("state {code} without {column}"));
        let time = |us: Option<i64>, column: &str| {
            us.map(Timestamp::from_micros)
                .ok_or_else(|| missing(column))
        };
        let settled = || {
            Ok(Settled {
                at: time(self.settled_at_us, "settled_at_us")?,
                expires_at: time(self.expires_at_us, "expires_at_us")?,
            })
        };
        Ok(match code {
            IN_PROGRESS => State::InProgress {
                lease_until: time(self.lease_until_us, "lease_until_us")?,
            },
            COMPLETED => State::Completed {
                settled: settled()?,
                result: self.result.take().ok_or_else(|| missing("result"))?.into(),
            },
            FAILED => State::Failed {
                settled: settled()?,
                result: self.result.take().ok_or_else(|| missing("result"))?.into(),
            },
            RETRYABLE => State::Retryable {
                not_before: time(self.not_before_us, "not_before_us")?,
                settled: settled()?,
            },
            DEAD => State::Dead {
                settled: settled()?,
            },
            UNCERTAIN => State::Uncertain {
                since: time(self.settled_at_us, "settled_at_us")?,
            },
            other => return Err(CorruptRow::new(id, format!("unknown state {other}"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: i64) -> Timestamp {
        Timestamp::from_micros(us)
    }

    fn every_state() -> Vec<State> {
        let settled = Settled {
            at: at(30),
            expires_at: at(40),
        };
        vec![
            State::InProgress {
                lease_until: at(20),
            },
            State::Completed {
                result: Bytes::from_static(b"done"),
                settled,
            },
            State::Completed {
                result: Bytes::new(),
                settled,
            },
            State::Failed {
                result: Bytes::from_static(b"no"),
                settled,
            },
            State::Retryable {
                not_before: at(35),
                settled,
            },
            State::Dead { settled },
            State::Uncertain { since: at(33) },
        ]
    }

    fn record(state: State) -> Record {
        Record {
            attempt_id: AttemptId::from_stored([7; 16]),
            fence: Fence::from_i64(11),
            revision: 3,
            attempt: 2,
            policy_id: PolicyId::from_i64(-4),
            fingerprint: Fingerprint::from_stored(Bytes::from_static(b"print")),
            owner: "pod-1".into(),
            traceparent: "00-aa-bb-01".into(),
            created_at: at(1),
            claimed_at: at(10),
            state,
            last_error: "timeout".into(),
            checkpoint: Some(Bytes::from_static(b"page 7")),
            delivery: None,
        }
    }

    fn stored(record: &Record) -> StoredRow {
        let state = StateColumns::of(&record.state);
        StoredRow {
            attempt_id: *record.attempt_id.as_bytes(),
            fence: record.fence.as_i64(),
            policy_id: record.policy_id.as_i64(),
            created_at_us: record.created_at.as_micros(),
            claimed_at_us: record.claimed_at.as_micros(),
            lease_until_us: state.lease_until_us,
            not_before_us: state.not_before_us,
            settled_at_us: state.settled_at_us,
            expires_at_us: state.expires_at_us,
            revision: record.revision,
            attempt: stored_attempt(record.attempt),
            state: state.state,
            fingerprint: record.fingerprint.as_bytes().to_vec(),
            owner: record.owner.clone(),
            traceparent: record.traceparent.clone(),
            last_error: record.last_error.clone(),
            result: state.result.map(<[u8]>::to_vec),
            checkpoint: record.checkpoint.as_ref().map(|b| b.to_vec()),
            delivery: record.delivery.as_ref().map(|b| b.to_vec()),
        }
    }

    fn id() -> KeyId {
        KeyId::parse("orders", "4111-1111").unwrap()
    }

    #[test]
    fn a_record_of_every_state_survives_its_columns() {
        for state in every_state() {
            let record = record(state);
            assert_eq!(stored(&record).into_record(&id()), Ok(record));
        }
    }

    #[test]
    fn only_what_is_settled_has_an_end() {
        // The table's CHECK, and the purge, rely on it.
        for state in every_state() {
            let columns = StateColumns::of(&state);
            let open = [IN_PROGRESS, UNCERTAIN].contains(&columns.state);
            assert_eq!(columns.expires_at_us.is_none(), open, "{state:?}");
        }
    }

    #[test]
    fn a_row_that_makes_no_sense_is_named_by_its_hash_and_never_by_its_key() {
        for state in every_state() {
            let good = stored(&record(state));
            let mut bad = vec![StoredRow {
                state: 7,
                ..good.clone()
            }];
            bad.push(StoredRow {
                attempt: -1,
                ..good.clone()
            });
            bad.push(StoredRow {
                lease_until_us: None,
                settled_at_us: None,
                ..good
            });
            for row in bad {
                let error = row.into_record(&id()).unwrap_err().to_string();
                assert!(
                    error.contains("is corrupt") && error.contains("bucket"),
                    "{error}"
                );
                assert!(!error.contains("4111"), "{error}");
            }
        }
    }
}
