//! Tests of the generator, and of the file that was made with it.

use serde_json::Value;

use super::{DASHBOARD, SOURCE, check, generate, read};

fn source(panels: &str) -> String {
    format!(
        "title = 'T'\nuid = 't'\nrunbooks = 'https://example.org/runbooks'\n\
         [[row]]\nid = 1\ntitle = 'R'\n{panels}"
    )
}

fn panel(id: u32, kind: &str, width: u32, query: &str) -> String {
    format!(
        "[[row.panel]]\nid = {id}\nkind = '{kind}'\ntitle = 'P{id}'\nunit = 's'\nwidth = {width}\n\
         query = [{{ {query} }}]\n"
    )
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().expect("a list")
}

#[test]
fn the_dashboard_is_what_its_source_makes() {
    let dashboard = generate(&read(SOURCE).unwrap()).unwrap();
    if let Err(failure) = check(&dashboard, read(DASHBOARD).ok().as_deref()) {
        panic!("{failure}");
    }
}

#[test]
fn a_dashboard_that_was_changed_or_is_missing_is_stale() {
    let dashboard = generate(&read(SOURCE).unwrap()).unwrap();
    let mut changed = dashboard.clone();
    changed["panels"][1]["title"] = "Changed by hand".into();
    for written in [None, Some(""), Some(changed.to_string().as_str())] {
        let stale = check(&dashboard, written).unwrap_err().to_string();
        assert!(stale.contains("cargo xtask dashboard"), "{stale}");
    }
}

#[test]
fn panels_flow_into_the_next_line_below_the_tallest() {
    let text = source(
        &[
            panel(2, "stat", 12, "expr = 'a'"),
            panel(3, "time", 12, "expr = 'a', legend = 'a'"),
            panel(4, "stat", 1, "expr = 'a'"),
        ]
        .concat(),
    );
    let dashboard = generate(&text).unwrap();
    let places: Vec<_> = panels(&dashboard)
        .iter()
        .map(|it| (it["gridPos"]["x"].clone(), it["gridPos"]["y"].clone()))
        .collect();
    let expected = [(0, 0), (0, 1), (12, 1), (0, 9)].map(|(x, y)| (x.into(), y.into()));
    assert_eq!(places, expected);
}

#[test]
fn only_graphs_of_buckets_ask_for_exemplars() {
    let quantile = "expr = 'histogram_quantile(0.9, a_bucket)'";
    let text = source(
        &[
            panel(2, "stat", 2, quantile),
            panel(3, "time", 2, &format!("{quantile}, legend = 'a'")),
            panel(4, "time", 2, "expr = 'a_total', legend = 'a'"),
        ]
        .concat(),
    );
    let dashboard = generate(&text).unwrap();
    let asks = panels(&dashboard)[1..]
        .iter()
        .map(|it| it["targets"][0]["exemplar"].as_bool().expect("yes or no"));
    assert_eq!(asks.collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn a_source_with_a_mistake_is_refused_with_its_name() {
    let twice = panel(2, "stat", 2, "expr = 'a'").repeat(2);
    let cases = [
        (twice, "two have the id 2"),
        (panel(1, "stat", 2, "expr = 'a'"), "two have the id 1"),
        (panel(2, "pie", 2, "expr = 'a'"), "pie"),
        (
            panel(2, "stat", 25, "expr = 'a'"),
            "\"P2\" must have a width",
        ),
        (
            panel(2, "time", 2, "expr = 'a'"),
            "\"P2\" must have a `legend`",
        ),
        (panel(2, "table", 2, "expr = 'a'"), "a `column` in a table"),
        (panel(2, "stat", 2, "expr = 'a', legent = 'a'"), "legent"),
    ];
    for (panels, expected) in cases {
        let refused = generate(&source(&panels)).unwrap_err().to_string();
        assert!(refused.contains(SOURCE), "{refused}");
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
}
