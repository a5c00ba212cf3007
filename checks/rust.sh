# The Rust code as text: formatting, lints, documentation, dependencies and their licences.
need cargo
need python3

say "rustfmt"
cargo fmt --all --check
say "clippy"
cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
say "sentences of comments"
python3 checks/sentences.py
say "rustdoc"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items --quiet
install_cargo_deny
say "cargo deny: licences, bans, sources"
# cargo deny reads the manifest of every dependency, also for other platforms, and --offline cannot download the manifests
# that no build has needed.
cargo fetch --locked
cargo deny --offline --log-level error check licenses bans sources
cargo_tool cargo-machete 0.9.2
say "cargo machete: unused dependencies"
cargo machete
