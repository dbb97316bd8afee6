#!/usr/bin/env bash
# Builds all images and tests them as containers: build/images/test.sh [flags of go test].
# Where no Docker engine runs that is said, and is an error if CI is set.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! docker info >/dev/null 2>&1; then
	echo "test-images: no Docker engine answers here (docker info): the images are not tested" >&2
	[[ -z ${CI:-} ]]
	exit
fi
build/deps.sh images
export TAG=test MAGELLAN_TEST_IMAGES=test
build/images/build.sh magellan-zookeeper magellan-nginx magellan magellan-debug
# shellcheck source=/dev/null
eval "$(build/env.sh "${FLAVOUR:-release}")"
exec go test -count=1 -v -timeout 45m "$@" ./build/images
