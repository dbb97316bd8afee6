#!/usr/bin/env bash
# Builds magellan, its symbols kept: the native profiles name C functions by them.
# build/build.sh [FILE [BUILD TAGS]]: into dist/magellan if not told otherwise. What it
# compiles the checks and the programs of build/ use as well, out of Go's build cache.
set -euo pipefail
cd "$(dirname "$0")/.."

flags=$(build/env.sh "${FLAVOUR:-release}")
eval "$flags"
version=${MAGELLAN_VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}
binary=${1:-dist/magellan} version+=${2:++${2//,/+}}
mkdir -p "$(dirname "$binary")"
go build -tags "${2:-}" -ldflags "-X main.version=$version ${GO_LDFLAGS:-}" -o "$binary" ./cmd/magellan
echo "build: $binary $version ($(stat -c %s "$binary") bytes)"
