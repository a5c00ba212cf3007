//! The settings of a service, as its `--help` describes them.

use crate::service::Setup;

/// One setting in `--help`.
#[derive(Debug)]
pub struct Setting {
    /// The heading above the setting.
    pub heading: String,
    /// The flag, such as `--cache-ttl`.
    pub flag: String,
    /// The name of the value, which also says its unit, such as `DURATION`.
    pub value_name: String,
    /// The first paragraph.
    pub summary: String,
    /// The further paragraphs.
    pub details: Vec<String>,
    pub variable: Option<String>,
    pub default: Option<String>,
}

/// Returns the text of `--help`, in one line a paragraph.
pub async fn text(binary: &'static str) -> String {
    // clap breaks the lines at this width.
    let output = Setup::of(binary).with("COLUMNS", "10000").flag("--help").run_to_end().await;
    assert_eq!(output.status.code(), Some(0), "{binary}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Returns the settings in a text of `--help`.
pub fn settings(help: &str) -> Vec<Setting> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut heading = None;
    for line in help.lines() {
        let is_indented = line.starts_with("      ");
        let text = line.trim();
        match (text.find("--"), settings.last_mut()) {
            _ if text.is_empty() => (),
            _ if !line.starts_with(' ') => heading = text.strip_suffix(':').map(str::to_owned),
            (Some(0 | 4), _) if !line.starts_with("          ") => {
                let given = text.rsplit(", ").next().expect("at least one part");
                let (flag, value_name) = given.split_once(' ').unwrap_or((given, ""));
                settings.push(Setting {
                    heading: heading.clone().unwrap_or_default(),
                    flag: flag.to_owned(),
                    value_name: value_name.trim_matches(['[', ']', '<', '>']).to_owned(),
                    summary: String::new(),
                    details: Vec::new(),
                    variable: None,
                    default: None,
                });
            }
            (_, Some(setting)) if is_indented => {
                let in_brackets =
                    |name: &str| text.strip_prefix(&format!("[{name}: "))?.strip_suffix(']');
                if let Some(variable) = in_brackets("env") {
                    setting.variable = Some(variable.to_owned());
                } else if let Some(default) = in_brackets("default") {
                    setting.default = Some(default.to_owned());
                } else if in_brackets("possible values").is_some() {
                    // They explain themselves.
                } else if setting.summary.is_empty() {
                    text.clone_into(&mut setting.summary);
                } else {
                    setting.details.push(text.to_owned());
                }
            }
            _ => (),
        }
    }
    settings
}
