//! Requests other than a `GET` of an existing route.

use e2e::stack::Stack;
use reqwest::Method;

const ROUTES: [&str; 8] = [
    "/buckets",
    "/params",
    "/param/app/key",
    "/values/app",
    "/healthz",
    "/livez",
    "/readyz",
    "/metrics",
];

#[tokio::test]
async fn another_path_is_not_found() {
    let stack = Stack::start().await;
    let refused = stack.aux.get("/").await;
    refused.problem(405, "method-not-allowed");
    assert_eq!(refused.header("allow"), Some("POST"), "AWS's protocol is there");
    for path in ["/nothing", "/buckets/", "/buckets/x", "/BUCKETS", "/.env", "/param", "/%00"] {
        for service in [&stack.aux, &stack.main] {
            let problem = service.get(path).await.problem(404, "not-found");
            assert_eq!(problem["retryable"], false);
        }
    }
    assert_eq!(stack.aws.proxy.all_calls() + stack.between.all_calls(), 0);
}

#[tokio::test]
async fn another_method_gets_405_with_the_allowed_ones() {
    let stack = Stack::start().await;
    for service in [&stack.aux, &stack.main] {
        for path in ROUTES {
            for method in
                [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS]
            {
                let reply = service.send(method, path, &[]).await;
                reply.problem(405, "method-not-allowed");
                let allow = reply.header("allow").unwrap_or_default();
                let mut allowed: Vec<_> = allow.split(',').map(str::trim).collect();
                allowed.sort_unstable();
                assert_eq!(allowed, ["GET", "HEAD"], "{path}");
            }
        }
    }
    assert_eq!(stack.main.send(Method::DELETE, "/inventory", &[]).await.status, 405);
    assert_eq!(stack.aws.proxy.all_calls() + stack.between.all_calls(), 0);
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let stack = Stack::start().await;
    stack.aws.put("/app/key", "hush").await;
    for service in [&stack.aux, &stack.main] {
        for path in ROUTES.into_iter().chain(["/param/app/none", "/param/with%20space"]) {
            let (get, head) =
                (service.get(path).await, service.send(Method::HEAD, path, &[]).await);
            assert_eq!(head.status, get.status, "{} {path}", service.name);
            assert_eq!(head.body, "", "{} {path}", service.name);
            assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        }
    }
    assert_eq!(stack.main.send(Method::HEAD, "/inventory", &[]).await.status, 200);
}
