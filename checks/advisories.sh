# Known vulnerabilities of the services' dependencies. The list comes from GitHub, so `make check` does not include this check.
install_cargo_deny
cargo deny --log-level warn check advisories
