# Sourced before the commands of a document, $PAGE: functions in place of the programs that need a cluster, AWS or the network.
# The real kubectl makes the Secrets and the real helm renders the charts. $LOG collects the objects, $LOG.failed the failures.
# shellcheck shell=bash
set -Eeuo pipefail

# fail MESSAGE: bash goes on after a failure inside of "$(…)", so the message is also recorded.
fail() {
    printf '%s: %s\n' "$PAGE" "$*" | tee -a "$LOG.failed" >&2
    return 1
}

kubectl() {
    case " $* " in
        *" create "*) { echo ---; command kubectl "$@" --dry-run=client --output=json --validate=false; } >>"$LOG" ;;
        *" -k "*) command kubectl kustomize "${!#}" >/dev/null ;;
        *" apply "*" -f - ") { echo ---; cat; } >>"$LOG" ;;
        *" get secret "*) printf 'password' | base64 ;;
        *" get nodes "*) printf '192.0.2.10' ;;
        *" get crd "*) echo customresourcedefinition.apiextensions.k8s.io/prometheuses.monitoring.coreos.com ;;
        *" annotate "* | *" apply "* | *" delete "* | *" get "* | *" label "* | *" patch "* | *" rollout "* | *" wait "*) ;;
        *) fail "kubectl $*: unknown command" ;;
    esac
}

helm() {
    local argument
    for argument; do [[ $argument != helm/* || -e $argument ]] || fail "helm $*: $argument does not exist"; done
    case "$1 ${2:-}" in
        "template "*) command helm "$@" ;;
        # A chart with --repo is on the network; checks/gitops/sources.py renders it with --download.
        "upgrade --install") [[ " $* " = *" --repo "* ]] || command helm template "${@:3}" >/dev/null ;;
        "test "* | "uninstall "*) ;;
        *) fail "helm $*: unknown command, or an upgrade without --install" ;;
    esac
}

terraform() {
    # make terraform plans and applies the same files.
    case $1 in init | plan | apply) [ -f main.tf ] && return || fail "terraform $*: $PWD has no main.tf" ;; esac
    grep -q "^output \"${!#}\"" terraform/outputs.tf || fail "terraform $*: no such output"
    case ${!#} in
        *_queue_url) printf 'https://sqs.eu-west-2.amazonaws.com/123456789012/kantox-challenge-parameter-changes' ;;
        *) printf '123456789012.dkr.ecr.eu-west-2.amazonaws.com/kantox-challenge' ;;
    esac
}

git() {
    case $* in
        "remote get-url "*) echo https://git.example.com/team/cached-gateway.git ;;
        "add "*) [ -e "$2" ] || fail "git $*: no such file" ;;
    esac
}

aws() { printf 'AKIAEXAMPLE\tsecret\n'; }
curl() { :; }
sudo() { :; }
xargs() { cat >/dev/null; }
