//! Everything at once: both services, AWS behind them, and a proxy on each connection.

use serde_json::Value;

use crate::{
    moto::Aws,
    proxy::Proxy,
    service::{self, Service, Setup},
};

/// A path of each route that asks AWS, and the operation of AWS that answers it.
pub const ROUTES: [(&str, &str); 4] = [
    ("/buckets", "ListBuckets"),
    ("/params", "DescribeParameters"),
    ("/param/app/key", "GetParameter"),
    ("/values/app", "GetParametersByPath"),
];

/// Does this for all routes at the same time.
pub async fn each_route(check: impl AsyncFn(&'static str, &'static str)) {
    let [a, b, c, d] = ROUTES.map(|(path, operation)| check(path, operation));
    tokio::join!(a, b, c, d);
}

pub struct Stack {
    pub main: Service,
    /// Between main-api and aux-service.
    pub between: Proxy,
    pub aux: Service,
    pub aws: Aws,
}

impl Stack {
    pub async fn start() -> Self {
        Self::with(|aux| aux, |main| main).await
    }

    /// A stack whose services are set up a little differently.
    pub async fn with(aux: impl FnOnce(Setup) -> Setup, main: impl FnOnce(Setup) -> Setup) -> Self {
        let aws = Aws::start().await;
        let aux = aux(service::aux(&aws).with("AUX_VERSION", "aux-1")).start().await;
        let between = Proxy::before(&aux.url).await;
        let main = main(service::main_api(&between.url).with("MAIN_VERSION", "main-1"));
        Self { main: main.start().await, between, aux, aws }
    }

    /// Asks both services, checks that main-api tells what aux-service tells and who they are,
    /// and returns what they told.
    pub async fn ok(&self, path: &str) -> Value {
        // One after the other: aux-service would ask AWS once for both.
        let (aux, main) = (self.aux.get(path).await, self.main.get(path).await);
        let (mut aux, mut main) = (aux.ok(), main.ok());
        assert_eq!(taken(&mut aux, "version"), "aux-1", "{path}");
        assert_eq!(taken(&mut main, "aux_version"), "aux-1", "{path}");
        assert_eq!(taken(&mut main, "main_version"), "main-1", "{path}");
        assert_eq!(main, aux, "main-api changed what aux-service said about {path}");
        main
    }

    /// Asks both services, checks that both refuse in the same way, and returns main-api's problem.
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
