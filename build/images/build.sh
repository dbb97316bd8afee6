#!/usr/bin/env bash
# Builds the images: build/images/build.sh [magellan | magellan-debug | NAME]...
# NAME is one of those that compose.yaml builds of Debian's packages:
# magellan-zookeeper, magellan-nginx, magellan-prometheus.
#
#   TAG             of the images (latest)
#   BUILD_CA        PEM file of the authorities that the build trusts (this machine's);
#                   empty for those that the base images come with
#   BUILD_GOENV     file of Go settings, such as GOPROXY=... (`go env GOENV`)
#   BUILD_NETRC     credentials of a module proxy
#   NO_CACHE        builds all of it again
set -euo pipefail
cd "$(dirname "$0")/../.."
docker=$(build/images/docker.sh)
export DOCKER_BUILDKIT=1

(($#)) || set -- magellan magellan-debug
tag=${TAG:-latest}

# They are mounted while a command runs, and are in no layer and no history.
secrets=()
secret() { # id file
	[[ ! -s $2 ]] || secrets+=(--secret "id=$1,src=$2")
}
secret ca "${BUILD_CA-/etc/ssl/certs/ca-certificates.crt}"
secret goenv "${BUILD_GOENV-$(go env GOENV 2>/dev/null || true)}"
secret netrc "${BUILD_NETRC-}"

identity=(
	--build-arg "VERSION=${MAGELLAN_VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}"
	--build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)"
)
for image; do
	case $image in
	magellan) context=. file=Dockerfile bases="debian:bookworm-slim golang:1.26-bookworm" ;;
	magellan-debug) context=. file=Dockerfile.ubuntu bases="ubuntu:24.04 golang:1.26-bookworm" ;;
	magellan-zookeeper | magellan-nginx | magellan-prometheus)
		context=build/images file=build/images/${image#magellan-}/Dockerfile bases=debian:bookworm-slim
		;;
	*)
		echo "images: there is no image $image; see the top of $0" >&2
		exit 2
		;;
	esac
	# shellcheck disable=SC2086 # a list
	build/base-images.sh $bases
	begin=$SECONDS
	"$docker" build --progress "${BUILD_PROGRESS:-plain}" ${NO_CACHE:+--no-cache} "${secrets[@]}" "${identity[@]}" \
		${BUILD_TARGET:+--target "$BUILD_TARGET"} --tag "$image:$tag" --file "$file" "$context"
	echo "images: $image:$tag, $((SECONDS - begin)) s, $("$docker" image inspect --format '{{.Size}}' "$image:$tag") bytes"
done
