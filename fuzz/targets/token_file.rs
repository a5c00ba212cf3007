//! The content of a token file: an accepted token makes a valid and sensitive header, and no error
//! quotes a token.
#![no_main]

use std::{fs, path::PathBuf, str::FromStr, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use service::auth::{TokenSource, TokenFile};

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("fuzz-token-file-{}", std::process::id())));

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("it needs nothing")
});

fuzz_target!(|content: &[u8]| {
    fs::write(&*FILE, content).expect("the folder for temporary files is writable");
    let read = TokenFile::from_str(FILE.to_str().expect("UTF-8"));
    let lines = || content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let said = |line: &&[u8]| !line.is_empty() && !line.starts_with(b"#");
    match read {
        Ok(file) => {
            let _entered = RUNTIME.enter();
            let header = TokenSource::watch(&file).header();
            let first = lines().find(said).expect("a token is a line");
            assert_eq!(header.as_bytes(), [b"Bearer ", first].concat());
            assert!(header.is_sensitive());
        }
        Err(reason) => {
            let reason = reason.to_string();
            for line in lines().filter(|line| line.len() >= 16) {
                let line = String::from_utf8_lossy(line);
                assert!(reason.contains("openssl rand -hex 32") || !reason.contains(&*line));
            }
        }
    }
});
