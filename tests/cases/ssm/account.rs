//! The parameters that the clients read.

use e2e::{MARK, moto::Aws};
use serde_json::json;

/// A name with the fifteen levels that AWS allows.
pub(super) const DEEP: &str = "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15";

/// The number of parameters below `/list`: more than two pages.
pub(super) const LISTED: usize = 23;

/// Returns an account with every kind of parameter.
///
/// The parameters are created, and so listed by the emulator, in the opposite order of their names. A
/// service that does not keep AWS's order is found.
pub(super) async fn stocked() -> Aws {
    let aws = Aws::start().await;
    let mut parameters = special();
    parameters.extend(
        (0..LISTED)
            .map(|number| (format!("/list/{number:02}"), "String", format!("{MARK} {number}"))),
    );
    parameters.extend(
        (0..10).map(|number| (format!("/ten/{number}"), "String", format!("{MARK} {number}"))),
    );
    parameters.sort();
    parameters.reverse();
    for (name, kind, value) in parameters {
        aws.put_typed(&name, kind, &value).await;
        if name == "/app/key" {
            aws.put_typed(&name, kind, &format!("{MARK} 2")).await;
            aws.put_typed(&name, kind, &format!("{MARK} 3")).await;
            aws.label(&name, 2, "stable").await;
        }
    }
    let described = json!({
        "Name": "/app/described", "Type": "String", "Value": format!("{MARK} described"), "Overwrite": true,
        "Description": "Größe \"in\" Zoll", "AllowedPattern": "^hush.*", "Tier": "Advanced",
    });
    aws.ssm("PutParameter", described).await;
    aws
}

fn special() -> Vec<(String, &'static str, String)> {
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{MARK}{}\n-----END CERTIFICATE-----\n",
        "MIIBszCCAVmgAwIBAgIUQm+/=\n".repeat(20)
    );
    let values = [
        ("/-._/_.-", "String", format!("{MARK} symbols")),
        (DEEP, "String", format!("{MARK} deep")),
        ("/UPPER/lower", "String", format!("{MARK} case")),
        (
            "/app/control",
            "String",
            format!("{MARK}\nline\r\nline\ttab \u{7f}\u{2028}\u{feff} end \n"),
        ),
        ("/app/db/host", "String", format!("{MARK}.example.com")),
        ("/app/db/password", "SecureString", format!("{MARK} pass\"word\\")),
        ("/app/db/port", "String", format!("{MARK} 5432")),
        ("/app/described", "String", format!("{MARK} new")),
        ("/app/hosts", "StringList", format!("{MARK}-a,{MARK}-b,,{MARK}-c")),
        (
            "/app/html",
            "String",
            format!("{MARK} </script> & \"double\" 'single' `back` \\ / {{\"json\":[null]}}"),
        ),
        ("/app/key", "String", format!("{MARK} 1")),
        ("/app/large", "String", MARK.repeat(2048)),
        ("/app/pem", "SecureString", pem),
        ("/app/spaces", "String", format!("  {MARK}  ")),
        ("/app/unicode", "String", format!("{MARK} 🦀👩‍👩‍👧 配置 пароль عربى e\u{301}")),
        ("/one", "String", format!("{MARK} one")),
        ("plain", "String", format!("{MARK} plain")),
    ];
    values.into_iter().map(|(name, kind, value)| (name.to_owned(), kind, value)).collect()
}
