#!/usr/bin/env bash
# Builds dist/magellan, its symbols kept: the native profiles name C functions by them.
set -euo pipefail
cd "$(dirname "$0")/.."

flags=$(build/env.sh "${FLAVOUR:-release}")
eval "$flags"
version=${MAGELLAN_VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}
mkdir -p dist
go build -trimpath -ldflags "-X main.version=$version" -o dist/ ./cmd/magellan
echo "build: dist/magellan $version ($(stat -c %s dist/magellan) bytes)"
