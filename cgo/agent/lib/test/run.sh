#!/usr/bin/env bash
# Builds the sampler with the tests and runs them. It fails if a test fails.
# Usage: run.sh [DIRECTORY FOR THE BINARIES]
set -euo pipefail
cd "$(dirname "$0")"

out=${1:-}
if [ -z "$out" ]; then
	out=$(mktemp -d)
	trap 'rm -rf "$out"' EXIT
fi
cc=${CC:-gcc}
flags=(-std=gnu11 -O2 -g -Wall -Wextra -Werror)
tables=(../blocks.c ../stacks.c ../estimate.c ../memory.c)
sampler=("${tables[@]}" ../find_object.c ../gaps.c ../host.c ../libgcc.c ../objects.c ../profile.c ../real.c ../region.c ../sampler.c ../string.c ../tap.c)
walker=(../../../jemalloc/{goimage,landmarks,landmarks_amd64,libraries,walk}.c ../../../jemalloc/resume_amd64.S)

# The library exports the sampler's functions too. It has neither constructor nor socket.
sed 's/local:/test_*; local:/' ../exports.map >"$out/exports.map"
build_agent() {
	"$cc" "${flags[@]}" -fPIC -fvisibility=hidden -ftls-model=initial-exec -fasynchronous-unwind-tables -shared -nostdlib -static-libgcc -Wl,-z,now,-z,relro,-z,nodelete \
		-Wl,--wrap=_Unwind_Backtrace,--wrap=dl_iterate_phdr -Wl,--version-script="$out/exports.map" "$@" "${sampler[@]}" "${walker[@]}" exports.c -lgcc_eh -lgcc
}
build_agent -o "$out/agent.so"
# As with a C library that has no _dl_find_object.
build_agent -DAGENT_FIND_OBJECT='"no_such_function"' -o "$out/agent-older.so"

# -fno-builtin: the compiler must not leave out pairs of malloc and free.
for program in hammer unbiased semantics misuse fork walking small own first late closed; do
	"$cc" "${flags[@]}" -fno-builtin -Wno-alloc-size-larger-than -pthread -o "$out/$program" "$program.c" -lm -ldl
done
"$cc" "${flags[@]}" -fPIC -shared -DOTHER=1 -Wl,--build-id=sha1 -o "$out/first.so" closable.c
"$cc" "${flags[@]}" -fPIC -shared -DOTHER=40 -Wl,--build-id=none -o "$out/second.so" closable.c
"$cc" "${flags[@]}" -pthread -o "$out/tables" tables.c "${tables[@]}"
"$cc" "${flags[@]}" -O2 -o "$out/bench" bench.c

with() {
	local libraries=$1
	shift
	LD_PRELOAD=$libraries timeout 300 "$@"
}

# One library has to load with every libc.
if readelf -dW "$out/agent.so" | grep NEEDED || readelf -VW "$out/agent.so" | grep 'Version needs'; then
	echo "the library is bound to one libc" >&2
	exit 1
fi
if exported=$(nm -D --defined-only "$out/agent.so" | awk '{print $3}' | grep -v '^test_' | sort | tr '\n' ' ') &&
	[ "$exported" != "aligned_alloc calloc free free_aligned_sized free_sized malloc malloc_usable_size memalign posix_memalign pvalloc realloc valloc " ]; then
	echo "the library exports: $exported" >&2
	exit 1
fi

agent=$out/agent.so
timeout 300 "$out/tables"
with "$agent" "$out/first"
with "$agent" "$out/own"
timeout 300 "$out/late" "$agent" libc.so.6
with "$agent" "$out/small"
with "$agent" "$out/closed" "$out/first.so" "$out/second.so"
with "$agent" "$out/semantics" libc.so.6
with "$agent" "$out/misuse"
with "$agent" "$out/hammer" 1 libc.so.6
with "$agent" "$out/hammer" 4096 libc.so.6
with "$agent" "$out/hammer" 0 libc.so.6
with "$agent" "$out/fork" 1
TEST_EARLY=1 with "$agent" "$out/fork" 1
with "$agent" "$out/fork" 4096
with "$agent" "$out/walking"
./programs.sh "$agent"
with "$agent" "$out/unbiased" 524288
with "$agent" "$out/unbiased" 65536
with "$agent" "$out/unbiased" 4096

older=$out/agent-older.so
with "$older" "$out/closed" "$out/first.so" "$out/second.so"
with "$older" "$out/hammer" 4096 libc.so.6
with "$older" "$out/fork" 1
with "$older" "$out/walking"

jemalloc=libjemalloc.so.2
if LD_PRELOAD=$jemalloc /bin/true 2>&1 | grep -q .; then
	echo "skipped: $jemalloc is not installed" >&2
else
	with "$agent $jemalloc" "$out/semantics" $jemalloc
	with "$agent $jemalloc" "$out/hammer" 1 $jemalloc
	with "$agent $jemalloc" "$out/hammer" 4096 $jemalloc
	with "$agent $jemalloc" "$out/hammer" 0 $jemalloc
	with "$agent $jemalloc" "$out/fork" 1
	LD_PRELOAD=$jemalloc timeout 300 "$out/late" "$agent" $jemalloc
	./programs.sh "$agent $jemalloc"
fi

# ThreadSanitizer of older compilers does not know address spaces with much randomness.
if "$cc" "${flags[@]}" -fsanitize=thread -pthread -o "$out/tables-tsan" tables.c "${tables[@]}"; then
	timeout 300 setarch -R "$out/tables-tsan" tsan
else
	echo "skipped: $cc has no ThreadSanitizer" >&2
fi
echo "all passed"
