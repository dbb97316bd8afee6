#!/usr/bin/env bash
# Runs all tests with the race detector: build/test.sh [flags and packages of go test].
# With CI=true a missing tool, such as Java, fails a test that otherwise is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

flags=$(build/env.sh "${FLAVOUR:-release}")
eval "$flags"
(($#)) || set -- ./...
exec go test -race -timeout 30m "$@"
