//! `docs/reference.md` agrees with the programs: settings, routes, error codes and metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::LazyLock,
};

use e2e::{help, service::Setup, stack::Stack};

use crate::metrics::{
    OF_AUX, OF_BOTH, OF_CHANGE_QUEUE, OF_CREDENTIALS, OF_MAIN, OF_SHARED_CACHE, Pinned, shapes_of,
};

static REFERENCE: LazyLock<String> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md");
    fs::read_to_string(path).expect("the reference is there")
});

const SERVICES: [&str; 2] = ["aux-service", "main-api"];

/// One row of a table: the cells by the names of their columns.
#[derive(Debug)]
struct Row {
    heading: String,
    cells: BTreeMap<String, String>,
}

impl Row {
    fn cell(&self, column: &str) -> &str {
        self.cells.get(column).unwrap_or_else(|| panic!("no column {column}: {self:?}"))
    }

    /// Returns the services that the row is about.
    fn services(&self) -> Vec<&'static str> {
        match self.cell("service") {
            "both" => SERVICES.to_vec(),
            one => SERVICES.into_iter().filter(|service| *service == one).collect(),
        }
    }

    /// Returns the pairs of a name in this column and a service.
    fn of_services(&self, column: &str) -> impl Iterator<Item = (String, &'static str)> {
        let services = self.services();
        assert!(!services.is_empty(), "no service: {self:?}");
        let name = plain(self.cell(column));
        services.into_iter().map(move |service| (name.clone(), service))
    }
}

/// Returns the rows of all tables whose first column has this name.
fn rows(first_column: &str) -> Vec<Row> {
    let (mut rows, mut heading, mut columns) = (Vec::new(), String::new(), None);
    for line in REFERENCE.lines() {
        if line.starts_with('#') {
            line.trim_start_matches('#').trim().clone_into(&mut heading);
        }
        let cells = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |"));
        let Some(cells) = cells else {
            if !line.starts_with("|---") {
                columns = None;
            }
            continue;
        };
        let cells: Vec<String> = cells.split(" | ").map(|cell| cell.trim().to_owned()).collect();
        match &columns {
            None => columns = Some(cells),
            Some(names) if names[0] == first_column => {
                assert_eq!(
                    names.len(),
                    cells.len(),
                    "a row has other columns than its table: {line}"
                );
                let cells = names.iter().cloned().zip(cells).collect();
                rows.push(Row { heading: heading.clone(), cells });
            }
            Some(_) => (),
        }
    }
    assert!(!rows.is_empty(), "the reference has no table of {first_column}");
    rows
}

/// Returns a text without the marks of code and links.
fn plain(markdown: &str) -> String {
    let mut text = markdown.replace('`', "");
    while let Some((before, rest)) = text.split_once('[') {
        let Some((shown, rest)) = rest.split_once("](") else { break };
        let Some((_, after)) = rest.split_once(')') else { break };
        text = format!("{before}{shown}{after}");
    }
    text
}

/// The heading of variables that are no flags.
const WITHOUT_FLAG: &str = "Variables without a flag";

#[tokio::test]
async fn each_setting_is_documented_with_its_heading_its_default_and_the_words_of_help() {
    let rows = rows("variable");
    let (others, rows): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.heading == WITHOUT_FLAG);
    let mut documented = BTreeMap::new();
    for row in rows {
        for key in row.of_services("variable") {
            assert!(documented.insert(key.clone(), row).is_none(), "{key:?} has two rows");
        }
    }
    for service in SERVICES {
        let help = help::text(service).await;
        for setting in help::settings(&help) {
            let Some(variable) = setting.variable else { continue };
            let row = documented
                .remove(&(variable.clone(), service))
                .unwrap_or_else(|| panic!("{variable} of {service} is not documented"));
            assert_eq!(row.heading, setting.heading, "{variable}");
            let default = row.cell("default");
            match setting.default {
                Some(value) if variable.ends_with("_VERSION") => {
                    assert!(!value.is_empty() && default == "the package's version", "{variable}");
                }
                Some(value) => assert_eq!(default, format!("`{value}`"), "{variable} of {service}"),
                None => {
                    assert!(!default.starts_with('`'), "{variable} has no default, not {default}")
                }
            }
            let meaning = plain(row.cell("meaning"));
            assert!(
                meaning.starts_with(&setting.summary),
                "{variable}: --help says `{}`, the reference says `{meaning}`",
                setting.summary
            );
        }
        assert!(!others.is_empty());
        for row in &others {
            for (name, _) in row.of_services("variable").filter(|(_, of)| *of == service) {
                assert!(help.contains(&name), "{service} --help does not mention {name}");
                assert!(!help.contains(&format!("[env: {name}]")), "{name} is a flag");
            }
        }
    }
    assert!(documented.is_empty(), "no service has {:?}", documented.keys());
}

