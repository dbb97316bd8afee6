#!/usr/bin/env bash
# Builds the heap agent into cgo/agent/built/, from where go build embeds it. If it is
# there and its sources have not changed, it does nothing.
#
# The library names no other library and no versions of symbols, so that it can be loaded
# beside any C library: it finds there what it calls. It has the C unwinder in it.
set -euo pipefail
cd "$(dirname "$0")/.."

cc=${AGENT_CC:-gcc}
machine=$("$cc" -dumpmachine)
case $machine in
x86_64-*) arch=amd64 ;;
*)
	echo "agent: the agent is not written for $machine: magellan is built without it" >&2
	exit 0
	;;
esac
walker=(cgo/jemalloc/{goimage,landmarks,landmarks_$arch,libraries,walk}.c "cgo/jemalloc/resume_$arch.S")
sources=("${walker[@]}" cgo/agent/lib/*.c)
flags=(
	-std=gnu11 -O2 -g -fPIC -ftls-model=initial-exec -fvisibility=hidden -fno-builtin-malloc -fno-tree-loop-distribute-patterns -fno-plt -fno-semantic-interposition
	-fasynchronous-unwind-tables -fstack-clash-protection -ffunction-sections -fdata-sections -Wall -Wextra -Werror -Wno-cast-function-type
	-include cgo/agent/lib/libc.h -shared -nostdlib -static-libgcc
	"-Wl,--version-script=cgo/agent/lib/exports.map" "-Wl,-Bsymbolic" "-Wl,--gc-sections" "-Wl,-z,now" "-Wl,-z,noseparate-code" "-Wl,-z,relro" "-Wl,-z,noexecstack"
	"-Wl,--hash-style=gnu" "-Wl,--build-id" "-Wl,-soname,libmagellan-agent.so" "-Wl,--wrap=_Unwind_Backtrace" "-Wl,--wrap=dl_iterate_phdr"
)
version=$(cat "${sources[@]}" cgo/agent/lib/{*.h,exports.map} cgo/jemalloc/{goimage,landmarks,libraries,machine,walk}.h "$0" <("$cc" --version) | sha256sum | cut -c 1-16)
built=cgo/agent/built/libmagellan-agent-$arch.so
[[ ! -f $built || $(cat "$built.version" 2>/dev/null) != "$version" ]] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$cc" "${flags[@]}" -DAGENT_VERSION="\"$version\"" -o "$work/agent.so" "${sources[@]}" -lgcc_eh -lgcc
if readelf -dW "$work/agent.so" | grep -q NEEDED || readelf -VW "$work/agent.so" | grep -q "Version needs"; then
	echo "agent: the library needs another library, or versions of symbols" >&2
	exit 1
fi
if nm -D --undefined-only "$work/agent.so" | grep ' U '; then
	echo "agent: the library does not load without these: declare them in cgo/agent/lib/libc.h" >&2
	exit 1
fi
strip --strip-unneeded "$work/agent.so"
mkdir -p cgo/agent/built
mv "$work/agent.so" "$built"
echo "$version" >"$built.version"
echo "agent: $built $version ($(stat -c %s "$built") bytes)"
