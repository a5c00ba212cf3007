//! A short run over all kinds of responses of AWS. `make soak` runs a long one.

#[tokio::test]
async fn no_response_of_aws_causes_a_panic_a_wrong_404_or_an_error_of_others() {
    e2e::chaos::run(300).await;
}