/// The pages, which OpenAPI documents do not describe.
const PAGES: [(&str, &str); 5] = [
    ("GET /", "main-api"),
    ("GET /docs", "aux-service"),
    ("GET /docs", "main-api"),
    ("GET /openapi.json", "aux-service"),
    ("GET /openapi.json", "main-api"),
];

#[tokio::test]
async fn each_route_is_documented() {
    let aux = Setup::of("aux-service").with("BACKEND", "embedded").start().await;
    let main = Setup::of("main-api").with("AUX_URL", &aux.url).start().await;
    let mut served = BTreeSet::new();
    for service in [&aux, &main] {
        let document = service.get("/openapi.json").await.json();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for method in operations.as_object().expect("operations").keys() {
                served.insert((format!("{} {path}", method.to_uppercase()), service.name));
            }
        }
        for path in ["/", "/docs", "/openapi.json"] {
            let route = format!("GET {path}");
            let is_page = PAGES.contains(&(&*route, service.name));
            assert_eq!(service.get(path).await.status == 200, is_page, "{route} {}", service.name);
        }
    }
    served.extend(PAGES.map(|(route, service)| (route.to_owned(), service)));
    let documented: BTreeSet<_> =
        rows("route").iter().flat_map(|row| row.of_services("route")).collect();
    let missing: Vec<_> = served.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&served).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}

#[test]
fn each_error_code_is_documented_with_its_status() {
    let status = |statuses: &std::ops::RangeInclusive<u16>| match (statuses.start(), statuses.end())
    {
        (first, last) if first == last => first.to_string(),
        (first, _) => format!("{}xx", first / 100),
    };
    let known: BTreeSet<_> = service::contract::problem::CODES
        .iter()
        .map(|(code, statuses)| ((*code).to_owned(), status(statuses)))
        .collect();
    let documented: BTreeSet<_> = rows("code")
        .iter()
        .map(|row| (plain(row.cell("code")), row.cell("status").to_owned()))
        .collect();
    let missing: Vec<_> = known.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&known).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}

/// The problems in the OpenAPI documents are those that handlers return.
#[tokio::test]
async fn the_openapi_documents_have_no_code_outside_of_the_closed_set() {
    let stack = Stack::start().await;
    let mut seen = BTreeSet::new();
    for service in [&stack.aux, &stack.main] {
        let document = service.get("/openapi.json").await.json();
        let operations = document["paths"].as_object().expect("paths").values();
        let responses = operations.flat_map(|operation| operation["get"]["responses"].as_object());
        for (status, response) in responses.flatten() {
            let examples = &response["content"]["application/problem+json"]["examples"];
            for code in examples.as_object().into_iter().flat_map(|examples| examples.keys()) {
                let status: u16 = status.parse().expect("a status");
                let known = service::contract::problem::CODES
                    .iter()
                    .any(|(known, statuses)| known == code && statuses.contains(&status));
                assert!(known, "{} returns {code} with {status}", service.name);
                seen.insert(code.clone());
            }
        }
    }
    assert!(seen.len() > 15, "the documents have only {seen:?}");
}

#[test]
fn each_metric_is_documented_with_its_type_and_its_labels() {
    let of_aux: [&[Pinned]; 5] =
        [&OF_BOTH, &OF_AUX, &OF_CREDENTIALS, &OF_SHARED_CACHE, &OF_CHANGE_QUEUE];
    let of_main: [&[Pinned]; 2] = [&OF_BOTH, &OF_MAIN];
    let of = |service, metrics: &[&[Pinned]]| {
        let shapes = shapes_of(metrics.iter().copied().flatten()).into_iter();
        shapes.map(move |(name, kind, labels)| (name, service, kind, labels)).collect::<Vec<_>>()
    };
    let exported: BTreeSet<_> =
        [of("aux-service", &of_aux), of("main-api", &of_main)].into_iter().flatten().collect();
    let mut documented = BTreeSet::new();
    for row in rows("metric") {
        let labels = plain(row.cell("labels"));
        let labels: BTreeSet<_> =
            labels.split(", ").filter(|label| *label != "none").map(str::to_owned).collect();
        for (name, service) in row.of_services("metric") {
            documented.insert((name, service, row.cell("type").to_owned(), labels.clone()));
        }
    }
    let missing: Vec<_> = exported.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&exported).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}

#[test]
fn the_table_of_contents_has_each_heading() {
    let headings: BTreeSet<_> = REFERENCE
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| format!("[{heading}](#{})", heading.to_lowercase().replace(' ', "-")))
        .collect();
    assert!(headings.len() > 5);
    for link in headings {
        assert!(REFERENCE.contains(&link), "the table of contents lacks {link}");
    }
}
