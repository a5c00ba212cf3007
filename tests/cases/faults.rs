//! Broken connections and invalid responses.

use e2e::{
    moto::Aws,
    proxy::{Answer, Fault},
    refusals, service,
    stack::{ROUTES, Stack, each_route},
};
use serde_json::json;

/// Starts a stack with data for every route.
async fn stocked(bucket: &str) -> Stack {
    let stack = Stack::start().await;
    stack.aws.create_bucket(bucket).await;
    stack.aws.put("/app/key", "hush: this is the value").await;
    stack
}

#[tokio::test]
async fn a_connection_to_aws_that_is_reset_makes_aws_unavailable() {
    let stack = stocked("faults-reset").await;
    stack.aws.proxy.fail_all(Fault::Reset);
    each_route(async |path, _| {
        let problem = stack.refused(path, 502, "aws-unavailable").await;
        assert_eq!(problem["retryable"], true);
    })
    .await;
    stack.aws.proxy.heal();
    for (path, _) in ROUTES {
        stack.ok(path).await;
    }
}

#[tokio::test]
async fn one_reset_is_hidden_by_a_retry() {
    let stack = stocked("faults-one-reset").await;
    each_route(async |path, operation| {
        stack.aws.proxy.fail_nth(operation, 1, Fault::Reset);
        stack.main.get(path).await.ok();
        assert_eq!(stack.aws.proxy.calls(operation), 2, "{operation}");
    })
    .await;
}

#[tokio::test]
async fn a_refused_connection_to_aws_is_aws_unavailable() {
    let aws = Aws::start().await;
    // No process listens on the port of the discard protocol.
    let aux = service::aux(&aws).with("AWS_ENDPOINT_URL", "http://127.0.0.1:9").start().await;
    each_route(async |path, _| {
        aux.get(path).await.problem(502, "aws-unavailable");
    })
    .await;
}

#[tokio::test]
async fn a_truncated_response_of_aws_is_an_error() {
    let stack = stocked("faults-truncated").await;
    stack.aws.proxy.fail_all(Fault::Truncate);
    each_route(async |path, _| {
        stack.refused(path, 502, "aws-unavailable").await;
    })
    .await;
}

#[tokio::test]
async fn a_response_that_is_not_from_aws_is_aws_unavailable() {
    let stack = stocked("faults-garbage").await;
    for answer in [
        refusals::gateway_page(),
        Answer::new(200, "application/x-amz-json-1.1", "{\"Parameter"),
        Answer::new(200, "application/xml", "<html"),
        Answer::new(502, "text/html", "<html><body>Bad gateway</body></html>"),
        Answer::new(403, "text/html", "<html><body>Blocked by the proxy</body></html>"),
        Answer::new(404, "text/plain", "404 page not found"),
    ] {
        stack.aws.proxy.fail_all(answer);
        each_route(async |path, _| {
            stack.refused(path, 502, "aws-unavailable").await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_parameter_without_its_value_is_aws_unavailable() {
    let stack = Stack::start().await;
    for body in ["{}", r#"{"Parameter":{"Name":"/app/key","Type":"String"}}"#] {
        let answer = Answer::new(200, "application/x-amz-json-1.1", body);
        stack.aws.proxy.fail("GetParameter", answer);
        stack.refused("/param/app/key", 502, "aws-unavailable").await;
    }
}

#[tokio::test]
async fn a_page_token_that_repeats_is_aws_unavailable() {
    let stack = Stack::start().await;
    let circle = json!({ "Parameters": [{ "Name": "/a" }], "NextToken": "the same for ever" });
    let answer = Answer::new(200, "application/x-amz-json-1.1", &circle.to_string());
    stack.aws.proxy.fail("DescribeParameters", answer);
    stack.refused("/params", 502, "aws-unavailable").await;
}

#[tokio::test]
async fn a_broken_connection_to_aux_service_makes_the_upstream_unavailable() {
    let stack = stocked("faults-upstream").await;
    for fault in [Fault::Reset, Fault::Truncate] {
        stack.between.fail_all(fault);
        for (path, _) in ROUTES {
            let problem = stack.main.get(path).await.problem(502, "upstream-unavailable");
            assert_eq!(problem["retryable"], true);
        }
    }
    stack.between.heal();
    for (path, _) in ROUTES {
        stack.main.get(path).await.ok();
    }
}

#[tokio::test]
async fn an_aux_service_that_is_gone_makes_the_upstream_unavailable() {
    let main = service::main_api("http://127.0.0.1:9").start().await;
    for (path, _) in ROUTES {
        main.get(path).await.problem(502, "upstream-unavailable");
    }
}

#[tokio::test]
async fn a_response_that_is_not_from_aux_service_is_invalid() {
    let stack = stocked("faults-nonsense").await;
    let json = |body: &str| Answer::new(200, "application/json", body);
    for answer in [
        refusals::gateway_page(),
        json("{\"version\":\"1\",\"bu"),
        json("{}"),
        json("null"),
        json("{\"version\":\"1\",\"buckets\":7,\"parameters\":7,\"value\":7,\"values\":7}"),
        // The responses of Traefik and Kubernetes for a service that does not exist.
        Answer::new(404, "text/plain", "404 page not found"),
        Answer::new(503, "text/plain", "no available server"),
        Answer::new(500, "application/json", "{\"message\":\"not a problem\"}"),
        Answer::new(302, "text/html", "").header("location", "http://127.0.0.1:9/login"),
        Answer::new(204, "application/json", ""),
    ] {
        stack.between.fail_all(answer.clone());
        for (path, _) in ROUTES {
            let reply = stack.main.get(path).await;
            assert_eq!(reply.status, 502, "{answer:?}: {reply:?}");
            reply.problem(502, "upstream-unavailable");
        }
    }
}

#[tokio::test]
async fn more_requests_at_once_than_allowed_are_refused_at_once() {
    let aws = Aws::start().await;
    aws.proxy.fail("ListBuckets", Fault::Hang);
    let aux = service::aux(&aws)
        .with("MAX_IN_FLIGHT", "1")
        .with("AWS_ATTEMPT_TIMEOUT", "1500ms")
        .with("AWS_OPERATION_TIMEOUT", "1600ms")
        .start()
        .await;
    let main = service::main_api(&aux.url).with("MAX_IN_FLIGHT", "1").start().await;
    for service in [&aux, &main] {
        let calls = aws.proxy.calls("ListBuckets");
        let first = service.get("/buckets");
        let second = async {
            // Wait until the first request has reached AWS, so that it occupies the service.
            while aws.proxy.calls("ListBuckets") == calls {
                tokio::task::yield_now().await;
            }
            let problem = service.get("/params").await.problem(503, "overloaded");
            assert_eq!(problem["retryable"], true);
            for probe in ["/healthz", "/livez", "/readyz", "/metrics"] {
                assert_eq!(service.get(probe).await.status, 200, "{probe} is never refused");
            }
        };
        let (first, ()) = tokio::join!(first, second);
        first.problem(504, "aws-timeout");
        // The slot is free again.
        service.get("/params").await.ok();
    }
}
