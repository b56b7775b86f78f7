//! A panel as Grafana wants it.

use serde_json::{Value, json};

use super::source::{Kind, Panel, Query};

/// The source that whoever looks has chosen at the top.
pub(super) fn data_source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

pub(super) fn panel(panel: &Panel, runbooks: &str, grid: &Value) -> Value {
    let letters = (b'A'..=b'Z').map(char::from);
    let targets: Vec<_> = panel
        .query
        .iter()
        .zip(letters)
        .map(|(query, letter)| target(panel.kind, query, letter))
        .collect();
    let links: Vec<_> = panel
        .runbook
        .iter()
        .map(|anchor| {
            let url = format!("{runbooks}#{anchor}");
            json!({ "title": "What to do", "url": url, "targetBlank": true })
        })
        .collect();
    json!({
        "id": panel.id,
        "type": match panel.kind {
            Kind::Stat => "stat",
            Kind::Table => "table",
            Kind::Time => "timeseries",
        },
        "title": panel.title,
        "description": panel.help,
        "gridPos": grid,
        "datasource": data_source(),
        "targets": targets,
        "links": links,
        "options": options(panel.kind),
        "fieldConfig": { "defaults": defaults(panel), "overrides": overrides(panel) },
        "transformations": transformations(panel),
    })
}

fn target(kind: Kind, query: &Query, letter: char) -> Value {
    let is_over_time = kind == Kind::Time;
    json!({
        "refId": letter.to_string(),
        "datasource": data_source(),
        "editorMode": "code",
        "expr": query.expr.trim(),
        "legendFormat": query.legend,
        "range": is_over_time,
        "instant": !is_over_time,
        "format": if kind == Kind::Table { "table" } else { "time_series" },
        // Only buckets have any, and only a graph can show them.
        "exemplar": is_over_time && query.expr.contains("_bucket"),
    })
}

fn options(kind: Kind) -> Value {
    match kind {
        Kind::Stat => json!({
            "colorMode": "background",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            "textMode": "value",
        }),
        Kind::Table => json!({
            "cellHeight": "sm",
            "showHeader": true,
            "footer": { "show": false, "reducer": ["sum"], "countRows": false, "fields": "" },
        }),
        Kind::Time => json!({
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
    }
}

fn defaults(panel: &Panel) -> Value {
    let mut defaults = json!({
        "unit": panel.unit,
        "color": { "mode": if panel.kind == Kind::Time { "palette-classic" } else { "thresholds" } },
        "mappings": words(&panel.words),
        "thresholds": { "mode": "absolute", "steps": steps(panel) },
        // Not 0: nobody counted.
        "noValue": "–",
    });
    if panel.kind == Kind::Time {
        defaults["min"] = 0.into();
        defaults["custom"] = json!({
            "drawStyle": "line",
            "lineInterpolation": "linear",
            "lineWidth": 1,
            "fillOpacity": if panel.stack { 30 } else { 5 },
            "showPoints": "never",
            "spanNulls": false,
            "stacking": { "mode": if panel.stack { "normal" } else { "none" }, "group": "A" },
            "thresholdsStyle": { "mode": if has_thresholds(panel) { "dashed" } else { "off" } },
        });
    }
    defaults
}

fn has_thresholds(panel: &Panel) -> bool {
    panel.yellow_from.is_some() || panel.red_from.is_some()
}

fn steps(panel: &Panel) -> Value {
    let plain = if has_thresholds(panel) {
        "green"
    } else {
        "text"
    };
    let mut steps = vec![json!({ "value": null, "color": plain })];
    for (from, color) in [(panel.yellow_from, "yellow"), (panel.red_from, "red")] {
        steps.extend(from.map(|value| json!({ "value": value, "color": color })));
    }
    steps.into()
}

fn words(words: &[String]) -> Value {
    let Some(last) = words.len().checked_sub(1) else {
        return json!([]);
    };
    let each = words.iter().enumerate().map(|(value, text)| {
        let color = match value {
            0 => "red",
            _ if value == last => "green",
            _ => "yellow",
        };
        let shown = json!({ "text": text, "color": color, "index": value });
        (value.to_string(), shown)
    });
    let options: serde_json::Map<_, _> = each.collect();
    json!([{ "type": "value", "options": options }])
}

/// Columns of a table that have a unit of their own.
fn overrides(panel: &Panel) -> Value {
    let each = panel.query.iter().filter_map(|query| {
        let (column, unit) = (query.column.as_ref()?, query.unit.as_ref()?);
        Some(json!({
            "matcher": { "id": "byName", "options": column },
            "properties": [{ "id": "unit", "value": unit }],
        }))
    });
    each.collect()
}

/// A table has one line for each series and one column for each query.
fn transformations(panel: &Panel) -> Value {
    if panel.kind != Kind::Table {
        return json!([]);
    }
    let letters = (b'A'..=b'Z').map(char::from);
    let renamed: serde_json::Map<_, _> = panel
        .query
        .iter()
        .zip(letters)
        .filter_map(|(query, letter)| {
            // Alone, a query's value is not called by its letter.
            let value = match panel.query.len() {
                1 => "Value".to_owned(),
                _ => format!("Value #{letter}"),
            };
            Some((value, Value::from(query.column.clone()?)))
        })
        .collect();
    json!([
        { "id": "merge", "options": {} },
        {
            "id": "organize",
            "options": {
                "excludeByName": { "Time": true },
                "indexByName": {},
                "renameByName": renamed,
            },
        },
    ])
}
