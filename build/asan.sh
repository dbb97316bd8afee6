#!/usr/bin/env bash
# Tests the packages that hold C code, and the module gozk, under AddressSanitizer and
# LeakSanitizer, with a libzookeeper that is compiled for it: build/asan.sh [flags and
# packages of go test]. With arguments only these packages are tested.
# jemalloc is not part of such a build (see cgo/jemalloc/doc.go).
set -euo pipefail
cd "$(dirname "$0")/.."

build/native.sh --flavour asan
flags=$(build/env.sh asan)
eval "$flags"
# The symbol table lets reports name C functions, and the suppressions match.
export LSAN_OPTIONS=suppressions=$PWD/build/lsan.supp:print_suppressions=0${LSAN_OPTIONS:+:$LSAN_OPTIONS}
options=(-asan -vet=off '-ldflags=-s=false -w=false' -timeout 30m)
if (($#)); then
	exec go test "${options[@]}" "$@"
fi
mapfile -t packages < <(go list -f '{{if .CgoFiles}}{{.ImportPath}}{{end}}' ./...)
status=0
go test "${options[@]}" -short "${packages[@]}" || status=$?
go -C test test "${options[@]}" -short ./gozk || status=$?
exit "$status"
