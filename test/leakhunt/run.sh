#!/usr/bin/env bash
# Builds magellan, with leaks and without, and has leakhunt watch them under load:
# test/leakhunt/run.sh [flags of leakhunt; --help tells them]. Ten minutes, if not
# told otherwise; all on loopback; Ctrl-C ends all of it.
set -euo pipefail
cd "$(dirname "$0")/../.."

build/build.sh >&2
test/leaks/build.sh dist/leakvector leakvector >&2
test/leaks/build.sh dist/leakhandler leakhandler >&2
flags=$(build/env.sh "${FLAVOUR:-release}")
eval "$flags"
go -C test build -o ../dist/leakhunt-tool ./leakhunt
exec dist/leakhunt-tool "$@"
