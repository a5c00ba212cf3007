use super::*;

fn exchange(outcome: ExchangeOutcome) -> Exchange {
    Exchange { host: "127.0.0.1:80".to_owned(), outcome }
}

/// An error like those of STS: a code, then a message.
fn provider_error(text: &str) -> CredentialsError {
    CredentialsError::provider_error(text.to_owned())
}

#[test]
fn the_last_exchange_decides_whether_a_failure_passes() {
    let error = provider_error("hush");
    for (outcome, passing, named) in [
        (ExchangeOutcome::Pending, true, "did not respond in time"),
        (ExchangeOutcome::Refused, true, "refused the connection"),
        (ExchangeOutcome::Failed, true, "cannot be reached"),
        (ExchangeOutcome::Status(500), true, "500"),
        (ExchangeOutcome::Status(503), true, "503"),
        (ExchangeOutcome::Status(429), true, "429"),
        (ExchangeOutcome::Status(400), false, "400"),
        (ExchangeOutcome::Status(401), false, "401"),
        (ExchangeOutcome::Status(404), false, "404"),
        (ExchangeOutcome::Status(200), false, "no valid credentials"),
    ] {
        let failure = LoadError::classify(&error, Some(&exchange(outcome)));
        let text = format!("{failure} {failure:?}");
        assert_eq!(failure.passing, passing, "{text}");
        assert!(text.contains(named) && text.contains("127.0.0.1:80"), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn the_code_of_a_refusal_is_kept_and_its_message_is_not() {
    for (text, code, passing) in [
        ("InvalidIdentityTokenException: hush", "InvalidIdentityTokenException", false),
        ("unhandled error (AccessDenied)", "AccessDenied", false),
        ("unhandled error (Throttling)", "Throttling", true),
        ("IdpCommunicationErrorException: hush", "IdpCommunicationErrorException", true),
    ] {
        let refused = exchange(ExchangeOutcome::Status(400));
        let failure = LoadError::classify(&provider_error(text), Some(&refused));
        assert_eq!(failure.passing, passing, "{failure}");
        let shown = failure.to_string();
        assert!(shown.contains(code) && !shown.contains("hush"), "{shown}");
    }
}

#[test]
fn a_failure_without_a_request_shows_no_text_of_the_provider() {
    for (error, named) in [
        (provider_error("external process exited with code 1. Stderr: hush"), "credential_process"),
        (provider_error("the SSO token hush has expired"), "aws sso login"),
        (CredentialsError::invalid_configuration("hush"), "configuration"),
        (CredentialsError::not_loaded("hush"), "no provider is configured"),
    ] {
        let failure = LoadError::classify(&error, None);
        let text = format!("{failure} {failure:?}");
        assert!(text.contains(named) && !text.contains("hush"), "{text}");
        assert!(!failure.passing, "{text}");
    }
}

#[test]
fn a_machine_without_a_metadata_service_has_no_provider() {
    let missing = CredentialsError::not_loaded("hush");
    let silent = exchange(ExchangeOutcome::Failed);
    assert!(!LoadError::classify(&missing, Some(&silent)).passing);
    let refused = exchange(ExchangeOutcome::Refused);
    assert!(LoadError::classify(&missing, Some(&refused)).passing);
}
