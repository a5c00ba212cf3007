//! The parameters of the demonstration: the settings of five services of a shop.

use e2e::moto::Aws;
use serde_json::json;

/// The services of the shop. The parameters of one are `/shop/SERVICE/SETTING`.
pub(crate) const SERVICES: [&str; 5] = ["cart", "checkout", "payments", "search", "users"];

const SETTINGS: [&str; 10] = [
    "cache-size",
    "endpoint",
    "log-level",
    "owner",
    "pool-size",
    "rate-limit",
    "region",
    "retries",
    "theme",
    "timeout",
];

/// The parameter that changes.
pub(crate) const BANNER: &str = "/shop/banner";

/// The values of the parameter that changes, before and after it.
pub(crate) const BANNER_VALUES: [&str; 2] = ["closed for maintenance", "open again"];

/// Returns the names of all parameters that keep their values.
pub(crate) fn names() -> impl Iterator<Item = String> {
    SERVICES.iter().flat_map(|service| names_of(service))
}

/// Returns the names of one service's parameters.
pub(crate) fn names_of(service: &str) -> impl Iterator<Item = String> {
    SETTINGS.iter().map(move |setting| format!("/shop/{service}/{setting}"))
}

/// Returns the value of a parameter that keeps it.
pub(crate) fn value(name: &str) -> String {
    format!("the value of {name}")
}

/// Stores all parameters, and creates a bucket.
pub(crate) async fn store(aws: &Aws) {
    for name in names() {
        put(aws, &name, &value(&name)).await;
    }
    put(aws, BANNER, BANNER_VALUES[0]).await;
    aws.create_bucket("shop-pictures").await;
}

/// Stores a parameter, or its next version.
pub(crate) async fn put(aws: &Aws, name: &str, value: &str) {
    let body = json!({ "Name": name, "Type": "String", "Value": value, "Overwrite": true });
    aws.ssm("PutParameter", body).await;
}
