#!/usr/bin/env bash
# Builds magellan and what it is measured against, measures, and writes the
# report. All on loopback; Ctrl-C ends all of it.
set -euo pipefail
cd "$(dirname "$0")/../.."

usage() {
	cat <<'USAGE'
usage: test/bench/run.sh [--short] [--rounds N] [--out FILE] [--parts PART,...] [--profiles DIR] [--original DIR]

  --short         a few minutes, for CI: fewer shops, fewer and shorter rounds
  --rounds N      rounds of each measurement (3 to 9, or 1 to 3 with --short)
  --out FILE      write the report to FILE instead of standard output; of a
                  document such as docs/benchmarks.md the introduction stays
  --profiles DIR  also take CPU profiles of magellan, in further rounds
  --original DIR  also measure the original gozk, whose sources are in DIR, beside ours
  --parts ...     only some of reads,lookup,fill,memory,allocations,profiling,
                  propagation,scale,services,agent

Needs what build/deps.sh bench installs: wrk, nginx, Java and ZooKeeper's jars.
FLAVOUR says which native libraries to link, as for make build.
A missed goal is reported and is no failure.
USAGE
}

# The report names no folder of this machine.
command=$* options=() original=
for ((i = 1; i <= $#; i++)); do
	case ${!i} in
	-h | --help)
		usage
		exit
		;;
	--original=*) original=${!i#*=} ;;
	--original) i=$((i + 1)) original=${!i:?"--original needs a folder"} ;;
	*) options+=("${!i}") ;;
	esac
done
for tool in gcc wrk java taskset; do
	command -v "$tool" >/dev/null || {
		echo "bench: $tool is missing: run build/deps.sh bench" >&2
		exit 1
	}
done

build/build.sh >&2
flags=$(build/env.sh "${FLAVOUR:-release}")
eval "$flags"
go -C test build -o ../dist/bench ./bench
go -C test build -o ../dist/bench-gozk ./bench/gozk
# It shall have nothing of magellan, nor the libraries that magellan is linked with.
CGO_CFLAGS='' CGO_LDFLAGS='' go -C test/bench/plain build -o ../../../dist/bench-plain .
if [[ -n $original ]]; then
	# Another go.mod, beside which go keeps another go.sum.
	command=${command/"$original"/DIR}
	original=$(realpath "$original")
	cp test/go.mod dist/original.mod
	cp test/go.sum dist/original.sum
	go mod edit -replace "github.com/Shopify/gozk=$original" -replace "magellan=$PWD" dist/original.mod
	# As its users have it: with the distribution's library, for whose header it needs a macro.
	CGO_CFLAGS="-O2 -g -DTHREADED" CGO_LDFLAGS="" go -C test build -mod=mod -modfile ../dist/original.mod -o ../dist/bench-gozk-original ./bench/gozk
	options+=(--original dist/bench-gozk-original)
fi
go test -c -ldflags='-s=false -w=false' -o dist/bench-unwinder ./cgo/jemalloc
for program in fill watch write; do
	# Split on purpose: the variables hold flags.
	# shellcheck disable=SC2086
	gcc -O2 -g -Wall -Wextra -DTHREADED ${CGO_CFLAGS:-} "test/bench/$program.c" -o "dist/bench-$program" ${CGO_LDFLAGS:-} -lzookeeper_mt -lpthread -lm
done
exec dist/bench run --command "test/bench/run.sh${command:+ $command}" "${options[@]}"
