//! Tests of the probes, the metrics, and the end of the process.

use std::time::Duration;

use e2e::{http, proxy::Fault, refusals, service::Service, stack::Stack};

#[tokio::test]
async fn a_service_is_live_and_ready_during_an_aws_outage() {
    let stack = Stack::start().await;
    stack.aws.proxy.fail_all(Fault::Reset);
    for service in [&stack.aux, &stack.main] {
        service.get("/buckets").await.problem(502, "aws-unavailable");
        for probe in ["/healthz", "/livez", "/readyz"] {
            service.get(probe).await.ok();
        }
    }
}

#[tokio::test]
async fn readiness_reports_an_outage_and_its_end() {
    let stack = Stack::start().await;
    let said = async |service: &Service| service.get("/readyz").await.ok().to_string();
    for service in [&stack.aux, &stack.main] {
        service.get("/buckets").await.ok();
        assert!(!said(service).await.contains("degraded"), "{}", said(service).await);
    }
    stack.aws.proxy.fail_all(Fault::Reset);
    stack.aux.get("/buckets").await.problem(502, "aws-unavailable");
    assert!(said(&stack.aux).await.contains("degraded"), "{}", said(&stack.aux).await);
    stack.between.fail_all(Fault::Reset);
    stack.main.get("/buckets").await.problem(502, "upstream-unavailable");
    assert!(said(&stack.main).await.contains("degraded"), "{}", said(&stack.main).await);

    stack.aws.proxy.heal();
    stack.between.heal();
    for service in [&stack.aux, &stack.main] {
        service.get("/buckets").await.ok();
        assert!(!said(service).await.contains("degraded"), "{}", said(service).await);
    }
}

#[tokio::test]
async fn a_callers_mistake_is_no_outage() {
    let stack = Stack::start().await;
    let refusal =
        refusals::ssm(400, "ValidationException", "Parameter name: can't be prefixed with aws");
    stack.aws.proxy.fail("GetParameter", refusal);
    stack.refused("/param/aws/key", 400, "invalid-parameter-name").await;
    stack.refused("/values/with%20space", 400, "invalid-parameter-name").await;
    for service in [&stack.aux, &stack.main] {
        let readiness = service.get("/readyz").await.ok().to_string();
        assert!(!readiness.contains("degraded"), "{}: {readiness}", service.name);
    }
}

#[tokio::test]
async fn a_service_that_drains_is_not_ready_but_still_answers() {
    let mut stack = Stack::with(
        |aux| aux.with("SHUTDOWN_DELAY", "1s"),
        |main| main.with("SHUTDOWN_DELAY", "1s"),
    )
    .await;
    for service in [&mut stack.main, &mut stack.aux] {
        let url = service.url.clone();
        let watch = async {
            let ready = async || http::get(&format!("{url}/readyz")).await.status;
            while ready().await == 200 {}
            assert_eq!(ready().await, 503);
            http::get(&format!("{url}/livez")).await.ok();
            http::get(&format!("{url}/buckets")).await.ok();
        };
        let (status, ()) = tokio::join!(service.terminate(), watch);
        assert_eq!(status.code(), Some(0), "{}", service.log());
    }
}

#[tokio::test]
async fn an_open_request_is_finished_before_the_process_ends() {
    let mut stack = Stack::start().await;
    stack.aws.proxy.fail("ListBuckets", Fault::Delay(Duration::from_millis(400)));
    let url = format!("{}/buckets", stack.main.url);
    let open = tokio::spawn(async move { http::get(&url).await });
    while stack.aws.proxy.calls("ListBuckets") == 0 {
        tokio::task::yield_now().await;
    }
    // Both services end at once, as in a cluster that shuts down.
    let (main, aux) = tokio::join!(stack.main.terminate(), stack.aux.terminate());
    assert_eq!((main.code(), aux.code()), (Some(0), Some(0)));
    open.await.unwrap().ok();
}

#[tokio::test]
async fn probes_may_have_an_address_of_their_own() {
    let stack = Stack::with(
        |aux| aux.with("ADMIN_ADDR", "127.0.0.1:0"),
        |main| main.with("ADMIN_ADDR", "127.0.0.1:0"),
    )
    .await;
    for service in [&stack.aux, &stack.main] {
        let admin = service.admin_url().await;
        for path in ["/healthz", "/livez", "/readyz", "/metrics"] {
            assert_eq!(http::get(&format!("{admin}{path}")).await.status, 200, "{path}");
            service.get(path).await.problem(404, "not-found");
        }
        http::get(&format!("{admin}/buckets")).await.problem(404, "not-found");
        service.get("/buckets").await.ok();
    }
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_never_by_path() {
    let stack = Stack::start().await;
    stack.aws.put("/app/key", "hush").await;
    for path in ["/buckets", "/param/app/key", "/param/app/none", "/wp-login.php"] {
        stack.main.get(path).await;
        stack.aux.get(path).await;
    }
    for service in [&stack.aux, &stack.main] {
        let reply = service.get("/metrics").await;
        assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
        let requests: Vec<_> = reply
            .body
            .lines()
            .filter(|line| line.starts_with("axum_http_requests_total{"))
            .collect();
        let counted = |labels: [&str; 2]| {
            requests.iter().any(|line| labels.iter().all(|label| line.contains(label)))
        };
        for labels in [
            [r#"endpoint="/buckets""#, r#"status="200""#],
            [r#"endpoint="/param/{name}""#, r#"status="200""#],
            [r#"endpoint="/param/{name}""#, r#"status="404""#],
            [r#"endpoint="unmatched""#, r#"status="404""#],
        ] {
            assert!(counted(labels), "{}: {labels:?} is not in {requests:#?}", service.name);
        }
        assert!(!reply.body.contains("wp-login") && !reply.body.contains("app/key"));
        assert!(!reply.body.contains(e2e::MARK));
        for metric in ["process_cpu_seconds_total", "process_resident_memory_bytes", "build_info{"]
        {
            assert!(reply.body.lines().any(|line| line.starts_with(metric)), "{metric}");
        }
    }
}
