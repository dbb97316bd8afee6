#!/usr/bin/env bash
# Builds magellan, its symbols kept: the native profiles name C functions by them.
# build/build.sh [FILE [OVERLAY]]: FILE is dist/magellan if not told otherwise. OVERLAY is
# a file for go build -overlay, by its absolute path; if it is called NAME.json, the
# version ends in +NAME. The checks and the programs of test/ find what was compiled here
# in Go's build cache.
set -euo pipefail
cd "$(dirname "$0")/.."

build/agent.sh
flags=$(build/env.sh "${FLAVOUR:-release}")
eval "$flags"
version=${MAGELLAN_VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}
binary=${1:-dist/magellan} overlay=()
if [[ -n ${2-} ]]; then
	version+=+$(basename "$2" .json)
	overlay=(-overlay "$2")
fi
mkdir -p "$(dirname "$binary")"
go build "${overlay[@]}" -ldflags "-X main.version=$version ${GO_LDFLAGS:-}" -o "$binary" ./cmd/magellan
echo "build: $binary $version ($(stat -c %s "$binary") bytes)"
