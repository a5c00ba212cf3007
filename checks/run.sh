#!/usr/bin/env bash
# Runs one check: checks/run.sh CHECK [ARGUMENT…]
# A check is the file checks/CHECK.sh, commands without set-up of their own. This script gives it the functions of tools.sh,
# the repository as working directory and the folder $scratch, which is removed afterwards. The first failure ends the check.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
cd "$root"

check=${1:-}
[ -f "checks/$check.sh" ] ||
    die "usage: checks/run.sh CHECK [ARGUMENT…]; CHECK is one of: $(ls checks | sed -n 's/\.sh$//p' | grep -vxE 'run|tools|moto|engine|clients' | xargs)"
shift

scratch=$(mktemp -d)
finish() {
    local status=$?
    rm -rf "$scratch"
    if [ $status = 0 ]; then say "$check: ok ($SECONDS s)"; else say "$check: failed ($SECONDS s)"; fi
}
trap finish EXIT
export PYTHONDONTWRITEBYTECODE=1

# shellcheck source=/dev/null # the check's name is an argument
source "checks/$check.sh"
