//! What somebody chose: the source of the dashboard, as written.

use serde::Deserialize;

use super::{FULL_WIDTH, SOURCE};
use crate::failure::Failure;

/// A misspelt choice is refused and not left out, here and in all below.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    pub title: String,
    /// What links to the dashboard name.
    pub uid: String,
    /// The page that panels' runbooks are sections of.
    pub runbooks: String,
    pub row: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub id: u32,
    pub title: String,
    pub panel: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Panel {
    pub id: u32,
    pub kind: Kind,
    pub title: String,
    #[serde(default)]
    pub help: String,
    pub unit: String,
    pub width: u32,
    /// From which value on it is yellow, or red. Without either, colours say nothing.
    pub yellow_from: Option<f64>,
    pub red_from: Option<f64>,
    /// What 0, 1 … are called. The first is bad, the last good.
    #[serde(default)]
    pub words: Vec<String>,
    /// Lines are put on top of one another.
    #[serde(default)]
    pub stack: bool,
    /// The section of the runbooks.
    pub runbook: Option<String>,
    pub query: Vec<Query>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Stat,
    Table,
    Time,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    pub expr: String,
    /// What a line of a graph is called.
    #[serde(default)]
    pub legend: String,
    /// What a table calls the value.
    pub column: Option<String>,
    /// The column's own unit.
    pub unit: Option<String>,
}

impl Kind {
    pub(super) fn height(self) -> u32 {
        match self {
            Self::Stat => 4,
            Self::Table | Self::Time => 8,
        }
    }
}

impl Panel {
    pub(super) fn check(&self) -> Result<(), Failure> {
        let wrong = |what: &str| {
            let title = &self.title;
            Err(Failure::new(format!("{SOURCE}: panel \"{title}\" {what}")))
        };
        if !(1..=FULL_WIDTH).contains(&self.width) {
            return wrong(&format!("must have a width from 1 to {FULL_WIDTH}"));
        }
        if self.unit.is_empty() {
            return wrong("must have a unit");
        }
        if self.query.is_empty() {
            return wrong("must have a query");
        }
        // Queries are called A, B …
        if self.query.len() > 26 {
            return wrong("must not have more than 26 queries");
        }
        let named = |query: &Query| match self.kind {
            Kind::Stat => query.column.is_none() && query.unit.is_none(),
            Kind::Table => query.column.is_some(),
            Kind::Time => {
                !query.legend.is_empty() && query.column.is_none() && query.unit.is_none()
            }
        };
        if !self.query.iter().all(named) {
            return wrong("must have a `legend` for each query in a graph, a `column` in a table");
        }
        Ok(())
    }
}
