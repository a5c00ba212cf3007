//! A run over all kinds of responses that an AWS, or a proxy before it, can send: each operation,
//! status, code, content type and delivery. It checks what must hold for every one of them.
//!
//! Each round sends one request whose calls get such a response, and one request for a parameter
//! that AWS serves correctly. The second one must succeed, whatever the first one gets.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::{
    MARK,
    fake_aws::{Account, Call, Delivery, FakeAws, Reply},
    http,
    proxy::Answer,
    service::{self, Service},
};

const STATUSES: [u16; 16] =
    [200, 204, 301, 400, 401, 403, 404, 408, 413, 418, 429, 500, 501, 502, 503, 504];

/// AWS's error codes of each class, codes that no rule knows, and none.
const CODES: [&str; 14] = [
    "",
    "ParameterNotFound",
    "ParameterVersionNotFound",
    "ValidationException",
    "AccessDeniedException",
    "InvalidKeyId",
    "KMSInvalidStateException",
    "ExpiredTokenException",
    "ThrottlingException",
    "SlowDown",
    "InternalServerError",
    "InvalidNextToken",
    "NeverSeenBefore",
    "\u{1f600} not a code\u{7}",
];

const TYPES: [&str; 3] = ["application/x-amz-json-1.1", "application/xml", "text/html"];

/// Bodies of a success that is none.
const BODIES: [&str; 10] = [
    "",
    "{}",
    "[]",
    "null",
    r#"{"Parameter":{}}"#,
    r#"{"Parameter":{"Name":"/chaos","Type":"SecureString"}}"#,
    r#"{"Parameter":{"Name":"/chaos","Type":"Unheard","Value":null,"Version":-1}}"#,
    r#"{"Parameters":[{"Name":"/chaos"}],"NextToken":""}"#,
    r#"{"Parameters":[null],"InvalidParameters":null}"#,
    "<ListAllMyBucketsResult><Buckets><Bucket/></Buckets></ListAllMyBucketsResult>",
];

/// The deliveries. Deliveries that end with a timeout are few, because each takes its time.
const DELIVERIES: [Delivery; 4] =
    [Delivery::Whole, Delivery::Cut, Delivery::Garbled, Delivery::Reset];
const SLOW_DELIVERIES: [Delivery; 2] = [Delivery::Hang, Delivery::Stall];

/// The codes of problems that a client may get. A 500 is a bug.
const PROBLEMS: [&str; 12] = [
    "invalid-parameter-name",
    "parameter-not-found",
    "parameter-unreadable",
    "secure-string-not-allowed",
    "aws-access-denied",
    "aws-credentials",
    "aws-refused",
    "aws-throttled",
    "aws-timeout",
    "aws-unavailable",
    "list-loading",
    "upstream-timeout",
];

/// One kind of response.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    status: u16,
    code: &'static str,
    content_type: &'static str,
    body: &'static str,
    delivery: Delivery,
}

impl Kind {
    /// The kind of a round. A thousand rounds visit every status, code, type, body and delivery,
    /// and most pairs of them: the factors have no common divisor.
    fn of(round: usize) -> Self {
        let delivery = match round % 97 {
            41 => SLOW_DELIVERIES[round / 97 % SLOW_DELIVERIES.len()],
            // Most responses arrive whole: their content is what this run is about.
            _ if round % 5 < 3 => Delivery::Whole,
            _ => DELIVERIES[round / 5 % DELIVERIES.len()],
        };
        Self {
            status: STATUSES[round % STATUSES.len()],
            code: CODES[(round / 3) % CODES.len()],
            content_type: TYPES[(round / 7) % TYPES.len()],
            body: BODIES[(round / 11) % BODIES.len()],
            delivery,
        }
    }

    fn reply(self) -> Reply {
        let body = match (self.status, self.content_type) {
            (200..=399, _) => self.body.to_owned(),
            (_, "application/xml") => {
                format!("<Error><Code>{}</Code><Message>{MARK}</Message></Error>", self.code)
            }
            _ if self.code.is_empty() => "{}".to_owned(),
            _ => serde_json::json!({ "__type": self.code, "message": MARK }).to_string(),
        };
        Reply::from(Answer::new(self.status, self.content_type, &body)).delivered(self.delivery)
    }

    /// Whether AWS has reported with this response that a parameter does not exist.
    fn is_not_found(self) -> bool {
        self.status >= 400
            && self.content_type == TYPES[0]
            && matches!(self.code, "ParameterNotFound" | "ParameterVersionNotFound")
    }
}

