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
trap 'echo; exit 0' INT # how one ends it
trap 'exit 143' TERM

go build -o "$work/zookeeper" ./demo/zookeeper
"$work/zookeeper" >"$work/servers" &
started+=($!)
until [[ -s $work/servers ]]; do
	kill -0 "${started[0]}" 2>/dev/null || exit 1 # it said why
	sleep 0.1
done
servers=$(<"$work/servers")
echo "run: ZooKeeper serves $servers"

dist/magellan import --servers "$servers" --root /magellan demo/sample/*

go build -o "$work/services" ./demo/services
"$work/services" "$servers" demo/services/sample.tsv &
started+=($!)

dist/magellan serve --services curator:/services,serverset:/svc --znodes /services --servers "$servers" --root /magellan --listen "$listen" --admin-listen "$admin" --ready-file "$work/ready" &
started+=($!)
until [[ -s $work/ready ]]; do
	kill -0 "${started[2]}" 2>/dev/null || exit 1
	sleep 0.1
done
# What they are after all, if a port was 0.
listen=$(sed -n 's/.*"listen":"\([^"]*\)".*/\1/p' "$work/ready")
admin=$(sed -n 's/.*"admin":"\([^"]*\)".*/\1/p' "$work/ready")
shop=$(sed -n '2s/,.*//p' demo/sample/shops.csv)

try() { printf '  %-78s # %s\n' "$1" "$2"; }
printf '\nmagellan serves http://%s from a ZooKeeper at %s. To try, in another terminal:\n\n' "$listen" "$servers"
try "curl -i 'http://$listen/v1/shops/$shop'" "where a shop lives"
try "curl -s 'http://$listen/v1/shops/lookup' --json '{\"shops\":[\"$shop\",\"42\"]}'" "up to 10,000 at once"
try "curl -s 'http://$listen/v1/placement?shop=new-shop'" "where a new shop should go, and why"
try "curl -s 'http://$listen/v1/regions'" "what there is"
try "curl -s 'http://$listen/v1/datacenters'" "and how full it is"
try "curl -s 'http://$listen/v1/bad-citizens?format=nginx'" "who is not welcome"
try "curl -s 'http://$listen/v1/bad-citizens/203.0.113.7'" "and whether one is"
try "curl -s 'http://$listen/v1/services'" "the services that others have registered"
try "curl -s 'http://$listen/v1/services/cart'" "where one runs (Curator's layout)"
try "curl -s 'http://$listen/v1/services/web/prod/blog?format=nginx'" "and as an upstream (a serverset)"
try "curl -s 'http://$listen/v1/health/service/cart?passing=1'" "and as Consul would answer"
try "curl -s 'http://$listen/v1/znodes/services/cart?view=json'" "any znode below --znodes, as it is"
try "curl -s 'http://$listen/openapi.json'" "all of the interface"
try "curl -s 'http://$admin/metrics'" "the operators' side"
try "dist/magellan get --server http://$listen shop $shop" "the same, as a command"
try "dist/magellan get --server http://$listen --follow service cart" "and again whenever it changes"
printf '\nCtrl-C ends magellan and its ZooKeeper.\n'

# Whichever ends first ends the other.
wait -n "${started[@]}"
