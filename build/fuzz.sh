#!/usr/bin/env bash
# Runs each fuzz target of both modules for $FUZZTIME (10s), or those of some folders:
# build/fuzz.sh [FOLDER]... As many targets run side by side as there are processors,
# each with one worker. An input that fails is written under its package's testdata:
# commit it.
set -euo pipefail
cd "$(dirname "$0")/.."

flags=$(build/env.sh "${FLAVOUR:-release}")
eval "$flags"

work=$(mktemp -d) # has a binary of each package, and the output of each target
trap 'rm -rf "$work"' EXIT
corpus=$(go env GOCACHE)/fuzz # where go test -fuzz keeps inputs that reached new code
export work corpus

# fuzz FOLDER PACKAGE NAME runs a target in the folder of its package, as go test does.
# Before Go 1.27 a target may fail with nothing but "context deadline exceeded" when its
# time is over, on a machine with much else to do (https://go.dev/issue/75804): nothing
# was found then, and it is tried again.
fuzz() {
	local binary=$work/${2//\//_} log=$work/${2//\//_}.$3 try
	cd "$1"
	for try in 1 2 3; do
		if "$binary" -test.run '^$' -test.fuzz "^$3\$" -test.fuzztime "${FUZZTIME:-10s}" \
			-test.parallel 1 -test.fuzzcachedir "$corpus/$2" >"$log" 2>&1; then
			echo "fuzz: $1 $3: ok, $(grep -o 'execs: [0-9]*' "$log" | tail -n 1)"
			return
		fi
		if grep -q 'Failing input written' "$log" || ! grep -qx ' *context deadline exceeded' "$log"; then
			break
		fi
		echo "fuzz: $1 $3: Go's own mistake, try $try"
	done
	mv "$log" "$log.failed"
	return 1
}
export -f fuzz

folders=$(git grep --untracked -l '^func Fuzz' -- "${@:-.}" | grep '_test\.go$' | xargs -r dirname | sort -u) || true
# go test -fuzz links the binary of a package again for each target.
for folder in $folders; do
	package=$(go -C "$folder" list)
	binary=$work/${package//\//_}
	go -C "$folder" test -c -fuzz . -o "$binary"
	(cd "$folder" && "$binary" -test.list '^Fuzz') | sed "s|^|$folder $package |"
done >"$work/targets"
[[ -s $work/targets ]] || {
	echo "fuzz: no fuzz target in ${*:-.}" >&2
	exit 1
}
echo "fuzz: $(wc -l <"$work/targets") targets for ${FUZZTIME:-10s} each"
xargs -P "$(nproc)" -L 1 bash -c 'fuzz "$@"' fuzz <"$work/targets" || {
	tail -v -n +1 "$work"/*.failed
	exit 1
}
