#!/usr/bin/env bash
# Builds all images and tests them as containers: test/images/run.sh [flags of go test].
# Where no Docker engine runs that is said; if CI is set, one is started.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! docker info >/dev/null 2>&1; then
	if [[ -n ${CI:-} ]]; then
		exec build/images/with-engine.sh "$0" "$@"
	fi
	echo "test-images: no Docker engine answers here (docker info): the images are not tested" >&2
	exit
fi
build/deps.sh images
export TAG=test MAGELLAN_TEST_IMAGES=test
build/images/build.sh magellan-zookeeper magellan-nginx magellan-prometheus magellan magellan-debug
# shellcheck source=/dev/null
eval "$(build/env.sh "${FLAVOUR:-release}")"
exec go -C test test -count=1 -v -timeout 45m "$@" ./images
