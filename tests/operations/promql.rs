//! What an expression asks for: each metric and label it names must be there, and both sides of an operator
//! must have the labels that match them. Prometheus itself would answer nothing, and be content.

use std::collections::BTreeSet;

use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{
        self, AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality,
        VectorSelector,
    },
};

use super::known::Known;

type Labels = BTreeSet<String>;

/// What an expression gives.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// A number or a text.
    Single,
    /// Series with these labels.
    Series(Labels),
    /// Something went wrong below, which was told.
    Lost,
}

/// The labels of what `expr` gives.
///
/// # Errors
/// Everything that is wrong with it.
pub fn labels(expr: &str, known: &Known) -> Result<Labels, Vec<String>> {
    let parsed = parser::parse(expr).map_err(|error| vec![error])?;
    let mut reader = Reader {
        known,
        problems: Vec::new(),
    };
    let shape = reader.shape(&parsed);
    match shape {
        _ if !reader.problems.is_empty() => Err(reader.problems),
        Shape::Series(labels) => Ok(labels),
        _ => Ok(Labels::new()),
    }
}

struct Reader<'k> {
    known: &'k Known,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn shape(&mut self, expr: &Expr) -> Shape {
        match expr {
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Shape::Single,
            Expr::Paren(it) => self.shape(&it.expr),
            Expr::Unary(it) => self.shape(&it.expr),
            Expr::Subquery(it) => self.shape(&it.expr),
            Expr::VectorSelector(it) => self.selector(it),
            Expr::MatrixSelector(it) => self.selector(&it.vs),
            Expr::Aggregate(it) => self.aggregate(it),
            Expr::Call(it) => self.call(it),
            Expr::Binary(it) => self.binary(it),
            Expr::Extension(_) => self.wrong("an extension of the parser".to_owned()),
        }
    }

    fn wrong(&mut self, problem: String) -> Shape {
        self.problems.push(problem);
        Shape::Lost
    }

    fn selector(&mut self, it: &VectorSelector) -> Shape {
        let Some(name) = &it.name else {
            return self.wrong(format!("{it} names no metric"));
        };
        let Some(labels) = self.known.labels(name) else {
            return self.wrong(format!("there is no metric {name}"));
        };
        for matcher in it
            .matchers
            .matchers
            .iter()
            .chain(it.matchers.or_matchers.iter().flatten())
        {
            if labels.contains(&matcher.name) {
                self.value(name, matcher);
            } else {
                self.wrong(format!("{name} has no label {}", matcher.name));
            }
        }
        Shape::Series(labels)
    }

    /// Where all values are known, each one named must be one of them.
    fn value(&mut self, metric: &str, matcher: &Matcher) {
        let Some(known) = self.known.values(metric, &matcher.name) else {
            return;
        };
        let named = match matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => vec![matcher.value.as_str()],
            MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').collect(),
        };
        for value in named {
            if !known.contains(value) {
                let label = &matcher.name;
                self.wrong(format!("{metric} has no {label}={value:?}, only {known:?}"));
            }
        }
    }

    fn aggregate(&mut self, it: &AggregateExpr) -> Shape {
        let inner = match self.shape(&it.expr) {
            Shape::Series(labels) => labels,
            Shape::Single => return self.wrong(format!("{it} aggregates no series")),
            Shape::Lost => return Shape::Lost,
        };
        let named: Labels = match &it.modifier {
            Some(modifier) => modifier.labels().labels.iter().cloned().collect(),
            None => Labels::new(),
        };
        if let Some(missing) = named.difference(&inner).next() {
            return self.wrong(format!("{}: there is no label {missing} in it", it.expr));
        }
        Shape::Series(match &it.modifier {
            Some(LabelModifier::Exclude(_)) => &inner - &named,
            // These choose series and leave them as they are.
            _ if matches!(it.op.to_string().as_str(), "topk" | "bottomk") => inner,
            _ => named,
        })
    }

    fn call(&mut self, it: &Call) -> Shape {
        let arguments: Vec<_> = it.args.args.iter().map(|arg| self.shape(arg)).collect();
        if arguments.contains(&Shape::Lost) {
            return Shape::Lost;
        }
        let series = arguments.into_iter().find_map(|shape| match shape {
            Shape::Series(labels) => Some(labels),
            _ => None,
        });
        match (it.func.name, series) {
            ("vector", _) => Shape::Series(Labels::new()),
            ("scalar" | "time", _) => Shape::Single,
            ("absent", _) => Shape::Series(demanded(&it.args.args[0])),
            ("label_replace" | "label_join" | "count_values", _) => {
                self.wrong(format!("{} is not understood here", it.func.name))
            }
            ("histogram_quantile", Some(mut labels)) => {
                if labels.remove("le") {
                    Shape::Series(labels)
                } else {
                    self.wrong(format!("{it}: its series have no label le"))
                }
            }
            (_, Some(labels)) => Shape::Series(labels),
            (_, None) => Shape::Single,
        }
    }

    fn binary(&mut self, it: &BinaryExpr) -> Shape {
        let (left, right) = match (self.shape(&it.lhs), self.shape(&it.rhs)) {
            (Shape::Lost, _) | (_, Shape::Lost) => return Shape::Lost,
            (Shape::Single, other) | (other, Shape::Single) => return other,
            (Shape::Series(left), Shape::Series(right)) => (left, right),
        };
        let matching = it.modifier.as_ref().and_then(|it| it.matching.as_ref());
        let named = |modifier: &LabelModifier| -> Labels {
            modifier.labels().labels.iter().cloned().collect()
        };
        // The labels by which series of the two sides find each other.
        let (left_key, right_key) = match matching {
            None => (left.clone(), right.clone()),
            Some(on @ LabelModifier::Include(_)) => {
                let on = named(on);
                if !on.is_subset(&left) || !on.is_subset(&right) {
                    return self.wrong(format!("{it}: not both sides have the labels {on:?}"));
                }
                (on.clone(), on)
            }
            Some(ignoring @ LabelModifier::Exclude(_)) => {
                let ignoring = named(ignoring);
                if let Some(missing) = ignoring
                    .iter()
                    .find(|it| !left.contains(*it) && !right.contains(*it))
                {
                    return self.wrong(format!("{it}: neither side has the label {missing}"));
                }
                (&left - &ignoring, &right - &ignoring)
            }
        };
        if left_key != right_key {
            return self.wrong(format!(
                "{it}: the left side has the labels {left_key:?}, the right side {right_key:?}, so that \
                 nothing matches"
            ));
        }
        let card = it.modifier.as_ref().map(|it| &it.card);
        Shape::Series(match card {
            Some(VectorMatchCardinality::ManyToOne(more)) => left
                .into_iter()
                .chain(more.labels.iter().cloned())
                .collect(),
            Some(VectorMatchCardinality::OneToMany(more)) => right
                .into_iter()
                .chain(more.labels.iter().cloned())
                .collect(),
            Some(VectorMatchCardinality::OneToOne) => left_key,
            // `and`, `or`, `unless` hand on whole series.
            _ => left,
        })
    }
}

