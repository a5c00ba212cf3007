//! Tests of `/buckets`.

use e2e::{proxy::Answer, stack::Stack};
use serde_json::json;

#[tokio::test]
async fn buckets_come_in_the_order_of_aws() {
    let stack = Stack::start().await;
    assert_eq!(stack.ok("/buckets").await, json!({ "buckets": [] }));
    for name in ["order-zeta", "order-alpha.logs", "order-m1"] {
        stack.aws.create_bucket(name).await;
    }
    let buckets = json!({ "buckets": ["order-zeta", "order-alpha.logs", "order-m1"] });
    assert_eq!(stack.ok("/buckets").await, buckets);
}

#[tokio::test]
async fn every_page_of_the_buckets_is_read() {
    let stack = Stack::start().await;
    // moto cuts the list at `max-buckets` and returns no token, so the test supplies S3's pages
    // itself.
    stack.aws.proxy.fail_nth("ListBuckets", 1, page(&["a-one", "b-two"], Some("next/+=page")));
    stack.aws.proxy.fail_nth("ListBuckets", 2, page(&[], Some("third")));
    stack.aws.proxy.fail_nth("ListBuckets", 3, page(&["c-three"], None));
    let reply = stack.main.get("/buckets").await.ok();
    assert_eq!(reply["buckets"], json!(["a-one", "b-two", "c-three"]));

    let calls = stack.aws.proxy.requests("ListBuckets");
    assert!(calls[0].target.contains("max-buckets="), "S3 sends pages only with max-buckets");
    assert!(calls[1].target.contains("continuation-token=next%2F%2B%3Dpage"), "{:?}", calls[1]);
    assert!(calls[2].target.contains("continuation-token=third"), "{:?}", calls[2]);
    assert_eq!(calls.len(), 3);
}

fn page(names: &[&str], token: Option<&str>) -> Answer {
    let buckets: String = names
        .iter()
        .map(|name| {
            format!(
                "<Bucket><Name>{name}</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket>"
            )
        })
        .collect();
    let token = token
        .map(|token| format!("<ContinuationToken>{token}</ContinuationToken>"))
        .unwrap_or_default();
    Answer::new(
        200,
        "application/xml",
        &format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <ListAllMyBucketsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Owner><ID>owner</ID></Owner><Buckets>{buckets}</Buckets>{token}</ListAllMyBucketsResult>"
        ),
    )
}
