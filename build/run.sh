#!/usr/bin/env bash
# make run: a real ZooKeeper with sample data and magellan serving it, all on
# loopback addresses. Ctrl-C or SIGTERM ends all of it.
#   LISTEN, ADMIN_LISTEN   where to serve (127.0.0.1:8080, 127.0.0.1:6060)
set -euo pipefail
cd "$(dirname "$0")/.."

listen=${LISTEN:-127.0.0.1:8080}
admin=${ADMIN_LISTEN:-127.0.0.1:6060}
work=$(mktemp -d)
started=() # process ids, in the order of their start

finish() {
	trap '' INT TERM
	for ((i = ${#started[@]} - 1; i >= 0; i--)); do # serve before its ZooKeeper
		kill -TERM "${started[i]}" 2>/dev/null || continue
		wait "${started[i]}" || true
	done
	rm -rf "$work"
}
trap finish EXIT
trap 'echo; exit 130' INT
trap 'exit 143' TERM

go build -o "$work/zookeeper" ./build/zookeeper
"$work/zookeeper" >"$work/servers" &
started+=($!)
until [[ -s $work/servers ]]; do
	kill -0 "${started[0]}" 2>/dev/null || exit 1 # it said why
	sleep 0.1
done
servers=$(<"$work/servers")
echo "run: ZooKeeper serves $servers"

dist/magellan import --servers "$servers" --root /magellan build/sample/*

dist/magellan serve --servers "$servers" --root /magellan --listen "$listen" --admin-listen "$admin" &
started+=($!)
serve=$!
until curl --silent --fail --output /dev/null "http://$listen/readyz"; do
	kill -0 "$serve" 2>/dev/null || exit 1
	sleep 0.1
done

shop=42
cat <<TRY

magellan serves http://$listen from a ZooKeeper at $servers. To try, in another terminal:

  curl -i http://$listen/v1/shops/$shop                         # where a shop lives
  curl -s http://$listen/v1/shops/lookup -d '{"shops":["$shop","no-such-shop"]}' -H 'Content-Type: application/json'
  curl -s 'http://$listen/v1/placement?shop=new-shop'           # where a new shop should go, and why
  curl -s http://$listen/v1/regions
  curl -s http://$listen/v1/datacenters
  curl -s 'http://$listen/v1/bad-citizens?format=nginx'
  curl -s http://$listen/openapi.json
  curl -s http://$admin/metrics                              # the operators' side
  dist/magellan get shop $shop

Ctrl-C ends magellan and its ZooKeeper.

TRY
# Whichever ends first ends the other.
wait -n "${started[@]}"
