//! Histograms that count in place.
//!
//! The Prometheus exporter stores each sample with its time until a drain. At a hundred thousand
//! hits a second, the samples take more memory than the cache, and each drain delays the requests
//! that run at that moment. The buckets of our histograms are known in advance, so a sample only
//! increments the counter of its bucket. The exporter handles counters and gauges.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;
use parking_lot::RwLock;

/// The name of a histogram: the time from a change of a parameter until its publication.
pub const CHANGE_DELAY: &str = "change_delay_seconds";

/// Bucket bounds in seconds. The smallest separate a cached response from a slow one, and the
/// largest exceed every default deadline.
const BUCKETS: [f64; 17] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// Bucket bounds of [`CHANGE_DELAY`] in seconds. A message that is received again arrives half a minute
/// later, and the queue of the Terraform module keeps it for five minutes.
const CHANGE_DELAY_BUCKETS: [f64; 12] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Returns the upper bounds of a histogram's buckets.
fn buckets(name: &str) -> &'static [f64] {
    match name {
        cache::SERVED_AGE => &cache::SERVED_AGE_BUCKETS,
        CHANGE_DELAY => &CHANGE_DELAY_BUCKETS,
        _ => &BUCKETS,
    }
}

/// A recorder that passes all metrics except histograms to the exporter's recorder.
pub(super) struct Recorder {
    pub(super) others: PrometheusRecorder,
    pub(super) histograms: Arc<Histograms>,
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.others.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.others.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        let mut families = self.histograms.0.write();
        families.entry(key.as_str().to_owned()).or_default().description = Some(description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.others.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.others.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.histograms.of(key))
    }
}

/// The histograms by name.
#[derive(Default)]
pub(super) struct Histograms(RwLock<BTreeMap<String, Family>>);

#[derive(Default)]
struct Family {
    description: Option<SharedString>,
    series: std::collections::HashMap<Key, Arc<Counts>>,
}

impl Histograms {
    fn of(&self, key: &Key) -> Arc<Counts> {
        let known =
            self.0.read().get(key.name()).and_then(|family| family.series.get(key).cloned());
        known.unwrap_or_else(|| {
            let mut families = self.0.write();
            let family = families.entry(key.name().to_owned()).or_default();
            let new = || Arc::new(Counts::new(buckets(key.name())));
            Arc::clone(family.series.entry(key.clone()).or_insert_with(new))
        })
    }

    /// Appends the Prometheus text exposition of all histograms.
    pub(super) fn render(&self, text: &mut String) {
        for (name, family) in self.0.read().iter().filter(|(_, family)| !family.series.is_empty()) {
            if let Some(description) = &family.description {
                let description = description.replace('\\', r"\\").replace('\n', r"\n");
                let _ = writeln!(text, "# HELP {name} {description}");
            }
            let _ = writeln!(text, "# TYPE {name} histogram");
            for (key, counts) in &family.series {
                counts.render(name, &labels(key), text);
            }
            text.push('\n');
        }
    }
}

/// Formats labels as `a="1",b="2",`.
fn labels(key: &Key) -> String {
    key.labels().fold(String::new(), |mut text, label| {
        let value = label.value().replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
        let _ = write!(text, "{}=\"{value}\",", label.key());
        text
    })
}

/// The bucket counters of one series.
struct Counts {
    bounds: &'static [f64],
    /// The number of samples in each bucket, without those of smaller buckets. The last element
    /// counts the samples beyond the greatest bound.
    counts: Box<[AtomicU64]>,
    /// The sum of all samples, as the bits of an `f64`.
    sum: AtomicU64,
}

impl Counts {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    fn render(&self, name: &str, labels: &str, text: &mut String) {
        let mut count = 0;
        let bounds = self.bounds.iter().map(|bound| bound as &dyn std::fmt::Display);
        for (counted, bound) in
            self.counts.iter().zip(bounds.chain([&"+Inf" as &dyn std::fmt::Display]))
        {
            count += counted.load(Relaxed);
            let _ = writeln!(text, "{name}_bucket{{{labels}le=\"{bound}\"}} {count}");
        }
        let sum = f64::from_bits(self.sum.load(Relaxed));
        let labels = match labels.strip_suffix(',') {
            Some(labels) => format!("{{{labels}}}"),
            None => String::new(),
        };
        let _ = writeln!(text, "{name}_sum{labels} {sum}\n{name}_count{labels} {count}");
    }
}

impl HistogramFn for Counts {
    fn record(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Relaxed);
        let add = |sum| Some((f64::from_bits(sum) + value).to_bits());
        // `add` never returns `None`, so the update always succeeds.
        let _ = self.sum.fetch_update(Relaxed, Relaxed, add);
    }
}

#[cfg(test)]
mod tests {
    use metrics::with_local_recorder;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn samples_are_rendered_in_the_prometheus_format() {
        let histograms = Arc::<Histograms>::default();
        let others = PrometheusBuilder::new().build_recorder();
        let recorder = Recorder { others, histograms: Arc::clone(&histograms) };
        with_local_recorder(&recorder, || {
            metrics::describe_histogram!("x_duration_seconds", "How \\ long\nit took");
            let named = metrics::histogram!("x_duration_seconds", "a" => "1\"\\\n", "b" => "2");
            for seconds in [0.000_1, 0.000_11, 0.3, 0.5, 30.5] {
                named.record(seconds);
            }
            metrics::histogram!("x_duration_seconds").record(1.0);
            metrics::histogram!("x_duration_seconds").record(1.0);
            metrics::describe_histogram!("y_duration_seconds", "Nothing was recorded");
        });
        let mut text = String::new();
        histograms.render(&mut text);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], r"# HELP x_duration_seconds How \\ long\nit took");
        assert_eq!(lines[1], "# TYPE x_duration_seconds histogram");
        for line in [
            r#"x_duration_seconds_bucket{a="1\"\\\n",b="2",le="0.0001"} 1"#,
            r#"x_duration_seconds_bucket{a="1\"\\\n",b="2",le="0.00025"} 2"#,
            r#"x_duration_seconds_bucket{a="1\"\\\n",b="2",le="0.25"} 2"#,
            r#"x_duration_seconds_bucket{a="1\"\\\n",b="2",le="0.5"} 4"#,
            r#"x_duration_seconds_bucket{a="1\"\\\n",b="2",le="30"} 4"#,
            r#"x_duration_seconds_bucket{a="1\"\\\n",b="2",le="+Inf"} 5"#,
            r#"x_duration_seconds_sum{a="1\"\\\n",b="2"} 31.30021"#,
            r#"x_duration_seconds_count{a="1\"\\\n",b="2"} 5"#,
            r#"x_duration_seconds_bucket{le="1"} 2"#,
            "x_duration_seconds_sum 2",
            "x_duration_seconds_count 2",
        ] {
            assert!(lines.contains(&line), "{line} is not in {text}");
        }
        assert!(!text.contains("y_duration_seconds"), "{text}");
    }
}
