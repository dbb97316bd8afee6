#!/usr/bin/env bash
# Tests the packages that hold C code under AddressSanitizer and LeakSanitizer,
# with a libzookeeper that is compiled for it: build/asan.sh [flags and packages of go test].
# jemalloc is not part of such a build (see cgo/jemalloc/doc.go).
set -euo pipefail
cd "$(dirname "$0")/.."

build/native.sh --flavour asan
flags=$(build/env.sh asan)
eval "$flags"
if ((!$#)); then
	mapfile -t packages < <(go list -f '{{if .CgoFiles}}{{.ImportPath}}{{end}}' ./...)
	set -- -short "${packages[@]}"
fi
# The symbol table lets reports name C functions, and the suppressions match.
export LSAN_OPTIONS=suppressions=$PWD/build/lsan.supp:print_suppressions=0${LSAN_OPTIONS:+:$LSAN_OPTIONS}
exec go test -asan -vet=off -ldflags='-s=false -w=false' -timeout 30m "$@"
