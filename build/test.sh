#!/usr/bin/env bash
# Runs tests with the race detector: build/test.sh [flags and packages of go test].
# ./test/... are the packages of the second module; without any package all tests of
# both modules run. The module gozk has its tests in ./test/gozk.
# With CI=true a missing tool, such as Java, fails a test that otherwise is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

build/agent.sh
flags=$(build/env.sh "${FLAVOUR:-release}")
eval "$flags"
options=() product=() tests=()
for arg; do
	case $arg in
	./test | ./test/*) tests+=(".${arg#./test}") ;;
	./*) product+=("$arg") ;;
	*) options+=("$arg") ;;
	esac
done
((${#product[@]} + ${#tests[@]})) || product=(./...) tests=(./...)

# go test strips its binaries unless told otherwise, and with the symbol table
# go the names of C functions that the tests of native profiles look for. They read the
# debug information of the test dozens of times: the race detector makes it slow to
# decompress. What go vet finds, build/check.sh tells.
options=(-race -vet=off '-ldflags=-s=false -w=false -compressdwarf=false' -timeout 30m "${options[@]}")
status=0
((!${#product[@]})) || go test "${options[@]}" "${product[@]}" || status=$?
((!${#tests[@]})) || go -C test test "${options[@]}" "${tests[@]}" || status=$?
exit "$status"
