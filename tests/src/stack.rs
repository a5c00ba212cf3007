//! The whole system: both services, AWS behind them, and a proxy on each connection.

use serde_json::Value;

use crate::{
    moto::Aws,
    proxy::Proxy,
    service::{self, Service, Setup},
};

/// A path of each route that calls AWS, and the AWS operation that it calls.
pub const ROUTES: [(&str, &str); 4] = [
    ("/buckets", "ListBuckets"),
    ("/params", "DescribeParameters"),
    ("/param/app/key", "GetParameter"),
    ("/values/app", "GetParametersByPath"),
];

/// Runs a check for all routes at the same time.
pub async fn each_route(check: impl AsyncFn(&'static str, &'static str)) {
    let [a, b, c, d] = ROUTES.map(|(path, operation)| check(path, operation));
    tokio::join!(a, b, c, d);
}

pub struct Stack {
    pub main: Service,
    /// The proxy between main-api and aux-service.
    pub between: Proxy,
    pub aux: Service,
    pub aws: Aws,
}

impl Stack {
    pub async fn start() -> Self {
        Self::with(|aux| aux, |main| main).await
    }

    /// Starts a stack with changed settings for its services.
    pub async fn with(aux: impl FnOnce(Setup) -> Setup, main: impl FnOnce(Setup) -> Setup) -> Self {
        let aws = Aws::start().await;
        let aux = aux(service::aux(&aws).with("AUX_VERSION", "aux-1")).start().await;
        let between = Proxy::before(&aux.url).await;
        let main = main(service::main_api(&between.url).with("MAIN_VERSION", "main-1"));
        Self { main: main.start().await, between, aux, aws }
    }

    /// Sends a request to both services, checks that main-api returns aux-service's body and both
    /// versions, and returns the body.
    pub async fn ok(&self, path: &str) -> Value {
        // The requests are sequential, because aux-service would make one call to AWS for both.
        let (aux, main) = (self.aux.get(path).await, self.main.get(path).await);
        let (mut aux, mut main) = (aux.ok(), main.ok());
        assert_eq!(taken(&mut aux, "version"), "aux-1", "{path}");
        assert_eq!(taken(&mut main, "aux_version"), "aux-1", "{path}");
        assert_eq!(taken(&mut main, "main_version"), "main-1", "{path}");
        assert_eq!(main, aux, "main-api changed what aux-service said about {path}");
        main
    }

    /// Sends a request to both services, checks that both reject it in the same way, and returns
    /// main-api's problem.
    pub async fn refused(&self, path: &str, status: u16, code: &str) -> Value {
        let (aux, main) = (self.aux.get(path).await, self.main.get(path).await);
        let (from_aux, from_main) = (aux.problem(status, code), main.problem(status, code));
        for member in ["type", "title", "detail", "error", "retryable"] {
            assert_eq!(
                from_main[member], from_aux[member],
                "{path}: `{member}` changed on its way"
            );
        }
        from_main
    }
}

fn taken(body: &mut Value, member: &str) -> Value {
    body.as_object_mut().and_then(|body| body.remove(member)).unwrap_or_default()
}
