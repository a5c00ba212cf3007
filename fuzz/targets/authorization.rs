//! The `Authorization` header of a request: only a token of the file is accepted.
#![no_main]

use std::{io::Write, str::FromStr, sync::LazyLock};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use libfuzzer_sys::fuzz_target;
use service::auth::{TokenVerifier, TokenFile};

const TOKEN: &str = "a-token-of-the-file";

static ACCEPTED: LazyLock<TokenVerifier> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("fuzz-authorization-{}", std::process::id()));
    std::fs::File::create(&path)
        .and_then(|mut file| file.write_all(TOKEN.as_bytes()))
        .expect("the folder for temporary files is writable");
    let file = TokenFile::from_str(path.to_str().expect("UTF-8")).expect("usable");
    let _ = std::fs::remove_file(path);
    // A task of this runtime watches the file. The runtime never runs it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let _entered = Box::leak(Box::new(runtime.expect("it needs nothing"))).enter();
    TokenVerifier::watch(&file)
});

fuzz_target!(|input: (Vec<u8>, Option<Vec<u8>>)| {
    let (one, other) = input;
    let mut headers = HeaderMap::new();
    for value in [Some(&one), other.as_ref()].into_iter().flatten() {
        let Ok(value) = HeaderValue::from_bytes(value) else { return };
        headers.append(AUTHORIZATION, value);
    }
    let text = String::from_utf8_lossy(&one);
    let (scheme, token) = text.split_at_checked(7).unwrap_or_default();
    let right = other.is_none()
        && scheme.eq_ignore_ascii_case("bearer ")
        && token.trim_matches([' ', '\t']) == TOKEN;
    match ACCEPTED.check(&headers) {
        Ok(()) => assert!(right),
        Err(refusal) => assert!(!right && refusal.status() == 401),
    }
});
