# Builds the images through the Dockerfile's own stages, without a registry. A stand-in of the same name replaces the base
# image: it mounts this machine's own compiler.
# shellcheck shell=bash disable=SC2154 # root and tools come from tools.sh

images() { buildah --root "$tools/images/root" --runroot "$tools/images/run" --storage-driver overlay "$@"; }

# The only image that the Dockerfile takes from a registry.
toolchain=$(sed -n 's/^FROM .*\(docker\.io[^ ]*\) AS toolchain$/\1/p' "$root/Dockerfile")

stand_in() {
    [ -n "$(images images --quiet "$toolchain" 2>/dev/null)" ] && return 0
    say "making a stand-in for $toolchain (once)"
    local container mount folder
    container=$(images from scratch)
    mount=$(images mount "$container")
    mkdir -p "$mount"/{usr,etc/alternatives,etc/ssl,tmp,root,proc,dev,sys,opt/rust,opt/cargo/registry}
    for folder in bin sbin lib lib64; do [ ! -L /$folder ] || ln -s usr/$folder "$mount/$folder"; done
    cp /etc/passwd /etc/group "$mount/etc/"
    chmod 1777 "$mount/tmp"
    images umount "$container" >/dev/null
    # The build inside has no network: it uses this machine's cache of the registry.
    images config --env PATH=/opt/rust/bin:/usr/bin:/bin --env CARGO_HOME=/opt/cargo --env CARGO_NET_OFFLINE=true "$container"
    images commit --quiet --rm "$container" "$toolchain" >/dev/null
}

# build TARGET: the image of one service, with the service's name.
build() {
    images bud --quiet --layers --pull-never --isolation chroot --network host --target "$1" --tag "$1" \
        --build-arg VERSION="$IMAGE_VERSION" --build-arg REVISION="$IMAGE_REVISION" --build-arg SOURCE="$IMAGE_SOURCE" \
        --volume /usr:/usr:ro --volume /etc/alternatives:/etc/alternatives:ro --volume /etc/ssl:/etc/ssl:ro \
        --volume "$(rustc --print sysroot):/opt/rust:ro" --volume "${CARGO_HOME:-$HOME/.cargo}/registry:/opt/cargo/registry" \
        "$root" >"$tools/images/$1.log" 2>&1 || { tail -n 30 "$tools/images/$1.log" >&2; die "the image of $1 cannot be built; the whole log: $tools/images/$1.log"; }
}

# unpack TARGET FOLDER: writes the image's root file system, its configuration, and the archive for a registry into FOLDER.
unpack() {
    local container mount
    container=$(images from --pull-never "$1")
    mount=$(images mount "$container")
    cp -a "$mount" "$2/rootfs"
    images umount "$container" >/dev/null
    images rm "$container" >/dev/null
    images inspect --type image "$1" >"$2/image.json"
    images push --quiet "$1" "oci-archive:$2/archive.tar"
}
