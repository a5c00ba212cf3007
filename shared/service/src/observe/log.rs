//! Logs on standard output: one JSON object per line, or readable lines on a terminal.

use std::{fmt, io::IsTerminal};

use clap::ValueEnum;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use super::context::{RequestContext, text};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Pretty,
}

/// Starts logging to standard output. `RUST_LOG` sets the filter; the default is `info`.
pub fn init(format: Option<LogFormat>) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .with_default_directive(Level::INFO.into())
        .from_env()
        .map_err(|error| {
            anyhow::anyhow!(
                "RUST_LOG is invalid: {error}; write it like info or info,service=debug"
            )
        })?;
    let terminal = std::io::stdout().is_terminal();
    let format = format.unwrap_or(if terminal { LogFormat::Pretty } else { LogFormat::Json });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal)
        .event_format(LogFormatter(format))
        .try_init()
        .map_err(anyhow::Error::from_boxed)?;
    std::panic::set_hook(Box::new(|panic| {
        // A panic's message may contain a secret value, so only its location is logged.
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "panicked");
    }));
    Ok(())
}

/// Whether an event of the AWS SDK may hold a value or a credential. At the level TRACE, the SDK logs
/// whole bodies and signed headers. At all levels, its providers of credentials log their errors,
/// which quote the output of a credential process and the responses of endpoints.
fn may_hold_secrets(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target.starts_with("aws_config")
        || (*metadata.level() == Level::TRACE && target.starts_with("aws_"))
}

/// Formats an event with the IDs of its request. The IDs come from the task, because a span per
/// request would cost more than a cached response.
struct LogFormatter(LogFormat);

impl<S, N> FormatEvent<S, N> for LogFormatter
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        spans: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if may_hold_secrets(event.metadata()) {
            return Ok(());
        }
        let context = RequestContext::current();
        if self.0 == LogFormat::Pretty {
            if let Some(context) = context {
                write!(writer, "{} ", text(&context.request_id()))?;
            }
            return Format::default().format_event(spans, writer, event);
        }

        let mut line = Fields(serde_json::Map::new());
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        line.put("timestamp", timestamp);
        line.put("level", event.metadata().level().as_str());
        line.put("target", event.metadata().target());
        if let Some(context) = context {
            line.put("request_id", text(&context.request_id()));
            line.put("trace_id", format!("{:032x}", context.trace().trace_id));
        }
        event.record(&mut line);
        writeln!(writer, "{}", serde_json::Value::Object(line.0))
    }
}

struct Fields(serde_json::Map<String, serde_json::Value>);

impl Fields {
    fn put(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }
}
