//! A request to aux-service: what a query needs from it, and the message that is sent.

use cache::Mode;
use http::{HeaderValue, Method, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Request;
use service::{
    contract::{
        problem,
        routes::RouteId,
        ssm::{self, TARGET},
        status::HISTORY_QUERY,
    },
    server::{Query, SsmQuery},
};
use url::Url;

/// The initial capacity for a path below the base's, in bytes. Nearly every path fits.
const USUAL_PATH: usize = 128;

const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// A request to aux-service. It holds nothing of the client's request but what the route needs: no
/// header, and no credential.
pub(crate) struct AuxRequest {
    pub(crate) route: RouteId,
    input: Input,
    /// Whether aux-service must not respond from its cache.
    revalidate: bool,
}

/// The parts of a request besides its route.
enum Input {
    /// A `GET`, with the parameter of its path and its leading slash.
    Path(Option<String>),
    /// A `GET` of `/status`, with or without the history.
    Status { history: bool },
    /// A `POST` in AWS's protocol: the target, and the normal form of the body.
    Ssm { target: &'static str, body: String },
}

impl AuxRequest {
    /// A `GET` of a route without a parameter.
    pub(crate) fn get(route: RouteId) -> Self {
        Self { route, input: Input::Path(None), revalidate: false }
    }

    /// The request for the status of aux-service, with or without its history.
    pub(crate) fn status(history: bool) -> Self {
        Self { route: RouteId::Status, input: Input::Status { history }, revalidate: false }
    }

    /// The request for the response to a query.
    pub(crate) fn of(query: &Query) -> Self {
        Self {
            route: query.route,
            input: Input::Path(query.parameter().map(str::to_owned)),
            revalidate: query.mode == Mode::Revalidate,
        }
    }

    /// The request for the response to a query in AWS's protocol.
    pub(crate) fn of_ssm(SsmQuery { request, mode, .. }: &SsmQuery) -> Self {
        let operation = request.operation();
        Self {
            route: operation.into(),
            input: Input::Ssm { target: operation.target(), body: request.body() },
            revalidate: *mode == Mode::Revalidate,
        }
    }

    /// Builds the message for aux-service at `base`. A 304 may be the response only to a request
    /// with a `validator`.
    pub(crate) fn message(&self, base: &Url, validator: Option<Box<[u8]>>) -> Request {
        let mut message = match &self.input {
            Input::Path(name) => {
                Request::new(Method::GET, url(base, self.route.base(), name.as_deref()))
            }
            Input::Status { history } => {
                let mut url = url(base, self.route.path(), None);
                url.set_query(history.then_some(HISTORY_QUERY));
                Request::new(Method::GET, url)
            }
            Input::Ssm { target, body } => {
                let mut message = Request::new(Method::POST, url(base, self.route.path(), None));
                let headers = message.headers_mut();
                headers.insert(TARGET, HeaderValue::from_static(target));
                headers.insert(header::CONTENT_TYPE, ssm::CONTENT_TYPE);
                // Retries, circuits and the cache depend on the problem. The layer *problems* sends
                // it to the client in AWS's form.
                headers.insert(header::ACCEPT, problem::CONTENT_TYPE);
                *message.body_mut() = Some(body.clone().into());
                message
            }
        };
        let headers = message.headers_mut();
        if let Some(validator) = validator.and_then(|tag| HeaderValue::from_bytes(&tag).ok()) {
            headers.insert(header::IF_NONE_MATCH, validator);
        }
        if self.revalidate {
            // Without this header, aux-service would respond from its cache.
            headers.insert(header::CACHE_CONTROL, NO_CACHE);
        }
        message
    }
}

/// The URL of a request. No name can lead out of its route: a name with a character or a segment
/// that has a meaning in URLs becomes one encoded segment.
fn url(base: &Url, route: &str, name: Option<&str>) -> Url {
    // `Url::path_segments_mut` would drop tabs and line ends, and so change the name.
    let below = base.path().trim_end_matches('/');
    let mut path = String::with_capacity(below.len() + USUAL_PATH);
    path.extend([below, route]);
    match name {
        // A plain name is its own cache key in aux-service, which needs no decoding there.
        Some(name) if is_plain(name) => path.push_str(name),
        Some(name) => {
            path.push('/');
            path.extend(utf8_percent_encode(name, NON_ALPHANUMERIC));
        }
        None => {}
    }
    let mut url = base.clone();
    url.set_path(&path);
    url
}

/// Whether a name consists of segments of harmless characters, each with a slash before it.
fn is_plain(name: &str) -> bool {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && part.iter().all(harmless);
    name.strip_prefix('/')
        .is_some_and(|name| name.as_bytes().split(|&byte| byte == b'/').all(plain))
}
