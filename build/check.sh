#!/usr/bin/env bash
# Everything that can be said about the sources without running the tests.
set -euo pipefail
cd "$(dirname "$0")/.."

flags=$(build/env.sh "${FLAVOUR:-release}")

ours() { git ls-files --cached --others --exclude-standard -- "$@"; }

formatted() {
	local sources unformatted
	mapfile -t sources < <(ours '*.go')
	unformatted=$(gofmt -l "${sources[@]}")
	[[ -z $unformatted ]] || {
		echo "run gofmt -w on: $unformatted" >&2
		return 1
	}
}
# in_modules COMMAND [ARGUMENT]... runs a command in each of the three modules.
in_modules() {
	local module
	for module in . gozk test; do
		(cd "$module" && "$@") || return # set -e does not hold in a list of commands
	done
}
tidy() { in_modules go mod tidy -diff; }
# What other build tags choose is vetted where it is.
vetted() {
	local tags=invariants tagged
	mapfile -t tagged < <(git grep -lE "^//go:build .*(${tags//,/|})" -- '*.go' | xargs -n 1 dirname | sort -u)
	(eval "$flags" && in_modules go vet ./... && go vet -tags "$tags" "${tagged[@]/#/./}")
}
statically_checked() { (eval "$flags" && in_modules "$(go tool -n staticcheck)" ./...); }
scripts_checked() {
	local scripts
	mapfile -t scripts < <(ours '*.sh' .ci/run build/images/{hunt,trusting,zookeeper/start,zookeeper/register})
	shellcheck "${scripts[@]}"
}
architecture() { (eval "$flags" && go test ./internal/arch); }
# A plain go build has to work with the distribution's libraries as well.
distribution() { in_modules go build ./... && go test -timeout 30m ./cgo/jemalloc; }

trap '(($? == 0)) || echo "check: $check: FAILED" >&2' EXIT
for check in formatted tidy vetted statically_checked scripts_checked architecture distribution; do
	begin=$SECONDS
	"$check" # not in an if: set -e would not hold inside
	echo "check: $check: ok, $((SECONDS - begin)) s"
done
