//! What a scraper read, taken apart.

use std::collections::BTreeMap;

/// Samples by name and labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Scraped(Vec<Sample>);

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
    /// The trace of its exemplar.
    pub trace: Option<String>,
}

impl Scraped {
    /// Takes the text apart; a line that is none fails the test.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.map(sample).collect())
    }

    /// The samples of a name that have all these labels.
    pub fn of<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            let has =
                |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|it| it == value);
            sample.name == name && labels.iter().all(has)
        })
    }

    /// Their sum; 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|sample| sample.value).sum()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|sample| sample.name.as_str())
    }
}

fn sample(line: &str) -> Sample {
    let (line, trace) = match line.split_once(" # {trace_id=\"") {
        Some((line, rest)) => {
            let trace = rest.split('"').next().expect("a trace").to_owned();
            (line, Some(trace))
        }
        None => (line, None),
    };
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("an end")),
        None => (series, ""),
    };
    let mut parsed = BTreeMap::new();
    let mut rest = labels;
    while let Some((key, after)) = rest.split_once("=\"") {
        // Nothing that the tests use has quotes in it.
        let (value, after) = after.split_once('"').expect("a quoted value");
        parsed.insert(key.to_owned(), value.to_owned());
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Sample {
        name: name.to_owned(),
        labels: parsed,
        value: value.parse().expect("a number"),
        trace,
    }
}
