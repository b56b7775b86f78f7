//! Which calls are traced. Decided before a span is made, so that all others cost nothing.
//!
//! The SDK's samplers decide the same, but only once everything that makes up a span is there. Names
//! and meaning are those of `OTEL_TRACES_SAMPLER`.

use opentelemetry::trace::SpanContext;

/// Whether a call is traced, by its caller's decision and by chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampling {
    /// Whether a caller that has decided has decided for us.
    follows_caller: bool,
    /// The part of all other calls that is traced, 0 to 1.
    ratio: f64,
}

impl Default for Sampling {
    /// `parentbased_always_on`.
    fn default() -> Self {
        Self {
            follows_caller: true,
            ratio: 1.0,
        }
    }
}

impl Sampling {
    /// Reads the two variables; an error names the one it is about.
    pub fn parse(
        sampler: Option<&str>,
        argument: Option<&str>,
    ) -> Result<Self, (&'static str, String)> {
        let Some(sampler) = sampler else {
            return Ok(Self::default());
        };
        let (follows_caller, root) = match sampler.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, sampler),
        };
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => argument.map_or(Ok(1.0), ratio)?,
            _ => {
                let problem = format!(
                    "must be always_on, always_off or traceidratio, alone or behind parentbased_, \
                     is {sampler:?}"
                );
                return Err(("OTEL_TRACES_SAMPLER", problem));
            }
        };
        Ok(Self {
            follows_caller,
            ratio,
        })
    }

    /// Whether the call is traced that came with this context.
    pub fn samples(self, caller: Option<&SpanContext>) -> bool {
        match caller {
            Some(caller) if self.follows_caller => caller.is_sampled(),
            // The same traces as everybody else who goes by the trace's id.
            Some(caller) => {
                let low = u128::from_be_bytes(caller.trace_id().to_bytes()) as u64;
                self.ratio >= 1.0 || (low >> 1) < (self.ratio * (1u64 << 63) as f64) as u64
            }
            None => self.ratio >= 1.0 || self.ratio > 0.0 && rand::random::<f64>() < self.ratio,
        }
    }
}

fn ratio(text: &str) -> Result<f64, (&'static str, String)> {
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err((
            "OTEL_TRACES_SAMPLER_ARG",
            format!("must be a number from 0 to 1, is {text:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};
    use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample as _};

    use super::*;

    fn caller(id: u128, flags: TraceFlags) -> SpanContext {
        SpanContext::new(
            TraceId::from(id),
            SpanId::from(1),
            flags,
            true,
            TraceState::NONE,
        )
    }

    #[test]
    fn a_callers_decision_is_respected() {
        for sampler in [
            None,
            Some("parentbased_always_off"),
            Some("parentbased_traceidratio"),
        ] {
            let sampling = Sampling::parse(sampler, Some("0")).unwrap();
            assert!(
                sampling.samples(Some(&caller(7, TraceFlags::SAMPLED))),
                "{sampler:?}"
            );
            assert!(
                !sampling.samples(Some(&caller(7, TraceFlags::default()))),
                "{sampler:?}"
            );
        }
        assert!(Sampling::default().samples(None));
        assert!(
            !Sampling::parse(Some("always_off"), None)
                .unwrap()
                .samples(None)
        );
        let on = Sampling::parse(Some("always_on"), None).unwrap();
        assert!(on.samples(Some(&caller(7, TraceFlags::default()))));
    }

    #[test]
    fn by_the_traces_id_the_same_calls_are_sampled_as_by_the_sdk() {
        let sampling = Sampling::parse(Some("traceidratio"), Some("0.3")).unwrap();
        let theirs = Sampler::TraceIdRatioBased(0.3);
        let mut sampled = 0;
        for n in 0..10_000u128 {
            let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let expected = theirs
                .should_sample(
                    None,
                    TraceId::from(id),
                    "",
                    &opentelemetry::trace::SpanKind::Server,
                    &[],
                    &[],
                )
                .decision
                == SamplingDecision::RecordAndSample;
            assert_eq!(
                sampling.samples(Some(&caller(id, TraceFlags::default()))),
                expected
            );
            sampled += u32::from(expected);
        }
        assert!((2_000..4_000).contains(&sampled), "{sampled}");
    }

    #[test]
    fn of_calls_without_a_caller_about_the_ratio_is_sampled() {
        let sampling = Sampling::parse(Some("parentbased_traceidratio"), Some("0.01")).unwrap();
        let sampled = (0..100_000).filter(|_| sampling.samples(None)).count();
        // Sixteen standard deviations.
        assert!((500..1_500).contains(&sampled), "{sampled}");
    }

    #[test]
    fn what_is_no_sampler_is_refused_by_its_variable() {
        assert_eq!(
            Sampling::parse(Some("jaeger_remote"), None).unwrap_err().0,
            "OTEL_TRACES_SAMPLER"
        );
        for bad in ["1.5", "-0.1", "NaN", "some"] {
            assert_eq!(
                Sampling::parse(Some("traceidratio"), Some(bad))
                    .unwrap_err()
                    .0,
                "OTEL_TRACES_SAMPLER_ARG"
            );
        }
    }
}
