#!/usr/bin/env bash
# Runs a command with a Docker engine: build/images/with-engine.sh COMMAND [ARG]...
# Where none answers it starts one, which takes root, and ends it with the command.
set -euo pipefail

if docker info >/dev/null 2>&1; then
	exec "$@"
fi
if ((EUID != 0)); then
	echo "images: no Docker engine answers here (docker info), and it takes root to start one" >&2
	exit 1
fi
"$(dirname "$0")/../deps.sh" engine
log=$(mktemp)
dockerd >"$log" 2>&1 &
engine=$!
trap 'kill "$engine" 2>/dev/null && wait "$engine" || true; rm -f "$log"' EXIT
echo "images: no Docker engine answered; waiting for one of our own"
for ((left = 120; ; left--)); do
	! docker info >/dev/null 2>&1 || break
	if ((left == 0)) || ! kill -0 "$engine" 2>/dev/null; then
		tail -n 20 "$log" >&2
		echo "images: dockerd does not start here" >&2
		exit 1
	fi
	sleep 1
done
"$@"
