//! Names, paths and prefixes of parameters from clients and operators.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The target includes the file itself, because its package depends on the whole AWS SDK.
#[allow(dead_code)]
#[path = "../../aux/src/name.rs"]
mod name;

use name::{ParameterName, ParameterPath, Prefixes};

fuzz_target!(|input: (&str, &str)| {
    let (text, prefixes) = input;
    let prefixes = prefixes.parse::<Prefixes>();
    if let Ok(prefixes) = &prefixes {
        assert_eq!(prefixes.to_string().parse().as_ref(), Ok(prefixes));
    }
    if let Ok(path) = ParameterPath::parse(text) {
        assert_eq!(ParameterPath::parse(path.as_str()), Ok(path.clone()));
        assert!(!path.holds(path.as_str()) || path.as_str() == "/");
    }
    let Ok(name) = ParameterName::parse(text) else { return };
    assert_eq!(ParameterName::parse(name.as_str()), Ok(name.clone()));
    let bare = name.bare();
    assert!(bare.len() <= 2048 && bare.split('/').count() <= 16, "{bare}");
    let levels = bare.strip_prefix('/').expect("a leading slash");
    for level in levels.split('/') {
        assert!(!matches!(level, "" | "." | ".."), "{bare}");
        assert!(level.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)), "{bare}");
    }
    if let Ok(prefixes) = &prefixes {
        // Computes the result again, level by level: an allowed name begins with one of the
        // prefixes.
        let shown = prefixes.to_string();
        let mut paths = shown.split(',').map(|path| path.trim_matches('/'));
        let starts = |path: &str| {
            path.is_empty()
                || path.split('/').zip(levels.split('/')).filter(|(a, b)| a == b).count()
                    == path.split('/').count()
        };
        assert_eq!(prefixes.allow(bare), paths.any(starts), "{shown} {bare}");
    }
});
