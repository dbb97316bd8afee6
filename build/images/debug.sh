#!/usr/bin/env bash
# Builds what the image for the hunt has of magellan: build/images/debug.sh DIRECTORY.
#   magellan         with jemalloc and libzookeeper --enable-debug
#   magellan-asan    under AddressSanitizer and LeakSanitizer
#   magellan-libc    with libc's malloc in jemalloc's place: tools that take malloc's
#                    place (heaptrack, valgrind) need one that can be replaced
# and of each one NAME-leak, which leaks on purpose, to see what a tool shows.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
leaks=$(go -C test run ./leaks "$work" leakvector leakhandler)
# cgo/jemalloc can do without jemalloc, once mallctl says that there is none.
if [[ ! -d .native/libc ]]; then
	cp -r .native/debug .native/libc
	rm -f .native/libc/lib/libjemalloc*
	printf '#include <errno.h>\nint mallctl(void) { return ENOSYS; }\n' | gcc -c -x c -o .native/libc/mallctl.o -
	ar rcs .native/libc/lib/libjemalloc.a .native/libc/mallctl.o
	sha256sum <<<"libc $(<.native/debug/.stamp)" | cut -c1-16 >.native/libc/.stamp
fi
export MAGELLAN_VERSION=debug
GOFLAGS="$(go env GOFLAGS) -trimpath" # an image has nothing of where it was built
export GOFLAGS
FLAVOUR=debug build/build.sh "$out/magellan"
FLAVOUR=debug build/build.sh "$out/magellan-leak" "$leaks"
FLAVOUR=libc build/build.sh "$out/magellan-libc"
FLAVOUR=libc build/build.sh "$out/magellan-libc-leak" "$leaks"
export GOFLAGS="$GOFLAGS -asan"
FLAVOUR=asan build/build.sh "$out/magellan-asan"
FLAVOUR=asan build/build.sh "$out/magellan-asan-leak" "$leaks"
