//! The spans that an OpenTelemetry collector receives for a request.

use std::time::Duration;

use e2e::{
    proxy::{Answer, Fault, Proxy},
    service::{Service, Setup},
    stack::Stack,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, status::StatusCode},
};
use prost::Message;
use reqwest::Method;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A collector that accepts and records everything.
struct Collector(Proxy);

/// A span, and the service that sent it.
struct ExportedSpan {
    service: String,
    span: Span,
}

impl Collector {
    async fn start() -> Self {
        let proxy = Proxy::before("http://127.0.0.1:9").await;
        proxy.fail_all(Answer::new(200, "application/x-protobuf", ""));
        Self(proxy)
    }

    fn setup(&self, service: Setup) -> Setup {
        service
            .with("OTEL_EXPORTER_OTLP_ENDPOINT", &self.0.url)
            .with("OTEL_BSP_SCHEDULE_DELAY", "100")
    }

    /// Returns the spans of the trace, once there are this many.
    async fn spans(&self, count: usize) -> Vec<ExportedSpan> {
        let mut spans = Vec::new();
        for _ in 0..200 {
            spans = self.exported();
            if spans.len() >= count {
                return spans;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let names: Vec<_> = spans.iter().map(|it| (&it.service, &it.span.name)).collect();
        panic!("only {} of {count} spans: {names:?}", spans.len());
    }

    fn exported(&self) -> Vec<ExportedSpan> {
        let mut exported = Vec::new();
        for request in self.0.requests("/v1/traces") {
            let export = ExportTraceServiceRequest::decode(&*request.body).expect("OTLP");
            for resource in export.resource_spans {
                let attributes = resource.resource.map(|resource| resource.attributes);
                let name = attributes.into_iter().flatten().find(|a| a.key == "service.name");
                let service = name.map(|name| text(name.value)).unwrap_or_default();
                let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                exported.extend(spans.map(|span| ExportedSpan { service: service.clone(), span }));
            }
        }
        exported.retain(|it| hex(&it.span.trace_id) == TRACE);
        exported
    }
}

impl ExportedSpan {
    fn attribute(&self, key: &str) -> String {
        let found = self.span.attributes.iter().find(|attribute| attribute.key == key);
        found.map(|attribute| text(attribute.value.clone())).unwrap_or_default()
    }

    fn failed(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
    }
}

fn text(value: Option<opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn ask(service: &Service, path: &str) {
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    service.send(Method::GET, path, &[("traceparent", &traceparent)]).await.ok();
}

fn only<'a>(spans: &'a [ExportedSpan], service: &str, name: &str) -> &'a ExportedSpan {
    let found: Vec<_> =
        spans.iter().filter(|t| t.service == service && t.span.name == name).collect();
    assert_eq!(found.len(), 1, "{service}: {name}");
    found[0]
}

#[tokio::test]
async fn one_trace_leads_from_the_caller_through_a_retry_to_aws() {
    let collector = Collector::start().await;
    let stack = Stack::with(
        |aux| collector.setup(aux),
        |main| collector.setup(main).with("RETRY_MAX_ATTEMPTS", "2"),
    )
    .await;
    stack.between.fail_nth("/buckets", 1, Fault::Reset);
    ask(&stack.main, "/buckets").await;

    let spans = collector.spans(5).await;
    let of_main: Vec<_> = spans.iter().filter(|it| it.service == "main-api").collect();
    let received = of_main
        .iter()
        .find(|it| hex(&it.span.parent_span_id) == CALLER)
        .expect("the request itself is below the caller's span");
    assert_eq!(received.span.name, "GET /buckets");
    assert_eq!(received.attribute("http.response.status_code"), "200");
    let attempts: Vec<_> =
        of_main.iter().filter(|it| it.span.parent_span_id == received.span.span_id).collect();
    let outcomes: Vec<_> =
        attempts.iter().map(|it| (it.attribute("outcome"), it.failed())).collect();
    assert_eq!(outcomes, [("unreachable".to_owned(), true), ("ok".to_owned(), false)]);

    let answered = only(&spans, "aux-service", "GET /buckets");
    assert_eq!(answered.span.parent_span_id, attempts[1].span.span_id);
    let call = only(&spans, "aux-service", "ListBuckets");
    assert_eq!(call.span.parent_span_id, answered.span.span_id);
    assert_eq!(call.attribute("outcome"), "ok");
}

#[tokio::test]
async fn a_trace_shows_hits_and_calls() {
    let collector = Collector::start().await;
    let stack = Stack::with(
        |aux| aux.with("CACHE", "on"),
        |main| collector.setup(main).with("CACHE", "on"),
    )
    .await;
    ask(&stack.main, "/buckets").await;
    ask(&stack.main, "/buckets").await;
    let spans = collector.spans(3).await;
    let requests = spans.iter().filter(|it| hex(&it.span.parent_span_id) == CALLER);
    let mut handled: Vec<_> = requests.map(|it| it.attribute("cache.status")).collect();
    handled.sort();
    assert_eq!(handled.len(), 2, "{handled:?}");
    assert!(handled.iter().any(|status| status.contains("main-api; hit")), "{handled:?}");
    assert!(handled.iter().any(|status| status.contains("main-api; fwd=")), "{handled:?}");
}

#[tokio::test]
async fn the_trace_of_a_failed_call_to_aws_is_marked_and_contains_no_name() {
    let collector = Collector::start().await;
    let stack = Stack::with(|aux| collector.setup(aux), |main| main).await;
    stack.aws.proxy.fail("GetParameter", e2e::refusals::ssm_throttled());
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let headers = [("traceparent", &*traceparent)];
    stack.aux.send(Method::GET, "/param/app/key", &headers).await.problem(503, "aws-throttled");

    let spans = collector.spans(2).await;
    let call = only(&spans, "aux-service", "GetParameter");
    assert_eq!((call.attribute("outcome").as_str(), call.failed()), ("throttled", true));
    let request = only(&spans, "aux-service", "GET /param/{name}");
    assert_eq!(request.attribute("error.type"), "aws-throttled");
    assert!(spans.iter().all(|it| !format!("{:?}", it.span).contains("app/key")));
}

#[tokio::test]
async fn without_a_collector_the_ids_of_the_caller_travel_on_all_the_same() {
    let stack = Stack::start().await;
    ask(&stack.main, "/buckets").await;
    let forwarded = stack.between.requests("/buckets");
    let traceparent = forwarded[0].header("traceparent").unwrap_or_default();
    assert!(traceparent.starts_with(&format!("00-{TRACE}-")), "{traceparent}");
    assert!(traceparent.ends_with("-01"), "{traceparent}");
}
