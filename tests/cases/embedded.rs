//! The embedded backend must respond like AWS, because trials without AWS use it.

use std::{env::temp_dir, fs, process};

use e2e::{
    moto::Aws,
    service::{self, Setup},
};
use serde_json::json;

#[tokio::test]
async fn the_embedded_backend_has_the_bucket_and_the_parameter_of_the_challenge() {
    let aux = Setup::of("aux-service").with("BACKEND", "embedded").start().await;
    let main = Setup::of("main-api").with("AUX_URL", &aux.url).start().await;
    let version = env!("CARGO_PKG_VERSION");
    for (path, member, value) in [
        ("/buckets", "buckets", json!(["kantox-challenge-bucket"])),
        ("/params", "parameters", json!(["/challenge/kantox"])),
        ("/param/challenge/kantox", "value", json!("cloud-engineer")),
    ] {
        let from_aux = json!({ "version": version, member: value });
        assert_eq!(aux.get(path).await.ok(), from_aux);
        let from_main = json!({ "main_version": version, "aux_version": version, member: value });
        assert_eq!(main.get(path).await.ok(), from_main);
    }
}

#[tokio::test]
async fn the_embedded_backend_answers_as_aws_does() {
    let parameters = [
        ("/app/host", "String", "hush 主机"),
        ("/app/hosts", "StringList", "hush-a,hush-b"),
        ("/app/password", "SecureString", "hush-secret"),
        ("/other", "String", "hush\n\"quoted\""),
    ];
    let aws = Aws::start().await;
    aws.create_bucket("embedded-b").await;
    aws.create_bucket("embedded-a").await;
    let mut entries = Vec::new();
    for (name, kind, value) in parameters {
        aws.put_typed(name, kind, value).await;
        entries.push(json!({ "name": name, "type": kind, "value": value }));
    }
    // Each JSON document is a YAML document.
    let content = json!({ "buckets": ["embedded-b", "embedded-a"], "parameters": entries });
    let file = temp_dir().join(format!("e2e-embedded-{}.yaml", process::id()));
    fs::write(&file, content.to_string()).unwrap();

    for allowed in ["false", "true"] {
        let real = service::aux(&aws).with("ALLOW_SECURE_STRINGS", allowed).start().await;
        let embedded = Setup::of("aux-service")
            .with("BACKEND", "embedded")
            .with("EMBEDDED_FILE", file.to_str().unwrap())
            .with("ALLOW_SECURE_STRINGS", allowed)
            .with("CACHE", "off")
            .start()
            .await;
        for path in [
            "/buckets",
            "/params",
            "/param/app/host",
            "/param/app/hosts",
            "/param/app/password",
            "/param/other",
            "/param/app/host:1",
            "/param/app/host:2",
            "/param/app/host:label",
            "/param/none",
            "/param/with%20space",
            "/values/app",
            "/values/none",
            "/values/other",
        ] {
            let (real, embedded) = (real.get(path).await, embedded.get(path).await);
            assert_eq!(real.status, embedded.status, "{path}");
            let (mut expected, mut got) = (real.json(), embedded.json());
            for body in [&mut expected, &mut got] {
                body.as_object_mut().unwrap().remove("request_id");
            }
            assert_eq!(expected, got, "{path}");
            assert_eq!(real.header("content-type"), embedded.header("content-type"), "{path}");
        }
    }
    fs::remove_file(file).unwrap();
}
