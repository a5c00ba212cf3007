//! Traces: the spans of a request, exported to an OpenTelemetry collector.
//!
//! Without a collector this module does nothing: a [`Span`] is `None`, and the request ID and the
//! trace ID are forwarded unchanged. With a collector, each step of a request is a child span of
//! the step before. Calls carry the ID of their span, so that the trace continues in the next
//! service.

use std::{borrow::Cow, sync::OnceLock};

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Span as _, SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, TraceState, Tracer,
        TracerProvider,
    },
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan},
};
use url::Url;

use crate::observe::context::{RequestContext, TraceParent};

static TRACING: OnceLock<(SdkTracerProvider, SdkTracer)> = OnceLock::new();

/// Starts the export to the collector at this address, if there is one. OpenTelemetry's own
/// variables set the sampler and the batch size: `OTEL_TRACES_SAMPLER`, `OTEL_BSP_…`.
pub fn init(service: &'static str, version: &str, collector: Option<&Url>) -> anyhow::Result<()> {
    let Some(collector) = collector else { return Ok(()) };
    let endpoint = format!("{}/v1/traces", collector.as_str().trim_end_matches('/'));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .build()?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", version.to_owned()))
        .build();
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let tracer = provider.tracer(service);
    let _ = TRACING.set((provider, tracer));
    Ok(())
}

/// Sends the remaining spans. Call it after the last request.
pub async fn flush() {
    if let Some((provider, _)) = TRACING.get() {
        let flushed = tokio::task::spawn_blocking(|| provider.shutdown()).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// A span of a request, from its creation to its drop. It does nothing while traces are off.
pub struct Span(Option<SdkSpan>);

impl Span {
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|span| span.is_recording())
    }

    /// Starts the span of a request, as a child of the caller's span if the caller sent one.
    pub(crate) fn server(
        caller: impl FnOnce() -> Option<TraceParent>,
        name: impl FnOnce() -> String,
    ) -> Self {
        Self::child_of(caller, SpanKind::Server, name)
    }

    /// Starts the span of a call that the current task's request makes.
    pub fn client(name: impl FnOnce() -> String) -> Self {
        let parent = || RequestContext::current().map(|context| context.trace());
        Self::child_of(parent, SpanKind::Client, name)
    }

    fn child_of(
        parent: impl FnOnce() -> Option<TraceParent>,
        kind: SpanKind,
        name: impl FnOnce() -> String,
    ) -> Self {
        Self(TRACING.get().map(|(_, tracer)| {
            let parent = parent().map_or_else(Context::new, |parent| {
                Context::new().with_remote_span_context(remote(&parent))
            });
            let builder = tracer.span_builder(Cow::<'static, str>::Owned(name())).with_kind(kind);
            tracer.build_with_context(builder, &parent)
        }))
    }

    /// Sets an attribute of the span. It must never contain a name, a parameter's value or external
    /// text.
    pub fn set_attribute(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// Marks the span as failed.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(why));
        }
    }

    /// Returns the request's context inside this span. Spans and calls made with it are children of
    /// this span.
    pub fn context(&self, context: RequestContext) -> RequestContext {
        match &self.0 {
            Some(span) => context.with_span(traceparent(span.span_context())),
            None => context,
        }
    }
}

fn remote(parent: &TraceParent) -> SpanContext {
    let flags = TraceFlags::new(parent.flags);
    SpanContext::new(parent.trace_id.into(), parent.span_id.into(), flags, true, TraceState::NONE)
}

fn traceparent(context: &SpanContext) -> TraceParent {
    TraceParent {
        trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(context.span_id().to_bytes()),
        flags: context.trace_flags().to_u8(),
    }
}
