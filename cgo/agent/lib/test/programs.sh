#!/usr/bin/env bash
# Runs programs of the system with and without the library and compares what they print. Every
# allocation is sampled. Usage: programs.sh LIBRARIES
set -euo pipefail

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

compare() {
	if ! command -v "$1" >/dev/null; then
		echo "skipped: there is no $1" >&2
		return
	fi
	"$@" >"$out/plain" 2>&1
	if ! LD_PRELOAD=$libraries TEST_PERIOD=1 timeout 120 "$@" >"$out/sampled" 2>&1 || ! cmp "$out/plain" "$out/sampled"; then
		echo "$1 prints something else if it is sampled:" >&2
		head "$out/sampled" >&2
		exit 1
	fi
	echo "programs: $1"
}

libraries=$1
compare ls -laR /usr/include
# shellcheck disable=SC2016 # bash and perl expand these
compare bash -c 'for i in {1..500}; do x=$(echo $i); done; echo $x'
compare sort /etc/services /etc/passwd /etc/group
# shellcheck disable=SC2016
compare perl -e 'my %h; $h{$_} = "x" x $_ for 1..3000; print scalar keys %h'
compare python3 -c 'import json, subprocess; print(json.dumps([list(range(100))] * 100)); print(subprocess.check_output(["echo", "hi"]))'
