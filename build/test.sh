#!/usr/bin/env bash
# Runs all tests with the race detector: build/test.sh [flags and packages of go test].
# With CI=true a missing tool, such as Java, fails a test that otherwise is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

flags=$(build/env.sh "${FLAVOUR:-release}")
eval "$flags"
(($#)) || set -- ./...
# go test strips its binaries unless told otherwise, and with the symbol table
# go the names of C functions that the tests of native profiles look for. They read the
# debug information of the test dozens of times: the race detector makes it slow to
# decompress. What go vet finds, build/check.sh tells.
exec go test -race -vet=off -ldflags='-s=false -w=false -compressdwarf=false' -timeout 30m "$@"
