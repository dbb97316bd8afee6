#!/usr/bin/env bash
# Has magellan keep its promises for long: test/soak/run.sh [--short] [PART ...]
# The parts are load, mutants and proof; all of them if none is named. All on
# loopback; Ctrl-C ends all of it. docs/proof.md says what is checked.
#   --short     some minutes in all, for CI: without the mutants, of which one may
#               take many rounds, and with the same seeds each time
#   SOAK_TIME   how long the proof and the load each go on (30m)
#   SOAK_SEED   the first seed of the proof; another one each time if not given
set -euo pipefail
cd "$(dirname "$0")/../.."

time=${SOAK_TIME:-30m} measure=20s rounds=6 seeds=100000 seed=${SOAK_SEED:-$RANDOM} shops=50000
parts=() short=()
for arg in "$@"; do
	case $arg in
	--short) time=30s measure=5s rounds=1 seeds=2 shops=10000 seed=${SOAK_SEED:-1} short=(load proof) ;;
	load | mutants | proof) parts+=("$arg") ;;
	*)
		sed -n '2,/^set/s/^# \?//p' test/soak/run.sh >&2
		exit 2
		;;
	esac
done
((${#parts[@]})) || parts=("${short[@]}")
((${#parts[@]})) || parts=(load mutants proof)

build/build.sh >&2
flags=$(build/env.sh "${FLAVOUR:-release}")
eval "$flags"
go -C test build -o ../dist/soak ./soak
for part in "${parts[@]}"; do
	echo "soak: $part"
	case $part in
	load) dist/soak load -duration "$time" -measure "$measure" -shops "$shops" ;;
	mutants) dist/soak mutants ;;
	proof)
		go build -race -o dist/magellan-race ./cmd/magellan
		dist/soak proof -magellan dist/magellan-race -seed "$seed" -seeds "$seeds" -rounds "$rounds" -duration "$time"
		;;
	esac
done