/// Runs this many rounds against a pair of services.
///
/// # Panics
///
/// A request got a wrong response, or the services have not counted what they did.
pub async fn run(rounds: usize) {
    let current = Arc::new(Mutex::new(Kind::of(0)));
    let account = Account::of(rounds.min(500));
    let behaviour = {
        let current = Arc::clone(&current);
        move |call: &Call| match call.body.to_string().contains("/app/") {
            true => account.reply(call),
            false => current.lock().expect("no round panics with it").reply(),
        }
    };
    let aws = FakeAws::start(behaviour).await;
    let aux = service::aux_at(&aws.url)
        .with("AWS_ATTEMPT_TIMEOUT", "300ms")
        .with("AWS_OPERATION_TIMEOUT", "700ms")
        .with("AWS_LIST_TIMEOUT", "900ms")
        .with("ALLOW_SECURE_STRINGS", "true")
        .start()
        .await;
    let main = service::main_api(&aux.url)
        .with("BREAKER_CONSECUTIVE_FAILURES", "5")
        .with("BREAKER_MIN_CALLS", "20")
        .start()
        .await;

    let mut codes = BTreeMap::<String, usize>::new();
    for round in 0..rounds {
        let kind = Kind::of(round);
        *current.lock().expect("no round panics with it") = kind;
        let path = match round % 4 {
            0 | 1 => format!("/param/chaos/{round}"),
            2 => format!("/values/chaos/{round}"),
            _ if round % 8 == 3 => "/params".to_owned(),
            _ => "/buckets".to_owned(),
        };
        let reply = http::get(&format!("{}{path}", main.url)).await;
        let code = if reply.status == 200 {
            reply.ok();
            "ok".to_owned()
        } else {
            let code = reply.json()["code"].as_str().unwrap_or_default().to_owned();
            reply.problem(reply.status, &code);
            assert!(PROBLEMS.contains(&&*code), "{kind:?}: {reply:?}");
            assert_ne!(reply.status, 500, "{kind:?}: {reply:?}");
            // A list or a path exists, whatever AWS reports about a parameter.
            let may_be_404 = path.starts_with("/param/") && kind.is_not_found();
            assert!(
                reply.status != 404 || may_be_404,
                "{kind:?}: AWS did not report it: {reply:?}"
            );
            code
        };
        *codes.entry(code).or_default() += 1;
        let good = main.get(&format!("/param/app/{:05}", round % rounds.min(500))).await;
        assert_eq!(good.status, 200, "after {kind:?}: {good:?}");
    }
    eprintln!("chaos: {rounds} rounds, {codes:?}");
    everything_is_counted(&main, &aux, &aws, rounds).await;
    for service in [&main, &aux] {
        assert!(!service.log().contains("panicked"), "{}", service.log());
    }
    let ready = main.get("/readyz").await.json();
    for (route, state) in ready["dependencies"]["circuits"].as_object().expect("circuits") {
        assert_eq!(state, "closed", "{route}");
    }
}

/// Each request is one of `axum_http_requests_total`, and each call one of `aws_requests_total`.
/// The SDK makes up to two attempts of a call, and AWS sees both.
async fn everything_is_counted(main: &Service, aux: &Service, aws: &FakeAws, rounds: usize) {
    let requests =
        sum(main, "axum_http_requests_total", |labels| !labels.contains("/readyz")).await;
    assert_eq!(requests, 2 * rounds as u64);
    for operation in ["GetParameter", "GetParametersByPath", "DescribeParameters", "ListBuckets"] {
        let label = format!("operation=\"{operation}\"");
        let counted = sum(aux, "aws_requests_total", |labels| labels.contains(&label)).await;
        let seen = aws.calls(operation) as u64;
        assert!(counted <= seen && seen <= 2 * counted, "{operation}: {counted} of {seen}");
        assert!(counted > 0, "{operation} was never called");
    }
}

/// Adds up the samples of a metric whose labels match.
async fn sum(service: &Service, metric: &str, matches: impl Fn(&str) -> bool) -> u64 {
    let metrics = service.get("/metrics").await.body;
    let samples = metrics.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(metric)?.split_once("} ")?;
        (labels.starts_with('{') && matches(labels)).then(|| value.parse::<f64>().ok())?
    });
    samples.sum::<f64>() as u64
}
