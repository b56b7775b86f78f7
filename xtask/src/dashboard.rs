//! `cargo xtask dashboard`: Grafana's dashboard from its one small source.
//!
//! Grafana's own file says ten things for each that somebody chose. Here somebody writes down the choices,
//! and the rest is made: the same source always gives the same file.

mod panel;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::step::workspace_root;
use source::{Row, Source};

/// What the file is made from, and the file.
const SOURCE: &str = "deploy/dashboard.toml";
const DASHBOARD: &str = "deploy/grafana/semel.json";
/// The layout of the file that Grafana reads; newer ones bring it up to date by themselves.
const SCHEMA_VERSION: u32 = 39;
/// A row of the grid.
const FULL_WIDTH: u32 = 24;

#[derive(Args)]
pub(crate) struct Options {
    /// Write nothing, and fail if the file is not what its source makes.
    #[arg(long)]
    check: bool,
}

/// Writes the dashboard, or checks it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let dashboard = generate(&read(SOURCE)?)?;
    if options.check {
        return check(&dashboard, read(DASHBOARD).ok().as_deref());
    }
    let mut text = serde_json::to_string_pretty(&dashboard)
        .map_err(|error| Failure::new(format!("{DASHBOARD}: {error}")))?;
    text.push('\n');
    fs::write(place(DASHBOARD), text)
        .map_err(|error| Failure::new(format!("cannot write {DASHBOARD}: {error}")))?;
    eprintln!("{DASHBOARD} is written from {SOURCE}");
    Ok(())
}

fn place(name: &str) -> PathBuf {
    workspace_root().join(name)
}

fn read(name: &str) -> Result<String, Failure> {
    fs::read_to_string(place(name))
        .map_err(|error| Failure::new(format!("cannot read {name}: {error}")))
}

/// What they say is compared, not how it is written.
fn check(dashboard: &Value, written: Option<&str>) -> Result<(), Failure> {
    let written = written.and_then(|text| serde_json::from_str::<Value>(text).ok());
    if written.as_ref() == Some(dashboard) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{DASHBOARD} is not what {SOURCE} makes; run `cargo xtask dashboard` and commit both (what was \
         changed in the file by hand belongs into the source)"
    )))
}

fn generate(text: &str) -> Result<Value, Failure> {
    let source: Source =
        toml::from_str(text).map_err(|error| Failure::new(format!("{SOURCE}: {error}")))?;
    let mut panels = Vec::new();
    let mut ids = BTreeSet::new();
    let mut y = 0;
    for row in &source.row {
        let named = std::iter::once(row.id).chain(row.panel.iter().map(|panel| panel.id));
        for id in named {
            if !ids.insert(id) {
                return Err(Failure::new(format!("{SOURCE}: two have the id {id}")));
            }
        }
        y = lay(&source, row, y, &mut panels)?;
    }
    Ok(json!({
        "uid": source.uid,
        "title": source.title,
        "description": format!("Made by `cargo xtask dashboard` from {SOURCE}. Change that, not this."),
        "tags": ["semel"],
        "schemaVersion": SCHEMA_VERSION,
        // Grafana counts; a file that counted too would differ from its source.
        "version": 0,
        "editable": true,
        "graphTooltip": 1,
        "time": { "from": "now-3h", "to": "now" },
        "refresh": "30s",
        "timezone": "browser",
        "links": [{
            "title": "Runbooks", "type": "link", "icon": "doc", "url": source.runbooks,
            "targetBlank": true, "asDropdown": false, "includeVars": false, "keepTime": false,
            "tags": [], "tooltip": "What to do",
        }],
        "annotations": { "list": [] },
        "templating": { "list": variables() },
        "panels": panels,
    }))
}

/// Puts a row's panels down from left to right, and gives back where the next row begins.
fn lay(source: &Source, row: &Row, top: u32, panels: &mut Vec<Value>) -> Result<u32, Failure> {
    panels.push(json!({
        "id": row.id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
        "gridPos": { "x": 0, "y": top, "w": FULL_WIDTH, "h": 1 },
    }));
    let (mut x, mut y, mut tallest) = (0, top + 1, 0);
    for panel in &row.panel {
        panel.check()?;
        if x + panel.width > FULL_WIDTH {
            (x, y, tallest) = (0, y + tallest, 0);
        }
        let height = panel.kind.height();
        let grid = json!({ "x": x, "y": y, "w": panel.width, "h": height });
        panels.push(panel::panel(panel, &source.runbooks, &grid));
        x += panel.width;
        tallest = tallest.max(height);
    }
    Ok(y + tallest)
}

fn variables() -> Value {
    let namespaces = "label_values(semel_keys, namespace)";
    json!([
        {
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
            "current": {}, "options": [], "regex": "", "refresh": 1, "hide": 0,
            "includeAll": false, "multi": false, "skipUrlSync": false,
        },
        {
            "name": "namespace", "label": "Namespace", "type": "query",
            "datasource": panel::data_source(),
            "definition": namespaces,
            "query": { "query": namespaces, "refId": "namespace", "qryType": 1 },
            "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
            // Also what no list names: where there is no census, there is no list.
            "includeAll": true, "allValue": ".*", "multi": true,
            "options": [], "regex": "", "refresh": 2, "sort": 1, "hide": 0, "skipUrlSync": false,
        },
    ])
}

#[cfg(test)]
mod tests;
