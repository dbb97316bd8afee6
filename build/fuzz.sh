#!/usr/bin/env bash
# Runs each fuzz target of the module for $FUZZTIME (10s): build/fuzz.sh [packages].
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
for target in "${targets[@]}"; do
	read -r name package <<<"$target"
	echo "fuzz: $package $name for ${FUZZTIME:-10s}"
	go test -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-10s}" "$package"
done
