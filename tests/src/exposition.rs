//! The metrics of a service, as `/metrics` exposes them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{http::Reply, service::Service};

/// A parsed text exposition.
pub struct Exposition {
    /// The type of each metric, by name.
    types: BTreeMap<String, String>,
    /// The samples: name, labels, value.
    pub samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Exposition {
    /// Reads the metrics of a service.
    pub async fn of(service: &Service) -> Self {
        let Reply { status, body, .. } = service.get("/metrics").await;
        assert_eq!(status, 200);
        Self::parse(&body)
    }

    /// Parses the text of `/metrics`.
    pub fn parse(text: &str) -> Self {
        let mut exposition = Self { types: BTreeMap::new(), samples: Vec::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, kind) = declared.split_once(' ').expect("a name and a type");
                let before = exposition.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} is declared twice");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').expect("a series and its value");
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let labels = labels.trim_end_matches('}').split("\",").filter_map(|pair| {
                    let (label, value) = pair.split_once("=\"")?;
                    Some((label.to_owned(), value.trim_end_matches('"').to_owned()))
                });
                let value = value.parse().expect("a number");
                exposition.samples.push((name.to_owned(), labels.collect(), value));
            }
        }
        exposition
    }

    /// Returns the name, the type and the labels of every metric.
    pub fn shapes(&self) -> BTreeSet<(String, String, BTreeSet<String>)> {
        let mut shapes = BTreeSet::new();
        for (sample, labels, _) in &self.samples {
            let mut labels: BTreeSet<String> = labels.keys().cloned().collect();
            let part = ["_bucket", "_sum", "_count"]
                .into_iter()
                .find_map(|part| sample.strip_suffix(part))
                .filter(|name| self.types.get(*name).is_some_and(|kind| kind == "histogram"));
            if part.is_some() {
                labels.remove("le");
            }
            let name = part.unwrap_or(sample);
            let kind = self.types.get(name).unwrap_or_else(|| panic!("{name} has no type"));
            shapes.insert((name.to_owned(), kind.clone(), labels));
        }
        shapes
    }

    /// Returns the sum of the samples of a metric that have these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples_of(name)
            .filter(|(of_it, _)| {
                labels.iter().all(|(label, value)| of_it.get(*label).is_some_and(|v| v == value))
            })
            .map(|(_, value)| value)
            .sum()
    }

    /// Returns the labels and the value of each sample of a metric.
    pub fn samples_of(&self, name: &str) -> impl Iterator<Item = (&BTreeMap<String, String>, f64)> {
        let of_it = self.samples.iter().filter(move |(sample, ..)| sample == name);
        of_it.map(|(_, labels, value)| (labels, *value))
    }
}
