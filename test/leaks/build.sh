#!/usr/bin/env bash
# Builds a magellan that leaks: test/leaks/build.sh FILE LEAK...
# The leaks are leakvector and leakhandler; docs/finding-a-leak.md describes them.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
overlay=$(go -C test run ./leaks "$work" "${@:2}")
build/build.sh "$1" "$overlay"
