# The image of production: magellan, the libraries it is linked with, and nothing
# else. docs/images.md says how to build it, behind an own certificate authority
# or module proxy too; build/images/build.sh does it.

ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

# --- what is built, and can be tested -----------------------------------------
FROM ${GO_IMAGE} AS source
ENV GOCACHE=/go/build
WORKDIR /src
COPY build/deps.sh build/images/trusting ./build/
# Java links its manual pages into a directory that slim images lack.
RUN --mount=type=secret,id=ca \
    mkdir -p /usr/share/man/man1 && build/trusting build/deps.sh && rm -rf /var/lib/apt/lists/*
COPY build/native.sh build/env.sh ./build/
COPY .cache*/*.tar.* ./.cache/
RUN --mount=type=secret,id=ca build/trusting build/native.sh
COPY go.mod go.sum ./
COPY cgo cgo
COPY client client
COPY cmd cmd
COPY gozk/go.mod gozk/
COPY internal internal

# docker build --target test --build-arg TESTS="./internal/zk ./cgo/..." .
FROM source AS test
COPY . .
ARG TESTS=
RUN --mount=type=secret,id=ca --mount=type=secret,id=goenv --mount=type=secret,id=netrc \
    --mount=type=cache,target=/go/build --mount=type=cache,target=/go/pkg/mod \
    CI=true build/images/trusting build/test.sh ${TESTS}

FROM source AS build
COPY build/agent.sh build/build.sh build/
COPY build/images/slim.sh build/images/
ARG VERSION=unknown
RUN --mount=type=secret,id=ca --mount=type=secret,id=goenv --mount=type=secret,id=netrc \
    --mount=type=cache,target=/go/build --mount=type=cache,target=/go/pkg/mod \
    MAGELLAN_VERSION=${VERSION} build/trusting build/images/slim.sh /out

# All debug information by build-id, where gdb, perf and pprof look for it:
#   docker build --target symbols -o /usr/lib/debug .
FROM scratch AS symbols
COPY --from=build /out/symbols /

# --- what runs -----------------------------------------------------------------
# Debian's libraries under the binary, with what their licences and scanners for
# vulnerabilities want to see of their packages.
FROM ${BASE_IMAGE} AS base
COPY --from=build /out/magellan /usr/bin/magellan
COPY build/images/libraries.sh build/images/trusting /tmp/
RUN --mount=type=secret,id=ca /tmp/trusting /tmp/libraries.sh /usr/bin/magellan /root-of-image

FROM scratch
COPY --from=base /root-of-image /
COPY --from=build /out/magellan /usr/bin/magellan
# What it is linked with asks for that.
COPY LICENSE /usr/share/doc/magellan/
COPY --from=build /src/.native/release/share/licenses /usr/share/doc/magellan/
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="magellan" \
      org.opencontainers.image.description="Service discovery over HTTP from a cache that ZooKeeper keeps true" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# /tmp is there for whoever mounts something: magellan itself writes nothing
# unless --heap-dir or --ready-file say so.
ENV PATH=/usr/bin HOME=/tmp
USER 65532:65532
EXPOSE 8080 6060
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=40s --retries=3 CMD ["/usr/bin/magellan", "health"]
ENTRYPOINT ["/usr/bin/magellan"]
CMD ["serve"]
