//! What OpenTelemetry's environment variables ask for.
//!
//! Their meaning is that of
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>. Endpoints,
//! headers, timeouts, limits and the resource are read by the SDK itself; here is whether
//! anything is sent at all, and of which calls.

use std::env;

use super::sampling::Sampling;

/// What is sent to a collector.
#[derive(Debug, Clone, Copy, Default)]
pub struct Environment {
    /// Which calls are traced; `None` where nobody collects spans.
    pub(super) sampling: Option<Sampling>,
    /// Whether metrics are sent too, and not only scraped.
    pub(super) sends_metrics: bool,
    /// Whether the SDK is told how many links a span may have.
    pub(super) limits_links: bool,
}

/// A variable that says what cannot be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentProblem {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Environment {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// All problems at once.
    pub fn read() -> Result<Self, Vec<EnvironmentProblem>> {
        Self::from_variables(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(
        value: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, Vec<EnvironmentProblem>> {
        let is_true = |name| value(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if is_true("OTEL_SDK_DISABLED") {
            return Ok(Self::default());
        }
        let mut problems = Vec::new();
        let mut problem = |variable, problem: String| {
            problems.push(EnvironmentProblem { variable, problem });
        };
        let mut exporter = |variable| match value(variable).as_deref() {
            None => None,
            Some("none") => Some(false),
            Some("otlp") => Some(true),
            Some(other) => {
                problem(variable, format!("must be otlp or none, is {other:?}"));
                None
            }
        };
        let traces = exporter("OTEL_TRACES_EXPORTER");
        let metrics = exporter("OTEL_METRICS_EXPORTER");
        let has = |name| value(name).is_some();
        let has_endpoint = has("OTEL_EXPORTER_OTLP_ENDPOINT");
        // Of itself an endpoint turns on traces alone: it may be a Jaeger, which takes no metrics,
        // and these are there to be scraped.
        let sends_traces =
            traces.unwrap_or(has_endpoint || has("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"));
        let sends_metrics = metrics.unwrap_or(has("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"));
        for (variable, matters) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", sends_traces || sends_metrics),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", sends_traces),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", sends_metrics),
        ] {
            if let Some(other) = value(variable).filter(|it| matters && it != "grpc") {
                problem(
                    variable,
                    format!("must be grpc, the only one that Semel speaks, is {other:?}"),
                );
            }
        }
        for variable in [
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
        ] {
            let compressed = value(variable).filter(|_| sends_traces || sends_metrics);
            if let Some(other) = compressed.filter(|it| it != "gzip" && it != "none") {
                problem(variable, format!("must be gzip or none, is {other:?}"));
            }
        }
        for variable in [
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        ] {
            if (sends_traces || sends_metrics) && has(variable) {
                let told = "is not supported; a collector behind TLS is verified by the certificates that \
                            the system trusts, or those in SSL_CERT_FILE";
                problem(variable, told.to_owned());
            }
        }
        let sampling = sends_traces.then(|| {
            let argument = value("OTEL_TRACES_SAMPLER_ARG");
            Sampling::parse(value("OTEL_TRACES_SAMPLER").as_deref(), argument.as_deref())
                .unwrap_or_else(|(variable, told)| {
                    problem(variable, told);
                    Sampling::default()
                })
        });
        if problems.is_empty() {
            Ok(Self {
                sampling,
                sends_metrics,
                limits_links: has("OTEL_SPAN_LINK_COUNT_LIMIT"),
            })
        } else {
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, Vec<EnvironmentProblem>> {
        Environment::from_variables(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_is_sent_unless_a_variable_says_where() {
        let none = read(&[]).unwrap();
        assert!(none.sampling.is_none() && !none.sends_metrics);
        let jaeger = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")];
        let traces = read(&jaeger).unwrap();
        assert!(traces.sampling.is_some() && !traces.sends_metrics);
        let both = [jaeger[0], ("OTEL_METRICS_EXPORTER", "otlp")];
        assert!(read(&both).unwrap().sends_metrics);
        for off in [
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert!(
                read(&[jaeger[0], off]).unwrap().sampling.is_none(),
                "{off:?}"
            );
        }
        let own = [(
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "http://127.0.0.1:4317",
        )];
        let metrics = read(&own).unwrap();
        assert!(metrics.sampling.is_none() && metrics.sends_metrics);
    }

    #[test]
    fn what_cannot_be_done_is_told_by_its_variable_and_all_at_once() {
        let problems = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_TRACES_SAMPLER", "often"),
            ("OTEL_METRICS_EXPORTER", "prometheus"),
        ])
        .unwrap_err();
        let variables: Vec<_> = problems.iter().map(|problem| problem.variable).collect();
        assert_eq!(
            variables,
            [
                "OTEL_METRICS_EXPORTER",
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "OTEL_TRACES_SAMPLER"
            ]
        );
    }
}
