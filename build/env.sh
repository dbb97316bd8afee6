#!/usr/bin/env bash
# Prints the environment in which `go build` and `go test` link the libraries
# that build/native.sh built: eval "$(build/env.sh [FLAVOUR | PREFIX])".
# Without it, or with FLAVOUR system, Go uses the distribution's libjemalloc-dev
# and libzookeeper-mt-dev.
set -euo pipefail

flavour=${1:-release}
[[ $flavour != system ]] || exit 0
prefix=$flavour
[[ $prefix == */* ]] || prefix=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.native/$flavour
if [[ ! -f $prefix/.stamp ]]; then
	echo "env: no native libraries in $prefix: run build/native.sh first" >&2
	# What is evaluated must fail as well: nobody looks at $(...)'s exit status.
	echo false
	exit 1
fi

# Go's build cache does not look into archives. The stamp in the flags makes a
# rebuilt library a different build. JEMALLOC_NO_DEMANGLE keeps the je_ names in
# jemalloc.h, as macros: some Go packages call C.je_calloc (cgo/jemalloc/doc.go).
printf 'export CGO_CFLAGS=%q\n' "-O2 -g -I$prefix/include -DJEMALLOC_NO_DEMANGLE -DMAGELLAN_NATIVE=0x$(cat "$prefix/.stamp")"
printf 'export CGO_LDFLAGS=%q\n' "-O2 -g -L$prefix/lib"
