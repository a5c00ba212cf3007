# syntax=docker/dockerfile:1

# Both images, one target each:
#   docker build --target aux-service --tag kantox-challenge:aux-service-0.2.0 .
#   docker build --target main-api    --tag kantox-challenge:main-api-0.2.0 .
# Each holds one static binary, the list of public certificate authorities, and nothing else.

FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.95-slim-bookworm AS toolchain
WORKDIR /src
# The compiler always runs on the builder's own architecture: to emulate the other one would take an hour.
ARG TARGETARCH
# hadolint ignore=DL3008
RUN set -eu; \
    case "$TARGETARCH" in \
      amd64) cpu=x86_64 package=x86-64-linux-gnu ;; \
      arm64) cpu=aarch64 package=aarch64-linux-gnu ;; \
      *) echo "no image for $TARGETARCH: amd64 and arm64 are built" >&2; exit 1 ;; \
    esac; \
    if [ "$(dpkg --print-architecture)" != "$TARGETARCH" ]; then \
      apt-get update; \
      apt-get install --yes --no-install-recommends "gcc-$package" "libc6-dev-$TARGETARCH-cross"; \
      rm -rf /var/lib/apt/lists/*; \
      rustup target add "$cpu-unknown-linux-gnu"; \
    fi; \
    mkdir -p .cargo; \
    printf '%s\n' > .cargo/config.toml \
      '[build]' \
      "target = \"$cpu-unknown-linux-gnu\"" \
      'target-dir = "/target"' \
      "[target.$cpu-unknown-linux-gnu]" \
      "linker = \"$cpu-linux-gnu-gcc\"" \
      'rustflags = ["-C", "target-feature=+crt-static"]'

# The workspace without its code: manifests, and an empty file for each library, program and test. What comes out is the
# same until a dependency changes, and then so is the layer that builds the dependencies.
FROM toolchain AS manifests
COPY . .
RUN set -eu; \
    find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -name '*.rs' ! -path './.cargo/*' -delete; \
    find . -path '*/src/*' -name '*.rs' ! -name lib.rs ! -name main.rs ! -path '*/src/bin/*' -delete; \
    find . -name '*.rs' -exec truncate --size 0 {} +; \
    echo 'fn main() { }' > /tmp/main.rs; \
    find . \( -name main.rs -o -name build.rs -o -path '*/src/bin/*.rs' \) -exec cp /tmp/main.rs {} ';'; \
    find . -type d -empty -delete

FROM toolchain AS build
COPY --from=manifests /src .
RUN cargo build --locked --profile dist --package aux-service --package main-api
COPY . .
# The commit, for build_info and the labels. Only what follows is built again when it changes.
ARG REVISION=unknown
# Cargo goes by the time of a file, and the empty ones are newer than the real ones.
RUN set -eu; \
    find . -name '*.rs' -exec touch {} +; \
    GIT_SHA="$REVISION" cargo build --locked --profile dist --package aux-service --package main-api; \
    mkdir -p /image/etc/ssl/certs; \
    cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/; \
    # Names are looked up in /etc/hosts first, then by DNS.
    echo 'hosts: files dns' > /image/etc/nsswitch.conf; \
    echo 'nonroot:x:65532:65532::/:/nologin' > /image/etc/passwd; \
    echo 'nonroot:x:65532:' > /image/etc/group; \
    install -D --mode 0555 --target-directory /bin-out /target/*/dist/aux-service /target/*/dist/main-api; \
    # A program that needs a library would not start in an image that has none.
    for program in /bin-out/*; do \
      readelf --dynamic "$program" > /tmp/dynamic; \
      if grep NEEDED /tmp/dynamic; then echo "$program is not static" >&2; exit 1; fi; \
    done

FROM scratch AS base
COPY --from=build /image /
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
ARG VERSION=0.2.0
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.source=$SOURCE \
      org.opencontainers.image.licenses=Apache-2.0

FROM base AS aux-service
LABEL org.opencontainers.image.title=aux-service \
      org.opencontainers.image.description="A cached, quota-shielded front for AWS S3 and SSM Parameter Store."
COPY --from=build /bin-out/aux-service /aux-service
EXPOSE 5000
ENTRYPOINT ["/aux-service"]

FROM base AS main-api
LABEL org.opencontainers.image.title=main-api \
      org.opencontainers.image.description="The resilient gateway that aggregates the answers of aux-service."
COPY --from=build /bin-out/main-api /main-api
EXPOSE 6000
ENTRYPOINT ["/main-api"]
