//! The text of `--help`.

use e2e::{
    help::{self, Setting},
    service::Setup,
};

const SERVICES: [&str; 2] = ["aux-service", "main-api"];

/// The names of values. Each says the unit or the form, and `--help` explains those that are no
/// plain words.
const VALUES: [&str; 17] = [
    "ATTEMPTS", "BACKEND", "BOOL", "CALLS", "CALLS/S", "DURATION", "FAILURES", "FILE", "FORMAT",
    "IP:PORT", "MODE", "NAMES", "PATHS", "PREFIX", "REQUESTS", "SHARE", "SIZE",
];

async fn settings(binary: &'static str) -> Vec<Setting> {
    let settings = help::settings(&help::text(binary).await);
    settings.into_iter().filter(|setting| setting.heading != "Help").collect()
}

#[tokio::test]
async fn each_setting_has_a_heading_a_description_a_unit_and_a_variable() {
    for binary in SERVICES {
        let settings = settings(binary).await;
        assert!(settings.len() > 20, "{binary} --help has only {} settings", settings.len());
        for setting in settings {
            let Setting { flag, summary, value_name, .. } = &setting;
            assert!(!matches!(&*setting.heading, "" | "Options"), "{flag} has no heading");
            assert!(summary.len() > 10, "{flag} has no description");
            assert!(!summary.ends_with('.'), "a first paragraph has no period: {summary}");
            for detail in &setting.details {
                assert!(detail.ends_with('.'), "a further paragraph is sentences: {detail}");
            }
            let is_unit =
                VALUES.contains(&&**value_name) || matches!(&**value_name, "URL" | "VERSION");
            assert!(is_unit, "{flag} has a value without a unit: {value_name}");
            let variable = flag.trim_start_matches('-').to_uppercase().replace('-', "_");
            assert_eq!(setting.variable.as_deref(), Some(&*variable), "{flag}");
        }
    }
}

/// A setting without a default says what its absence means.
#[tokio::test]
async fn each_setting_has_a_default_or_says_what_happens_without_it() {
    for binary in SERVICES {
        for setting in settings(binary).await {
            let says = setting.details.iter().any(|detail| detail.contains("Without "));
            assert!(setting.default.is_some() || says, "{binary} {} does not say", setting.flag);
        }
    }
}

#[tokio::test]
async fn both_services_have_the_same_settings_under_the_same_headings() {
    let [aux, main] = [settings(SERVICES[0]).await, settings(SERVICES[1]).await];
    let mut shared = 0;
    for of_aux in &aux {
        let Some(of_main) = main.iter().find(|setting| setting.flag == of_aux.flag) else {
            continue;
        };
        shared += 1;
        assert_eq!(of_aux.heading, of_main.heading, "{}", of_aux.flag);
        assert_eq!(of_aux.summary, of_main.summary, "{}", of_aux.flag);
    }
    assert!(shared > 10, "only {shared} settings are shared");
}

#[tokio::test]
async fn help_begins_with_an_example_and_ends_with_exit_status_and_documents() {
    for (binary, example) in [
        ("aux-service", "aux-service --backend embedded"),
        ("main-api", "main-api --aux-url http://127.0.0.1:5000"),
    ] {
        let help = help::text(binary).await;
        let (begin, rest) = help.split_once("Usage: ").expect("a line of usage");
        assert!(begin.contains(example), "{begin}");
        for part in
            ["Exit status:", "  2  the configuration is wrong", "RUST_LOG", "docs/reference.md"]
        {
            assert!(rest.contains(part), "{binary} --help does not have: {part}");
        }
    }
}

#[tokio::test]
async fn help_never_shows_the_environment() {
    let setup = Setup::of("main-api").with("AUX_URL", &format!("http://u:{}@a", e2e::MARK));
    for flag in ["-h", "--help"] {
        let output = setup.clone().flag(flag).run_to_end().await;
        let help = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.status.code(), Some(0));
        assert!(help.contains("AUX_URL") && !help.contains(e2e::MARK), "{help}");
    }
}

#[tokio::test]
async fn a_terminal_of_80_columns_shows_help_without_broken_lines() {
    for binary in SERVICES {
        for flag in ["-h", "--help"] {
            let output = Setup::of(binary).with("COLUMNS", "80").flag(flag).run_to_end().await;
            let help = String::from_utf8(output.stdout).expect("UTF-8");
            let wide = help.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None, "{binary} {flag}");
        }
    }
}
