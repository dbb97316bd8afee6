#!/usr/bin/env bash
# Runs each fuzz target of magellan for $FUZZTIME (10s): build/fuzz.sh [packages].
# An input that fails is written under its package's testdata: commit it.
set -euo pipefail
cd "$(dirname "$0")/.."

flags=$(build/env.sh "${FLAVOUR:-release}")
eval "$flags"
(($#)) || set -- ./...

# go test -list prints the names of a package's targets and then "ok <package>".
listed=$(go test -list '^Fuzz' "$@")
mapfile -t targets < <(awk '/^Fuzz/ {names[n++] = $1} /^ok/ {for (i = 0; i < n; i++) print names[i], $2; n = 0}' <<<"$listed")
((${#targets[@]})) || {
	echo "fuzz: no fuzz target in $*" >&2
	exit 1
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz NAME PACKAGE. Before Go 1.27 a target may fail with nothing but "context deadline
# exceeded" when its time is over, on a machine with much else to do
# (https://go.dev/issue/75804): nothing was found then, and it is tried again.
fuzz() {
	local try
	for try in 1 2 3; do
		echo "fuzz: $2 $1 for ${FUZZTIME:-10s}"
		go test -run '^$' -fuzz "^$1\$" -fuzztime "${FUZZTIME:-10s}" "$2" 2>&1 | tee "$log" && return
		if grep -q 'Failing input written' "$log" || ! grep -qx ' *context deadline exceeded' "$log"; then
			return 1
		fi
		echo "fuzz: $1: Go's own mistake, try $try"
	done
	return 1
}

for target in "${targets[@]}"; do
	read -r name package <<<"$target"
	fuzz "$name" "$package"
done
