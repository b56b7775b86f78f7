//! A table of the configuration file, read key by key so that every problem in it is found.

use std::time::Duration;

use toml::{Table, Value};

use super::Problem;

/// A table whose keys are taken out one by one; what is left over is unknown.
pub(super) struct Section<'p> {
    path: String,
    table: Table,
    problems: &'p mut Vec<Problem>,
}

impl<'p> Section<'p> {
    pub fn new(path: &str, table: Table, problems: &'p mut Vec<Problem>) -> Self {
        Self {
            path: path.to_owned(),
            table,
            problems,
        }
    }

    /// Takes a key's value if it is there and `parse` accepts it.
    pub fn take<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.table.remove(key)?;
        match parse(value) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                self.problems.push(Problem {
                    place: self.place(key),
                    problem,
                });
                None
            }
        }
    }

    /// Tells of keys that nobody took.
    pub fn finish(self) {
        for key in self.table.keys() {
            let place = self.place(key);
            self.problems.push(Problem {
                place,
                problem: "is not a setting of Semel".into(),
            });
        }
    }

    fn place(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

pub(super) fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("must be a text in quotes, is {}", kind(&other))),
    }
}

pub(super) fn boolean(value: Value) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| format!("must be true or false, is {}", kind(&value)))
}

pub(super) fn whole(value: Value) -> Result<u64, String> {
    let number = value
        .as_integer()
        .and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| format!("must be a whole number from 0, is {}", kind(&value)))
}

/// A bound: a whole number in `1..=most`.
pub(super) fn bound(most: usize) -> impl FnOnce(Value) -> Result<usize, String> {
    move |value| {
        let number = whole(value)?;
        match usize::try_from(number) {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(format!("must be 1 to {most}, is {number}")),
        }
    }
}

pub(super) fn number(value: Value) -> Result<f64, String> {
    let number = value
        .as_float()
        .or_else(|| value.as_integer().map(|whole| whole as f64));
    number
        .filter(|number| number.is_finite())
        .ok_or_else(|| format!("must be a number, is {}", kind(&value)))
}

pub(super) fn duration(value: Value) -> Result<Duration, String> {
    let text = text(value).map_err(|_| EXPECTED_DURATION.to_owned())?;
    humantime::parse_duration(&text).map_err(|error| format!("{EXPECTED_DURATION}: {error}"))
}

const EXPECTED_DURATION: &str = "must be a length of time in quotes, such as \"30s\" or \"7d\"";

pub(super) fn table(value: Value) -> Result<Table, String> {
    match value {
        Value::Table(table) => Ok(table),
        other => Err(format!("must be a table, is {}", kind(&other))),
    }
}

/// What the value is, for people. A value itself may be a secret and is not repeated, but for
/// numbers and booleans.
fn kind(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::String(_) => "a text".into(),
        Value::Datetime(_) => "a date".into(),
        Value::Array(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
    }
}