/// `absent` gives one series with what its selector demands.
fn demanded(argument: &Expr) -> Labels {
    let Expr::VectorSelector(selector) = argument else {
        return Labels::new();
    };
    let equal = selector.matchers.matchers.iter();
    let equal = equal.filter(|matcher| matcher.op == MatchOp::Equal);
    equal.map(|matcher| matcher.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let mut known = Known::elsewhere();
        for le in ["0.75", "+Inf"] {
            known.add("age_bucket", [("namespace", "a"), ("le", le)]);
        }
        known.add("age_count", [("namespace", "a")]);
        known.add("calls_total", [("namespace", "a"), ("result", "ok")]);
        known.add("semel_keys", [("namespace", "a"), ("state", "dead")]);
        known
    }

    #[test]
    fn what_fits_has_the_labels_that_prometheus_gives() {
        let cases: [(&str, &[&str]); 13] = [
            ("calls_total", &["instance", "job", "namespace", "result"]),
            ("sum(rate(calls_total[5m])) or vector(0)", &[]),
            ("sum by (namespace) (calls_total)", &["namespace"]),
            ("sum without (job) (age_count)", &["instance", "namespace"]),
            (
                "max by (namespace, state) (semel_keys{state=~\"dead|uncertain\"}) > 0",
                &["namespace", "state"],
            ),
            (
                "histogram_quantile(0.9, sum by (namespace, le) (rate(age_bucket[1h])))",
                &["namespace"],
            ),
            (
                "sum by (result) (calls_total) / ignoring (result) group_left () sum(calls_total)",
                &["result"],
            ),
            (
                "calls_total * on (namespace) group_left () sum by (namespace) (age_count)",
                &["instance", "job", "namespace", "result"],
            ),
            (
                "calls_total unless calls_total offset 1d",
                &["instance", "job", "namespace", "result"],
            ),
            ("time() - max(age_count)", &[]),
            ("absent(up{job=\"semel\"})", &["job"]),
            (
                "age_bucket{le=\"0.75\"}",
                &["instance", "job", "le", "namespace"],
            ),
            (
                "max_over_time(sum by (namespace) (age_count)[1h:1m])",
                &["namespace"],
            ),
        ];
        for (expr, expected) in cases {
            let labels =
                labels(expr, &known()).unwrap_or_else(|problems| panic!("{expr}: {problems:?}"));
            assert_eq!(labels.iter().collect::<Vec<_>>(), expected, "{expr}");
        }
    }

    #[test]
    fn what_prometheus_would_answer_with_nothing_is_told() {
        let cases = [
            ("sum(rate(call_total[5m]))", "no metric call_total"),
            ("calls_total and {namespace=\"a\"}", "names no metric"),
            ("calls_total{outcome=\"ok\"}", "no label outcome"),
            (
                "calls_total offset 1h > 0 unless age_counts",
                "no metric age_counts",
            ),
            ("semel_keys{state=\"laped\"}", "no state=\"laped\""),
            ("semel_keys{state!~\"dead|faild\"}", "no state=\"faild\""),
            ("age_bucket{le=\"0.7\"}", "no le=\"0.7\""),
            (
                "sum by (namespace, outcome) (calls_total)",
                "no label outcome",
            ),
            ("sum without (outcome) (calls_total)", "no label outcome"),
            (
                "sum by (state) (max by (namespace) (semel_keys))",
                "no label state",
            ),
            (
                "histogram_quantile(0.9, sum by (namespace) (age_bucket))",
                "no label le",
            ),
            (
                "sum by (namespace) (calls_total) / sum(calls_total)",
                "nothing matches",
            ),
            ("age_count - age_bucket{le=\"0.75\"}", "nothing matches"),
            (
                "sum by (namespace) (calls_total) and age_count",
                "nothing matches",
            ),
            (
                "age_count / ignoring (result) age_count",
                "neither side has the label result",
            ),
            ("age_count / on (result) calls_total", "not both sides"),
            (
                "label_replace(age_count, \"a\", \"b\", \"c\", \"d\")",
                "not understood",
            ),
            ("sum(rate(calls_total))", "expected"),
        ];
        for (expr, expected) in cases {
            let problems = labels(expr, &known()).expect_err(expr).join("; ");
            assert!(problems.contains(expected), "{expr}: {problems}");
        }
    }
}
